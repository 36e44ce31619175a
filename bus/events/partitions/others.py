"""The other members of a group as one member sees them: alive, silent for too long, gone. Pure.

Someone else's clock is never compared. A member is buried by compare-and-set on the revision that stood still for a
whole lease; one whose key is missing (it expired) can never renew, and is dead a lease after that was seen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from bus.events.partitions.actions import LeaseTimes
from bus.events.partitions.records import MemberRecord, Presence


@dataclass(slots=True)
class _Sighting:
    revision: int
    seen_s: float
    presence: Presence | None
    """None: its key is missing."""


class Others:
    """Sightings of members, by name."""

    def __init__(self, times: LeaseTimes) -> None:
        self._times = times
        self._seen: dict[str, _Sighting] = {}

    def changed(
        self, member: str, record: MemberRecord | None, revision: int, now_s: float
    ) -> None:
        """A record was reported, or found missing (then `revision` may be 0)."""
        known = self._seen.get(member)
        if record is None:
            self._missing(member, known, revision, now_s)
        elif known is None or revision > known.revision:
            self._seen[member] = _Sighting(revision, now_s, record.presence)

    def _missing(self, member: str, known: _Sighting | None, revision: int, now_s: float) -> None:
        if known is None:
            self._seen[member] = _Sighting(revision, now_s, None)
        elif known.presence is not None and known.presence is not Presence.GONE:
            known.presence, known.seen_s = None, now_s

    def is_known(self, member: str) -> bool:
        """Whether it was ever seen or looked for."""
        return member in self._seen

    def present(self) -> list[str]:
        """Those that take part in the plan."""
        return [name for name, one in self._seen.items() if one.presence is Presence.IN]

    def is_dead(self, member: str, now_s: float) -> bool:
        """Whether it surely believes itself no more."""
        one = self._seen.get(member)
        if one is None:
            return False
        silent = one.presence is None and now_s - one.seen_s >= self._times.lease_s
        return silent or one.presence is Presence.GONE

    def silent(self, now_s: float) -> list[tuple[str, int]]:
        """Whom to bury, and at which revision."""
        return [
            (name, one.revision)
            for name, one in self._seen.items()
            if self._is_alive(one) and now_s - one.seen_s >= self._times.lease_s
        ]

    def spare(self, now_s: float) -> None:
        """Wait for everybody anew: it was us who heard nothing."""
        for one in self._seen.values():
            if self._is_alive(one):
                one.seen_s = now_s

    def forget(self, needed: set[str]) -> None:
        """Drop those who are gone and own nothing any more."""
        for name in [n for n, one in self._seen.items() if not self._is_alive(one)]:
            if name not in needed:
                del self._seen[name]

    def due_s(self, now_s: float) -> float:
        """When the next one will have been silent, or missing, for a lease."""
        ends = (
            one.seen_s + self._times.lease_s
            for one in self._seen.values()
            if one.presence is not Presence.GONE
        )
        return min((end for end in ends if end > now_s), default=math.inf)

    @staticmethod
    def _is_alive(one: _Sighting) -> bool:
        return one.presence in (Presence.IN, Presence.LEAVING)


__all__ = ["Others"]
