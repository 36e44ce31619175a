"""Functions that run their argument for each item: filtering, projecting, aggregating, ordering (§5.2, §7)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cmp_to_key
from typing import Final

from schemas.fhirpath.compare import compare, key, system
from schemas.fhirpath.environment import Environment, Expression, Step
from schemas.fhirpath.errors import Failure, PathFailed
from schemas.fhirpath.functions.registry import NOTHING, Function, Scope, boolean
from schemas.fhirpath.tree import Call, Negative
from schemas.fhirpath.values import Items


def _each(items: Items, env: Environment) -> Iterator[object]:
    """Run the body of a loop with `$this` and `$index` set, and set them back after it."""
    this, index = env.this, env.index
    env.spend(len(items))
    try:
        for at, item in enumerate(items):
            env.this, env.index = [item], at
            yield item
    finally:
        env.this, env.index = this, index


def _where(scope: Scope, call: Call) -> Step:
    test = scope.truth(call.arguments[0])

    def step(items: Items, env: Environment) -> Items:
        if not items:
            return items
        this, index = env.this, env.index
        env.spend(len(items))
        out: Items = []
        try:
            for at, item in enumerate(items):
                env.this, env.index = [item], at
                if test(env) is True:
                    out.append(item)
        finally:
            env.this, env.index = this, index
        return out

    return step


def exists_step(scope: Scope, call: Call) -> Step:
    """`exists()` and `exists(criteria)`; the latter stops at the first item that fits."""
    if not call.arguments:
        return lambda items, env: boolean(bool(items))
    test = scope.truth(call.arguments[0])

    def step(items: Items, env: Environment) -> Items:
        this, index = env.this, env.index
        env.spend(len(items))
        try:
            for at, item in enumerate(items):
                env.this, env.index = [item], at
                if test(env) is True:
                    return boolean(True)
        finally:
            env.this, env.index = this, index
        return boolean(False)

    return step


def _all(scope: Scope, call: Call) -> Step:
    test = scope.truth(call.arguments[0])

    def step(items: Items, env: Environment) -> Items:
        fits = [test(env) is True for _ in _each(items, env)]
        return boolean(all(fits))

    return step


def _select(scope: Scope, call: Call) -> Step:
    body = scope.expression(call.arguments[0])

    def step(items: Items, env: Environment) -> Items:
        out: Items = []
        for _ in _each(items, env):
            found = body(env)
            env.spend(len(found))
            out.extend(found)
        return out

    return step


def repeat_step(next_items: Step) -> Step:
    """All items found by taking a step again and again; each once, so that it ends."""

    def step(items: Items, env: Environment) -> Items:
        seen: set[object] = set()
        out: Items = []
        pending = items
        while pending:
            fresh: Items = []
            for item in next_items(pending, env):
                found = key(item, env)
                if found not in seen:
                    seen.add(found)
                    fresh.append(item)
            env.spend(len(fresh) + 1)
            out.extend(fresh)
            pending = fresh
        return out

    return step


def _repeat(scope: Scope, call: Call) -> Step:
    return repeat_step(_select(scope, call))


def _iif(scope: Scope, call: Call) -> Step:
    test = scope.truth(call.arguments[0], strictly=True)
    yes = scope.expression(call.arguments[1])
    no: Expression = (
        scope.expression(call.arguments[2]) if len(call.arguments) > 2 else lambda env: NOTHING
    )

    def step(items: Items, env: Environment) -> Items:
        if len(items) > 1:
            raise PathFailed(Failure.SINGLETON, "iif()")
        this = env.this
        env.this = items
        try:
            return yes(env) if test(env) is True else no(env)
        finally:
            env.this = this

    return step


def _aggregate(scope: Scope, call: Call) -> Step:
    body = scope.expression(call.arguments[0])
    start = scope.expression(call.arguments[1]) if len(call.arguments) > 1 else None

    def step(items: Items, env: Environment) -> Items:
        outer = env.total
        total = start(env) if start else NOTHING
        try:
            for _ in _each(items, env):
                env.total = total
                total = body(env)
                env.spend(len(total))
        finally:
            env.total = outer
        return total

    return step


def _sort(scope: Scope, call: Call) -> Step:
    """`sort(keys…)`: a key with a minus sorts downwards, for texts as well; items without the key come first."""
    plans = [
        (scope.expression(node.operand), -1)
        if isinstance(node, Negative)
        else (scope.expression(node), 1)
        for node in call.arguments
    ]

    def step(items: Items, env: Environment) -> Items:
        rows: list[tuple[list[object], object]] = []
        for item in _each(items, env):
            keys = [_sort_key(body(env)) for body, _ in plans] if plans else [system(item)]
            rows.append((keys, item))
        env.spend(len(rows) * max(len(rows).bit_length(), 1))
        signs = [sign for _, sign in plans] or [1]

        def order(one: tuple[list[object], object], other: tuple[list[object], object]) -> int:
            for sign, left, right in zip(signs, one[0], other[0], strict=True):
                found = _order(left, right, sign)
                if found:
                    return found
            return 0

        return [item for _, item in sorted(rows, key=cmp_to_key(order))]

    return step


def _sort_key(items: Items) -> object:
    if len(items) > 1:
        raise PathFailed(Failure.SINGLETON, "sort()")
    return system(items[0]) if items else None


def _order(left: object, right: object, sign: int) -> int:
    if left is None or right is None:
        return (left is not None) - (right is not None)
    return sign * (compare(left, right, "sort()") or 0)


def _trace(scope: Scope, call: Call) -> Step:
    """Passes its input on: what flows through a path is not logged."""
    for argument in call.arguments:
        scope.expression(argument)
    return lambda items, env: items


LOOPS: Final[dict[str, Function]] = {
    "where": Function(1, 1, _where),
    "exists": Function(0, 1, exists_step),
    "all": Function(1, 1, _all),
    "select": Function(1, 1, _select),
    "repeat": Function(1, 1, _repeat),
    "iif": Function(2, 3, _iif),
    "aggregate": Function(1, 2, _aggregate),
    "sort": Function(0, 8, _sort),
    "trace": Function(1, 2, _trace),
}


__all__ = ["LOOPS", "exists_step", "repeat_step"]
