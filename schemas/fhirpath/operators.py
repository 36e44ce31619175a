"""The operators as closures: three-valued logic, equality, order, membership, arithmetic, concatenation (§6)."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Final

from schemas.fhirpath.arithmetic import calculate
from schemas.fhirpath.compare import (
    compare,
    equal,
    equal_collections,
    equivalent,
    equivalent_collections,
    key,
)
from schemas.fhirpath.environment import Environment, Expression, Truth
from schemas.fhirpath.errors import Failure, PathFailed
from schemas.fhirpath.functions.registry import NOTHING, bounded, single, text
from schemas.fhirpath.quantity import Quantity
from schemas.fhirpath.values import Element, Items


def truth(body: Expression, *, strictly: bool = False) -> Truth:
    """A collection as a truth value: empty is None, a single item that is no boolean is true."""

    def test(env: Environment) -> bool | None:
        items = body(env)
        if not items:
            return None
        if len(items) > 1:
            raise PathFailed(Failure.SINGLETON, "a condition")
        value = items[0].value if type(items[0]) is Element else items[0]
        if value is True or value is False:
            return value is True
        if strictly:
            raise PathFailed(Failure.TYPE, "a condition")
        return True

    return test


def every(tests: Sequence[Truth]) -> Truth:
    """`and`."""

    def test(env: Environment) -> bool | None:
        found: bool | None = True
        for one in tests:
            value = one(env)
            if value is False:
                return False
            if value is None:
                found = None
        return found

    return test


def some(tests: Sequence[Truth]) -> Truth:
    """`or`."""

    def test(env: Environment) -> bool | None:
        found: bool | None = False
        for one in tests:
            value = one(env)
            if value is True:
                return True
            if value is None:
                found = None
        return found

    return test


def negated(inner: Truth) -> Truth:
    """The opposite, where there is one."""

    def test(env: Environment) -> bool | None:
        value = inner(env)
        return None if value is None else not value

    return test


def _xor(left: Truth, right: Truth) -> Truth:
    def test(env: Environment) -> bool | None:
        one, other = left(env), right(env)
        return None if one is None or other is None else one is not other

    return test


def _implies(left: Truth, right: Truth) -> Truth:
    def test(env: Environment) -> bool | None:
        one = left(env)
        if one is False:
            return True
        other = right(env)
        if other is True or one is True:
            return other
        return None

    return test


def equals(left: Expression, right: Expression) -> Truth:
    """`=`."""

    def test(env: Environment) -> bool | None:
        one, other = left(env), right(env)
        if not one or not other:
            return None
        env.left -= len(one)
        if len(one) == 1 and len(other) == 1:
            return equal(one[0], other[0], env)
        return equal_collections(one, other, env)

    return test


def equals_text(left: Expression, wanted: str) -> Truth:
    """`= 'text'`, where the left side mostly gives one plain text."""

    def test(env: Environment) -> bool | None:
        items = left(env)
        if not items:
            return None
        if len(items) == 1 and type(items[0]) is str:
            return items[0] == wanted
        return equal_collections(items, fixed, env)

    fixed: Items = [wanted]
    return test


def focus_equals(name: str, wanted: str, general: Truth) -> Truth:
    """`name = 'text'` of a focus that mostly is one plain object with one plain text."""

    def test(env: Environment) -> bool | None:
        this = env.this
        if len(this) == 1:
            item = this[0]
            if type(item) is dict:
                value = item.get(name)
                if type(value) is str:
                    return bool(value == wanted)
        return general(env)

    return test


def _equivalent(left: Expression, right: Expression) -> Truth:
    def test(env: Environment) -> bool | None:
        one, other = left(env), right(env)
        if len(one) == 1 and len(other) == 1:
            return equivalent(one[0], other[0], env)
        return equivalent_collections(one, other, env)

    return test


def _ordered(symbol: str, fits: Callable[[int, int], bool]) -> Callable[..., Truth]:
    def build(left: Expression, right: Expression) -> Truth:
        def test(env: Environment) -> bool | None:
            one, other = left(env), right(env)
            if not one or not other:
                return None
            if len(one) > 1 or len(other) > 1:
                raise PathFailed(Failure.SINGLETON, symbol)
            found = compare(one[0], other[0], symbol)
            return None if found is None else fits(found, 0)

        return test

    return build


def _contained(symbol: str, items: Items, wanted: Items, env: Environment) -> bool | None:
    if not wanted:
        return None
    if len(wanted) > 1:
        raise PathFailed(Failure.SINGLETON, symbol)
    env.spend(len(items))
    sought = wanted[0]
    if type(sought) is str and all(type(item) is str for item in items):
        return sought in items
    sought_key = key(sought, env)
    return any(key(item, env) == sought_key or equal(item, sought, env) is True for item in items)


def in_texts(left: Expression, wanted: frozenset[str], general: Truth) -> Truth:
    """`in` a list of texts that stands in the path: the list is looked up, not walked."""

    def test(env: Environment) -> bool | None:
        items = left(env)
        if len(items) == 1 and type(items[0]) is str:
            return items[0] in wanted
        return general(env)

    return test


def _in(left: Expression, right: Expression) -> Truth:
    return lambda env: _contained("in", right(env), left(env), env)


def _contains(left: Expression, right: Expression) -> Truth:
    return lambda env: _contained("contains", left(env), right(env), env)


def negative(body: Expression) -> Expression:
    """`-operand`."""

    def value(env: Environment) -> Items:
        items = body(env)
        found = single(items, "-")
        if found is None:
            return NOTHING
        if isinstance(found, Quantity):
            return [Quantity(-found.value, found.unit, found.is_calendar)]
        result = calculate("-", 0, found)
        return NOTHING if result is None else [result]

    return value


def _arithmetic(symbol: str) -> Callable[[Expression, Expression], Expression]:
    def build(left: Expression, right: Expression) -> Expression:
        def value(env: Environment) -> Items:
            one, other = single(left(env), symbol), single(right(env), symbol)
            if one is None or other is None:
                return NOTHING
            found = calculate(symbol, one, other)
            if type(found) is str:
                return bounded(found, env, symbol)
            return NOTHING if found is None else [found]

        return value

    return build


def _concatenated(left: Expression, right: Expression) -> Expression:
    def value(env: Environment) -> Items:
        return bounded((text(left(env), "&") or "") + (text(right(env), "&") or ""), env, "&")

    return value


LOGIC: Final[dict[str, Callable[[Truth, Truth], Truth]]] = {"xor": _xor, "implies": _implies}
TESTS: Final[dict[str, Callable[[Expression, Expression], Truth]]] = {
    "~": _equivalent,
    "!~": lambda left, right: negated(_equivalent(left, right)),
    "<": _ordered("<", operator.lt),
    "<=": _ordered("<=", operator.le),
    ">": _ordered(">", operator.gt),
    ">=": _ordered(">=", operator.ge),
    "in": _in,
    "contains": _contains,
}
VALUES: Final[dict[str, Callable[[Expression, Expression], Expression]]] = {
    **{symbol: _arithmetic(symbol) for symbol in ("+", "-", "*", "/", "div", "mod")},
    "&": _concatenated,
}


__all__ = [
    "LOGIC",
    "TESTS",
    "VALUES",
    "equals",
    "equals_text",
    "every",
    "focus_equals",
    "in_texts",
    "negated",
    "negative",
    "some",
    "truth",
]
