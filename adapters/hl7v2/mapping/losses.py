"""What was read and is not given out after all: left out with its resource or element, or replaced by another value.

Only origins say where a value came from. They are not recorded as a rule: a message of which something was left out is
mapped a second time with them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from adapters.hl7v2.mapping.frames import Entry, Env, View, spot
from adapters.hl7v2.mapping.protocol import Json

_ADDRESS: Final = re.compile(
    r"([A-Z][A-Z0-9]{2})(?:\[(\d+)\])?-(\d+)(?:\[(\d+)\])?(?:\.(\d+))?(?:\.(\d+))?\Z"
)
Reasons = dict[tuple[str, int, int], str]
"""By segment, its number and `spot`: why what was read there is not given out."""


def give_back(env: Env, exact: Env, bodies: Iterable[Json]) -> Reasons:
    """Take leaves that are in nothing that is given out from those that count as read; returns why.

    `exact` is the same message, mapped with origins; `bodies` are what it gives out.
    """
    alive: dict[int, object] = {}
    for body in (*bodies, *exact.united):
        _walk(body, alive)
    dropped: dict[int, Entry] = {}
    for entry in (*exact.entries, *exact.created):
        if entry.dropped:
            inside: dict[int, object] = {}
            _walk(entry.body, inside)
            dropped.update((one, entry) for one in inside)
    kept: set[tuple[str, int, int]] = set()
    lost: Reasons = {}
    for container, key, value, _, _, source in exact.origins or ():
        at = moved(exact, container)
        if _stands(exact, at, key, value, alive):
            kept.update(_leaves(env, str(source)))
            continue
        owner = dropped.get(id(at))
        reason = f"left out with its {owner.type}" if owner else "left out, or replaced by another"
        for one in _leaves(env, str(source)):
            lost.setdefault(one, reason)
    reasons = {one: reason for one, reason in lost.items() if one not in kept}
    for name, number, place in reasons:
        env.views[name][number - 1].read.discard(place)
    return reasons


def _walk(value: object, found: dict[int, object]) -> None:
    if isinstance(value, dict | list) and id(value) not in found:
        found[id(value)] = value
        for one in value.values() if isinstance(value, dict) else value:
            _walk(one, found)


def moved(env: Env, container: object) -> object:
    """The object that holds now what was written to this one."""
    while (found := env.moved.get(id(container))) is not None:
        container = found[1]
    return container


def _stands(
    env: Env, container: object, key: object, value: object, alive: dict[int, object]
) -> bool:
    if isinstance(value, dict | list):
        return id(moved(env, value)) in alive
    if id(container) not in alive:
        return False
    if isinstance(container, list):
        return value in container
    return isinstance(container, dict) and container.get(key) == value


def _leaves(env: Env, address: str) -> Iterator[tuple[str, int, int]]:
    """The leaves below an address."""
    found = _ADDRESS.match(address)
    if found is None:
        return
    name, number = found[1], int(found[2] or 1)
    field, repetition = int(found[3]), int(found[4] or 1)
    views: list[View] = env.views.get(name, [])
    repetitions = views[number - 1].repetitions(field) if number <= len(views) else []
    if repetition > len(repetitions):
        return
    for component, part in enumerate(repetitions[repetition - 1], 1):
        if found[5] and component != int(found[5]):
            continue
        for subcomponent in range(1, 2 if isinstance(part, str) else len(part) + 1):
            if not found[6] or subcomponent == int(found[6]):
                yield name, number, spot(field, repetition, component, subcomponent)


__all__ = ["Reasons", "give_back", "moved"]
