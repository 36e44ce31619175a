"""What of a message no rule has read: listed by address and counted, never guessed, never lost in silence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from adapters.hl7v2.mapping.frames import MAX_ISSUES, Env, Mark, Parts, View
from adapters.hl7v2.mapping.protocol import Issue, IssueCode, Severity

_ALL: Final = (0, 0)
_DELIMITERS: Final = 2
MAX_REMEMBERED: Final = 4_096
Covered = tuple[bool, int, int, Mapping[int, frozenset[tuple[int, int]]]]
"""Whether all of the field is read; so many repetitions (many for each), and of each so many components from the first
on; leaves by repetition, 0 for each."""
_NOT_COVERED: Final[Covered] = (False, 0, 0, {})
_MANY: Final = 1 << 30


class Coverage:
    """Finds leaves that no rule reads; remembers what sets of marks mean."""

    def __init__(self, reasons: Mapping[str, Mapping[str, str]]) -> None:
        self._reasons = reasons
        """By segment and address: why it is left out on purpose."""
        self._issues: dict[tuple[str, int], Issue] = {}
        self._known: dict[frozenset[Mark], dict[int, Covered]] = {}

    def report(self, env: Env, known_segments: frozenset[str]) -> None:
        """Add an issue for each address that holds values which nobody read."""
        counts: dict[str, int] = {}
        for name, views in env.views.items():
            if name not in known_segments:
                env.issue(
                    Severity.INFORMATION,
                    IssueCode.UNKNOWN_SEGMENT,
                    name,
                    detail=f"no table reads it; {len(views)} in the message",
                )
            for view in views:
                for address in self._unread(view):
                    counts[address] = counts.get(address, 0) + 1
        for address, count in counts.items():
            issue = self._issues.get((address, count)) or self._issue(address, count)
            if len(env.issues) < MAX_ISSUES:
                env.issues.append(issue)
            else:
                env.left_out += 1

    def _issue(self, address: str, count: int) -> Issue:
        if len(self._issues) >= MAX_REMEMBERED:
            self._issues.clear()
        reason = self._reason(address)
        times = f"{count} times" if count > 1 else ""
        made = self._issues[address, count] = Issue(
            severity=Severity.INFORMATION,
            code=IssueCode.UNMAPPED_FIELD,
            where=address,
            detail="; ".join(one for one in (reason, times) if one),
        )
        return made

    def _reason(self, address: str) -> str:
        reasons = self._reasons.get(address[:3])
        while reasons:
            if address in reasons:
                return reasons[address]
            address, dot, _ = address.rpartition(".")
            if not dot:
                break
        return ""

    def _unread(self, view: View) -> Iterator[str]:
        fields, cut = view.fields, view.cut
        start = _DELIMITERS + 1 if view.name == "MSH" else 1
        covered = self._covered(view.marks)
        for field in range(start, len(fields)):
            if not fields[field]:
                continue
            is_all, repetitions, components, leaves = covered.get(field, _NOT_COVERED)
            if is_all:
                continue
            found = cut.get(field)
            if found is None:
                found = view.repetitions(field)
            if len(found) > repetitions or any(not _is_read(parts, components) for parts in found):
                yield from _leaves(view, field, leaves)

    def _covered(self, marks: set[Mark]) -> dict[int, Covered]:
        key = frozenset(marks)
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= MAX_REMEMBERED:
                self._known.clear()
            found = self._known[key] = _summed(marks)
        return found


def _summed(marks: set[Mark]) -> dict[int, Covered]:
    fields: dict[int, dict[int, set[tuple[int, int]]]] = {}
    for mark in marks:
        fields.setdefault(mark.field, {}).setdefault(mark.repetition, set()).update(mark.leaves)
    return {
        field: (
            _ALL in repetitions.get(0, ()),
            *_prefix(repetitions),
            {number: frozenset(leaves) for number, leaves in repetitions.items()},
        )
        for field, repetitions in fields.items()
    }


def _prefix(repetitions: Mapping[int, set[tuple[int, int]]]) -> tuple[int, int]:
    """How many repetitions, and of each how many components without subcomponents, are read without a gap."""
    number = 0 if 0 in repetitions else 1
    leaves = repetitions.get(number, set())
    components = 0
    while (components + 1, 1) in leaves or (components + 1, 0) in leaves:
        components += 1
    return (1 if number else _MANY), components


def _is_read(parts: Parts, components: int) -> bool:
    return len(parts) <= components and all(type(part) is str for part in parts)


def _leaves(
    view: View, field: int, read: Mapping[int, frozenset[tuple[int, int]]]
) -> Iterator[str]:
    always = read.get(0, frozenset())
    for number, parts in enumerate(view.repetitions(field), 1):
        mine = read.get(number)
        leaves = always | mine if mine else always
        if _ALL in leaves:
            continue
        for address in _unread_leaves(parts, leaves):
            yield f"{view.name}-{field}{address}"


def _unread_leaves(parts: Parts, read: frozenset[tuple[int, int]]) -> Iterator[str]:
    for component, part in enumerate(parts, 1):
        if isinstance(part, str):
            if part and (component, 1) not in read and (component, 0) not in read:
                yield f".{component}" if len(parts) > 1 else ""
            continue
        if (component, 0) in read:
            continue
        for subcomponent, text in enumerate(part, 1):
            if text and (component, subcomponent) not in read:
                yield f".{component}.{subcomponent}"


__all__ = ["Coverage"]
