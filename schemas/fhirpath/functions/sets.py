"""Existence, subsetting and combining (FHIRPath 2.0 §5.1, §5.3 and §5.4)."""

from __future__ import annotations

from typing import Final

from schemas.fhirpath.compare import key
from schemas.fhirpath.environment import Environment, Step
from schemas.fhirpath.errors import Failure, PathFailed
from schemas.fhirpath.functions.registry import (
    Function,
    Scope,
    boolean,
    integer,
    single,
    whole,
    with_items,
)
from schemas.fhirpath.tree import Call
from schemas.fhirpath.values import Element, Items


def distinct(items: Items, env: Environment) -> Items:
    """Each item once, in the order of first appearance."""
    if len(items) < 2:
        return items
    env.spend(len(items))
    seen: set[object] = set()
    out: Items = []
    for item in items:
        found = key(item, env)
        if found not in seen:
            seen.add(found)
            out.append(item)
    return out


def union(items: Items, other: Items, env: Environment) -> Items:
    """Both collections, each item once."""
    return distinct([*items, *other], env)


def _keys(items: Items, env: Environment) -> set[object]:
    env.spend(len(items))
    return {key(item, env) for item in items}


def _intersect(items: Items, other: Items, env: Environment) -> Items:
    keys = _keys(other, env)
    return [item for item in distinct(items, env) if key(item, env) in keys]


def _exclude(items: Items, other: Items, env: Environment) -> Items:
    keys = _keys(other, env)
    env.spend(len(items))
    return [item for item in items if key(item, env) not in keys]


def _combine(items: Items, other: Items, env: Environment) -> Items:
    env.spend(len(items) + len(other))
    return [*items, *other]


def _subset(items: Items, other: Items, env: Environment) -> Items:
    return boolean(_keys(items, env) <= _keys(other, env))


def _superset(items: Items, other: Items, env: Environment) -> Items:
    return _subset(other, items, env)


def _is_distinct(items: Items, env: Environment) -> Items:
    return boolean(len(distinct(items, env)) == len(items))


def _booleans(items: Items, name: str) -> list[bool]:
    found = [item.value if type(item) is Element else item for item in items]
    values = [value for value in found if isinstance(value, bool)]
    if len(values) != len(found):
        raise PathFailed(Failure.TYPE, name)
    return values


def _single(items: Items, env: Environment) -> Items:
    if len(items) > 1:
        raise PathFailed(Failure.SINGLETON, "single()")
    return items


def _slice(name: str, start: bool) -> Function:
    def build(scope: Scope, call: Call) -> Step:
        argument = scope.expression(call.arguments[0])

        def step(items: Items, env: Environment) -> Items:
            count = integer(argument(env), f"{name}()")
            if count is None:
                raise PathFailed(Failure.TYPE, f"{name}()", "needs a number")
            count = max(count, 0)
            return items[count:] if start else items[:count]

        return step

    return Function(1, 1, build)


def _not(items: Items, env: Environment) -> Items:
    if not items:
        return items
    value = single(items, "not()")
    if isinstance(value, bool):
        return boolean(not value)
    return boolean(False)


SETS: Final[dict[str, Function]] = {
    "empty": whole(lambda items, env: boolean(not items)),
    "count": whole(lambda items, env: [len(items)]),
    "first": whole(lambda items, env: items[:1]),
    "last": whole(lambda items, env: items[-1:]),
    "tail": whole(lambda items, env: items[1:]),
    "single": whole(_single),
    "distinct": whole(distinct),
    "isDistinct": whole(_is_distinct),
    "not": whole(_not),
    "allTrue": whole(lambda items, env: boolean(all(_booleans(items, "allTrue()")))),
    "anyTrue": whole(lambda items, env: boolean(any(_booleans(items, "anyTrue()")))),
    "allFalse": whole(lambda items, env: boolean(not any(_booleans(items, "allFalse()")))),
    "anyFalse": whole(lambda items, env: boolean(not all(_booleans(items, "anyFalse()")))),
    "skip": _slice("skip", start=True),
    "take": _slice("take", start=False),
    "union": with_items(union),
    "combine": with_items(_combine),
    "intersect": with_items(_intersect),
    "exclude": with_items(_exclude),
    "subsetOf": with_items(_subset),
    "supersetOf": with_items(_superset),
}


__all__ = ["SETS", "distinct", "union"]
