"""Values that are made of the same bytes again and again: codes, clinicians, places, organizations.

What a data type document makes of a value depends on the value alone, unless a rule that ran for it looks elsewhere (at
other segments, resources, settings, the link's zone). Such values, and the resources that were created with them, are
kept as marshalled copies, by the bytes they were made of. Only of types that name codes, staff and places: what
identifies a patient is never kept. Values that gave an issue are made anew each time, so that each message has it.
"""

from __future__ import annotations

import marshal
from collections.abc import Callable, Hashable, Iterator
from typing import Final

from adapters.hl7v2.mapping.frames import Entry, Env, Frame, Naming, Origin, Parts, Recalled, View
from adapters.hl7v2.mapping.losses import is_there, moved, walk_dead
from adapters.hl7v2.mapping.protocol import Json
from adapters.hl7v2.mapping.remembered import Remembered

MAX_REMEMBERED: Final = 4_096
"""Values of one document; when they are more, all are forgotten."""
_MAX_LENGTH: Final = 256
_OUTER: Final = -1
Make = Callable[[Frame], Json]
Memory = dict[Hashable, Remembered]


def key_of(parts: Parts, unit: int) -> Hashable:
    """What a value within a field is known by."""
    return unit, *(one if isinstance(one, str) else tuple(one) for one in parts)


def recall(frame: Frame, view: View, known: Remembered, start: int, base: int) -> Json:
    """The value anew, with its resources; `start` and `base` are its spot and place."""
    env = frame.env
    view.read |= known.read(start)
    if not known.is_creating:
        value, entries = _built(env, view, known, frame.entry)
    else:
        entries = _entries(env, view, known)
        reference: dict[str, Json] = {"reference": ""}
        env.links.append((reference, entries[known.head], frame.entry))
        value = reference
    env.recalled.append(Recalled(known, value, entries, view, base))
    return value


def _entries(env: Env, view: View, known: Remembered) -> list[Entry]:
    found = env.known.get(id(known))
    if found is None:
        _, found = _built(env, view, known, None)
        env.known[id(known)] = found
    return found


def _built(
    env: Env, view: View, known: Remembered, outer: Entry | None
) -> tuple[Json, list[Entry]]:
    if not known.links and not known.kinds:
        return marshal.loads(known.blob)[0], []  # noqa: S302  # dumped below, in memory
    value, bodies, references = marshal.loads(known.blob)  # noqa: S302  # dumped below, in memory
    entries: list[Entry] = []
    for one in known.order:
        if one is not None:
            _entries(env, view, one)
            continue
        number = len(entries)
        entry = Entry(known.kinds[number], "", view, len(env.created))
        entry.body = bodies[number]
        entry.recalled = known, number
        entries.append(entry)
        env.created.append(entry)
    for reference, (whose, target, owner) in zip(references, known.links, strict=True):
        there = entries if whose is None else _entries(env, view, whose)
        owned = entries[owner] if owner != _OUTER else outer
        if owned is not None:
            env.links.append((reference, there[target], owned))
    return value, entries


def learn(memory: Memory, key: Hashable, at: Frame, make: Make) -> Json:
    """Make a value, and remember it if it depends on itself alone."""
    env, view = at.env, at.view
    before = (len(env.issues), env.left_out, len(env.discarded))
    starts = len(env.origins), len(env.recalled), len(env.created), len(env.links)
    was_tainted, had_gaps, read, known = env.is_tainted, env.has_gaps, view.read, env.known
    env.is_tainted = env.has_gaps = False
    view.read, env.known = set(), {}
    outer = at.entry
    try:
        value = make(at)
    finally:
        new, view.read = view.read, read
        read |= new
        is_closed = not env.is_tainted and not env.has_gaps
        env.is_tainted, env.has_gaps = was_tainted or env.is_tainted, had_gaps or env.has_gaps
        found, env.known = env.known, known
        for one, entries in found.items():
            known.setdefault(one, entries)
    is_silent = before == (len(env.issues), env.left_out, len(env.discarded))
    if value and is_closed and is_silent and _length(at.parts or []) <= _MAX_LENGTH:
        made = _remembered(at, value, outer, starts, new)
        if made is not None:
            if len(memory) >= MAX_REMEMBERED:
                memory.clear()
            memory[key] = made
    return value


def _length(parts: Parts) -> int:
    return sum(map(len, parts)) if all(isinstance(one, str) for one in parts) else len(str(parts))


def _remembered(
    at: Frame, value: Json, outer: Entry, starts: tuple[int, int, int, int], read: set[int]
) -> Remembered | None:
    env = at.env
    origins, recalled = env.origins[starts[0] :], env.recalled[starts[1] :]
    created, links = env.created[starts[2] :], env.links[starts[3] :]
    own = [entry for entry in created if _nested_in(entry) is None]
    made = Remembered()
    made.kinds = tuple(entry.type for entry in own)
    made.spots = frozenset(one - at.at for one in read)
    made.is_creating = bool(links) and links[-1][0] is value
    made.order = tuple(_order(created))
    numbers = {id(entry): i for i, entry in enumerate(own)}
    references, shown = [], []
    if made.is_creating:
        made.head = numbers[id(links[-1][1])]
        links = links[:-1]
    for reference, target, owner in links:
        if _nested_in(owner) is not None and owner is not outer:
            continue  # within what is remembered by itself
        whose, number = _nested_in(target) or (None, numbers.get(id(target), _OUTER))
        place = _OUTER if owner is outer else numbers.get(id(owner), _OUTER - 1)
        if number == _OUTER or place < _OUTER:
            return None
        references.append(reference)
        shown.append((whose, number, place))
    made.links = tuple(shown)
    nested: list[tuple[Remembered, int]] = []
    for one in recalled:
        offset = one.base - at.base
        if one.remembered.is_creating:
            nested.append((one.remembered, offset))
            continue
        origins.extend(_own_origins(one))
        nested.extend((inner, offset + more) for inner, more in one.remembered.nested)
    made.nested = tuple(nested)
    bodies = [entry.body for entry in own]
    try:
        made.blob = marshal.dumps((value, bodies, references))
        made.origins = marshal.dumps((value, bodies, _relative(env, origins, at.base)))
    except ValueError:  # a decimal's text: no value of codes, staff and places
        return None
    for i, entry in enumerate(own):
        entry.recalled = made, i
    del env.origins[starts[0] :], env.recalled[starts[1] :]
    env.recalled.append(Recalled(made, value, own, at.view, at.base))
    if made.is_creating:
        env.known[id(made)] = own
    return made


def _order(created: list[Entry]) -> Iterator[Remembered | None]:
    seen: set[int] = set()
    for entry in created:
        nested = _nested_in(entry)
        if nested is None:
            yield None
        elif id(nested[0]) not in seen:
            seen.add(id(nested[0]))
            yield nested[0]


def _nested_in(entry: Entry) -> tuple[Remembered, int] | None:
    """What a resource is remembered with by itself, within what is to be remembered."""
    known = entry.recalled
    return known if known is not None and known[0].is_creating else None


def _relative(env: Env, origins: list[Origin], base: int) -> list[tuple[object, ...]]:
    """Origins as they are kept: of what does not stand any more without a container."""
    dead = walk_dead(env, {})
    found: list[tuple[object, ...]] = []
    for container, key, value, _, place, naming in origins:
        at = moved(env, container)
        given = moved(env, value)
        name = (naming.rule, naming.layer, naming.is_constant)
        if id(at) in dead or id(given) in dead or not is_there(at, key, value):
            found.append((None, None, "", place - base, *name))
        else:
            found.append((at, key, given, place - base, *name))
    return found


def all_origins(env: Env) -> Iterator[Origin]:
    """The origins of all values, those that were recalled included."""
    yield from env.origins
    for one in env.recalled:
        yield from expanded(env, one)


def expanded(env: Env, recalled: Recalled) -> Iterator[Origin]:
    """The origins of a recalled value."""
    yield from _own_origins(recalled)
    for inner, offset in recalled.remembered.nested:
        entries = env.known.get(id(inner))
        if entries is not None:
            at = recalled.base + offset
            yield from expanded(env, Recalled(inner, None, entries, recalled.view, at))


def _own_origins(recalled: Recalled) -> Iterator[Origin]:
    view, base = recalled.view, recalled.base
    value, bodies, origins = marshal.loads(recalled.remembered.origins)  # noqa: S302  # dumped above, in memory
    actual: dict[int, object] = {}
    _pair(value, recalled.value, actual)
    for body, entry in zip(bodies, recalled.entries, strict=True):
        _pair(body, entry.body, actual)
    for container, key, one, place, rule, layer, is_constant in origins:
        yield (
            actual.get(id(container)),
            key,
            actual.get(id(one), one) if isinstance(one, dict | list) else one,
            view,
            base + place,
            Naming(rule=rule, layer=layer, is_constant=is_constant),
        )


def _pair(known: object, actual: object, found: dict[int, object]) -> None:
    """Which object of a message stands for which of a remembered value."""
    if isinstance(known, dict) and isinstance(actual, dict):
        found[id(known)] = actual
        for name, inner in known.items():
            if isinstance(inner, dict | list):
                _pair(inner, actual.get(name), found)
    elif isinstance(known, list) and isinstance(actual, list):
        found[id(known)] = actual
        for inner, other in zip(known, actual, strict=False):
            if isinstance(inner, dict | list):
                _pair(inner, other, found)


__all__ = [
    "Memory",
    "Recalled",
    "Remembered",
    "all_origins",
    "expanded",
    "key_of",
    "learn",
    "recall",
]
