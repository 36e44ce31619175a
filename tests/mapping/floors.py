"""Recall that the tables must not fall below. Curators raise the floors as the tables grow; the targets stay.

`python -m tests.mapping.score` prints what is true now. A floor is what was measured, rounded down to a hundredth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

MIN_FACTS: Final = 20
"""A resource type with fewer expected facts in an oracle has no floor of its own: one fact would move it by 5 %."""
TYPE_TARGET: Final = 0.75
"""Target of each resource type with enough facts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """Lowest recall allowed for one oracle."""

    overall: float
    target: float
    not_yet: Mapping[str, float] = field(default_factory=dict)
    """Resource types that have not reached `TYPE_TARGET` yet, with what they have. All others must reach `others`."""
    most_set_aside: float = 0.15
    """Largest share of the oracle's facts that decisions may leave out."""
    others: float = TYPE_TARGET
    """Stays at `TYPE_TARGET` once the tables have been measured."""

    def type_floor(self, kind: str) -> float:
        """Lowest recall allowed for one resource type with at least `MIN_FACTS` expected facts."""
        return self.not_yet.get(kind, self.others)


FLOORS: Final[Mapping[str, Floor]] = {
    "prime": Floor(overall=0.92, target=0.92),
    "microsoft": Floor(overall=0.89, target=0.85),
    "google": Floor(
        overall=0.77,
        target=TYPE_TARGET,
        # a quarter of its facts are three habits: provenance of all that was made, each ward around a bed as a place,
        # and a report for each order
        most_set_aside=0.25,
        not_yet={
            # half of it is the converter's record of its own work, at its own time: the mapping has no clock
            "Provenance": 0.50,
        },
    ),
}
MAX_DEAD_LETTERS: Final = 0
"""Messages of the corpus that have a PID and of which nothing is made. Target: 0."""
MAX_LOST_LEAVES: Final = 0.0002
"""Share of valued leaves that are neither in the bundle nor named by an issue. Target: 0.0."""


__all__ = [
    "FLOORS",
    "MAX_DEAD_LETTERS",
    "MAX_LOST_LEAVES",
    "MIN_FACTS",
    "TYPE_TARGET",
    "Floor",
]
