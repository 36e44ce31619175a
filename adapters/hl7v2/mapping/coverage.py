"""What of a message is in nothing that was made of it: listed by address and counted, never lost in silence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from adapters.hl7v2.mapping.frames import MAX_ISSUES, UNIT, Env, View, spot
from adapters.hl7v2.mapping.losses import Reasons
from adapters.hl7v2.mapping.protocol import Issue, IssueCode, Severity

_DELIMITERS: Final = 2
_STRUCTURAL: Final[Mapping[str, frozenset[int]]] = {
    "MSH": frozenset({9, 12, 18}),
    "OBX": frozenset({2}),
}
"""Fields that say how the message is to be read: its kind, version and characters, the type of a value."""
_NONE: Final[frozenset[int]] = frozenset()
_NEXT_REPETITION: Final = spot(0, 1, 0, 0)
MAX_REMEMBERED: Final = 4_096
Place = tuple[str, int, int, int, str]
"""Segment, field, component, subcomponent (0 where there are no others), and why it is not given out."""


class Coverage:
    """Finds leaves that are in nothing that was made."""

    def __init__(
        self, reasons: Mapping[str, Mapping[str, str]], deciding: frozenset[tuple[str, int]]
    ) -> None:
        self._reasons = reasons
        """By segment and address: why it is left out on purpose."""
        self._deciding = deciding
        self._issues: dict[tuple[Place, int], Issue] = {}

    def report(self, env: Env, known_segments: frozenset[str], lost: Reasons) -> None:
        """Add an issue for each address that holds values which are not given out; `lost` says why of some."""
        counts: dict[Place, int] = {}
        for name, views in env.views.items():
            if name not in known_segments:
                env.issue(
                    Severity.INFORMATION,
                    IssueCode.UNKNOWN_SEGMENT,
                    name,
                    detail=f"no table reads it; {len(views)} in the message",
                )
            for view in views:
                for place in _unread(view, lost):
                    counts[place] = counts.get(place, 0) + 1
        for place, count in counts.items():
            issue = self._issues.get((place, count)) or self._issue(place, count)
            if len(env.issues) < MAX_ISSUES:
                env.issues.append(issue)
            else:
                env.left_out += 1

    def _issue(self, place: Place, count: int) -> Issue:
        if len(self._issues) >= MAX_REMEMBERED:
            self._issues.clear()
        name, field, component, subcomponent, why = place
        address = f"{name}-{field}"
        if component:
            address += f".{component}"
        if subcomponent:
            address += f".{subcomponent}"
        if not why:
            why = self._reason(address)
        if not why and (name, field) in self._deciding:
            why = "only decides which rules run"
        times = f"{count} times" if count > 1 else ""
        made = self._issues[place, count] = Issue(
            severity=Severity.INFORMATION,
            code=IssueCode.UNMAPPED_FIELD,
            where=address,
            detail="; ".join(one for one in (why, times) if one),
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


def _unread(view: View, lost: Reasons) -> Iterator[Place]:
    fields, cut, read, name = view.fields, view.cut, view.read, view.name
    skipped = _STRUCTURAL.get(name, _NONE)
    for field in range(_DELIMITERS + 1 if name == "MSH" else 1, len(fields)):
        if not fields[field] or field in skipped:
            continue
        found = cut.get(field)
        if found is None:
            found = view.repetitions(field)
        start = spot(field, 0, 0, 1)
        for parts in found:
            start += _NEXT_REPETITION
            at = start
            for part in parts:
                at += UNIT
                if isinstance(part, str):
                    if part and at not in read:
                        number = (at - start) // UNIT if len(parts) > 1 else 0
                        yield name, field, number, 0, lost.get((name, view.number, at), "")
                    continue
                for i, text in enumerate(part):
                    if text and at + i not in read:
                        why = lost.get((name, view.number, at + i), "")
                        yield name, field, (at - start) // UNIT, i + 1, why


__all__ = ["Coverage"]
