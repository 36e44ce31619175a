"""What was read and is not given out after all: left out with its resource or element, or replaced by another value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from adapters.hl7v2.mapping.frames import PARTS, Entry, Env, Origin, View, spot

_FIELD: Final = 20
_COMPONENT: Final = 10
Dead = dict[int, Entry | None]
"""By identity: objects and lists that are not given out, and the resource that they were left out with."""
Reasons = dict[tuple[str, int, int], str]
"""By segment, its number and `spot`: why what was read there is not given out."""


def give_back(env: Env, origins: Iterable[Origin]) -> Reasons:
    """Take leaves that are in nothing that is given out from those that count as read; returns why.

    `origins` are those of all values.
    """
    dead, doubles = _not_given(env)
    kept: set[tuple[View, int]] = set()
    lost: dict[tuple[View, int], str] = {}
    for container, key, value, view, place, naming in origins:
        at = moved(env, container) if id(container) in env.moved else container
        if _stands(env, at, key, value, dead):
            if not naming.is_constant:
                kept.add((view, place))
            continue
        owner = dead.get(id(at)) or doubles.get(id(at))
        reason = f"left out with its {owner.type}" if owner else "left out, or replaced by another"
        for leaf in _leaves(view, place):
            lost.setdefault((view, leaf), reason)
    if not lost:
        return {}
    for view, place in kept:
        for leaf in _leaves(view, place):
            lost.pop((view, leaf), None)
    for view, leaf in lost:
        view.read.discard(leaf)
    return {(view.name, view.number, leaf): reason for (view, leaf), reason in lost.items()}


def _not_given(env: Env) -> tuple[Dead, dict[int, Entry]]:
    """What is not given out; and the resources that were made one with others, by their bodies' identities."""
    dead: Dead = {}
    doubles: dict[int, Entry] = {}
    for entry in (*env.entries, *env.created):
        if not entry.dropped:
            continue
        if entry.same is None:
            _walk(entry.body, dead, entry)
            continue
        doubles[id(entry.body)] = entry
    for double, inner in env.dead_doubles:
        _walk(inner, dead, double)
    walk_dead(env, dead)
    return dead, doubles


def walk_dead(env: Env, found: Dead) -> Dead:
    """Add what of elements, not of whole resources, is not given out."""
    for one in env.dead:
        _walk(one, found, None)
    return found


def _walk(value: object, found: Dead, owner: Entry | None) -> None:
    if isinstance(value, dict | list) and id(value) not in found:
        found[id(value)] = owner
        for one in value.values() if isinstance(value, dict) else value:
            if isinstance(one, dict | list):
                _walk(one, found, owner)


def moved(env: Env, container: object) -> object:
    """The object that holds now what was written to this one."""
    while (found := env.moved.get(id(container))) is not None:
        container = found[1]
    return container


def _stands(env: Env, container: object, key: object, value: object, dead: Dead) -> bool:
    if id(container) in dead:
        return False
    if isinstance(value, dict | list):
        return id(moved(env, value)) not in dead
    return is_there(container, key, value)


def is_there(container: object, key: object, value: object) -> bool:
    """Whether a text, number or boolean is still where it was written; objects and lists always."""
    if isinstance(value, dict | list):
        return True
    if isinstance(container, list):
        return value in container
    return isinstance(container, dict) and container.get(key) == value


def _leaves(view: View, place: int) -> Iterator[int]:
    """The spots of the leaves below a place."""
    field, repetition = place >> _FIELD & PARTS, place >> (_FIELD + _COMPONENT)
    if not field:
        return
    only, inner = place >> _COMPONENT & PARTS, place & PARTS
    repetitions = view.repetitions(field)
    if repetition > len(repetitions):
        return
    for component, part in enumerate(repetitions[repetition - 1], 1):
        if only and component != only:
            continue
        for subcomponent in range(1, 2 if isinstance(part, str) else len(part) + 1):
            if not inner or subcomponent == inner:
                yield spot(field, repetition, component, subcomponent)


__all__ = ["Reasons", "give_back", "is_there", "moved", "walk_dead"]
