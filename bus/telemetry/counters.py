"""Counters with reasons: nothing is dropped, refused or repeated without one of these going up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping


class Counters:
    """Named counters of one part of the program. Labels are codes and names of our own, never content."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str, str]] = Counter()

    def add(self, name: str, *, who: str = "", reason: str = "", count: int = 1) -> None:
        """Count `name` (an event in the past tense: `message_stored`) for a component and a reason code."""
        self._counts[name, who, reason] += count

    def get(self, name: str, *, who: str | None = None, reason: str | None = None) -> int:
        """Sum of the counters with this name, narrowed to a component or a reason where given."""
        return sum(
            count
            for (n, w, r), count in self._counts.items()
            if n == name and (who is None or w == who) and (reason is None or r == reason)
        )

    def snapshot(self) -> Mapping[tuple[str, str, str], int]:
        """A copy: (name, component, reason) to count."""
        return dict(self._counts)


__all__ = ["Counters"]
