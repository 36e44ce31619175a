"""From entries to resources: gaps closed, requirements checked, references filled in, doubles made one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, cast

from adapters.hl7v2.mapping.frames import Entry, Env
from adapters.hl7v2.mapping.identity import Identities
from adapters.hl7v2.mapping.protocol import IssueCode, Json, Severity
from adapters.hl7v2.mapping.requirements import Plans, check, is_sound
from adapters.hl7v2.mapping.shapes import load_shapes
from adapters.hl7v2.mapping.targets import Object

_REFERENCE: Final = "reference"
_ROUNDS: Final = 8
"""A resource that is dropped can take others along; each round follows one step."""


def close_gaps(value: Json) -> Json:
    """Without the empty places of lists, and what becomes empty by that; None when nothing is left."""
    if isinstance(value, dict):
        for name in list(value):
            inner = value[name]
            if name == _REFERENCE:
                continue  # filled in when ids are known
            if isinstance(inner, dict | list) or inner is None or inner == "":
                closed = close_gaps(inner)
                if closed is None:
                    del value[name]
        return value or None
    if isinstance(value, list):
        value[:] = [one for one in value if close_gaps(one) is not None]
        return value or None
    return None if value == "" else value


def _without(value: Json, gone: set[int], dead: list[object]) -> bool:
    """Take away objects by identity, and what becomes empty by that; False when nothing is left."""
    if isinstance(value, dict):
        if id(value) in gone:
            dead.append(value)
            return False
        for name in list(value):
            inner = value[name]
            if isinstance(inner, dict | list) and not _without(inner, gone, dead):
                del value[name]
        is_left = bool(value) and value.keys() != {"url"}
    elif isinstance(value, list):
        value[:] = [
            one for one in value if not isinstance(one, dict | list) or _without(one, gone, dead)
        ]
        is_left = bool(value)
    else:
        return True
    if not is_left:
        dead.append(value)
    return is_left


def finish(env: Env, plans: Plans) -> list[Entry]:
    """The entries that are given out, ids and references in place (`Type/id`)."""
    everything = [*env.entries, *env.created]
    for entry in everything:
        if env.has_gaps:
            close_gaps(entry.body)
        if len(entry.body) == 1:
            entry.dropped = True
    _drop(env, everything, plans)
    Identities(env).assign()
    for reference, target, _ in env.links:
        reference["reference"] = f"{target.type}/{target.id}"
    return _united(env, [entry for entry in everything if not entry.dropped])


def _drop(env: Env, everything: list[Entry], plans: Plans) -> None:
    """Drop what is not valid, then the references to it, until nothing changes."""
    pending = [entry for entry in everything if not entry.dropped]
    for _ in range(_ROUNDS):
        for entry in pending:
            _check(env, entry, plans)
        lost: dict[int, Entry] = {}
        gone: set[int] = set()
        kept = []
        for link in env.links:
            if link[1].dropped:
                gone.add(id(link[0]))
                lost[id(link[2])] = link[2]
            else:
                kept.append(link)
        if not gone:
            return
        owners = [entry for entry in lost.values() if not entry.dropped]
        env.discarded.append("")
        for entry in owners:
            _without(entry.body, gone, env.dead)
            entry.recalled = None
            if len(entry.body) == 1:
                entry.dropped = True
        env.links = kept
        pending = [entry for entry in owners if not entry.dropped]


def _check(env: Env, entry: Entry, plans: Plans) -> None:
    known = entry.recalled
    if known is not None and known[1] in known[0].sound:
        return
    plan = plans.of(entry.type)
    if plan is None or (len(entry.body) > 1 and is_sound(entry.body, plan)):
        if known is not None:
            known[0].sound.add(known[1])
        return
    found: list[tuple[str, str]] = []

    def say(path: str, detail: str) -> None:
        found.append((path, detail))

    is_valid = check(entry.body, plan, entry.type, say, env.dead)
    if found:
        env.discarded.append("")
    for path, detail in found:
        code = IssueCode.MISSING if detail.endswith("required") else IssueCode.BAD_VALUE
        env.issue(
            Severity.WARNING if is_valid or path != entry.type else Severity.ERROR,
            code,
            path,
            detail=f"left out ({entry.anchor.address}): {detail}",
        )
    if not is_valid or len(entry.body) == 1:
        entry.dropped = True
    elif known is not None and not found:
        known[0].sound.add(known[1])
    elif known is not None:
        entry.recalled = None


def _united(env: Env, entries: Iterable[Entry]) -> list[Entry]:
    """One entry for each id; what a double has more goes into the first."""
    first: dict[tuple[str, str], Entry] = {}
    for entry in entries:
        entry.body["id"] = entry.id
        known = first.setdefault((entry.type, entry.id), entry)
        if known is not entry:
            _unite(env, known.body, entry)
            entry.dropped, entry.same = True, known
    return list(first.values())


def _unite(env: Env, into: Object, double: Entry) -> None:
    """Lay a double over the first; of what is not given out of it the losses are told."""
    more = double.body
    if into == more:
        return
    shapes = load_shapes()
    elements = shapes.types.get(double.type, {})
    for name, value in list(more.items()):
        old = into.get(name)
        if old is None:
            element = elements.get(name)
            if element is None or not any(
                one in into for one in shapes.others(double.type, element)
            ):
                into[name] = value
                continue
        elif isinstance(old, list) and isinstance(value, list):
            old.extend(one for one in value if one not in old)
            continue
        elif old == value:
            continue
        env.discarded.append("")
        if isinstance(value, dict | list):
            env.dead_doubles.append((double, value))
        else:
            del more[name]


def set_references(env: Env, naming: Callable[[Entry], str]) -> None:
    """Write all references in the form of an output."""
    for reference, target, _ in env.links:
        reference["reference"] = naming(target)


def paths_of(entry: Entry) -> dict[int, str]:
    """The path of each object and list within a resource, by identity."""
    found: dict[int, str] = {}
    _add_paths(cast("Json", entry.body), entry.type, found)
    return found


def _add_paths(value: Json, path: str, found: dict[int, str]) -> None:
    if isinstance(value, dict):
        found[id(value)] = path
        for name, inner in value.items():
            _add_paths(inner, f"{path}.{name}", found)
    elif isinstance(value, list):
        found[id(value)] = path
        for i, inner in enumerate(value):
            _add_paths(inner, f"{path}[{i}]", found)


__all__ = ["close_gaps", "finish", "paths_of", "set_references"]
