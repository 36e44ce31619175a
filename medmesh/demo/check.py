"""Whether everything that was sent arrived: byte for byte, once, and in each patient's order. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from medmesh.demo.messages import DemoMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What one receiver got, compared with what was accepted from the sender."""

    arrived: int
    """Accepted messages that are there, byte for byte."""
    missing: int
    different: int
    """Bytes that nobody sent."""
    duplicates: int
    out_of_order: int
    """Patients whose messages came in another order; 0 where order is not looked at."""

    @property
    def is_whole(self) -> bool:
        """Whether nothing is missing, changed or out of order."""
        return not (self.missing or self.different or self.out_of_order)


def together(one: Place, other: Place) -> Place:
    """Two days at one place."""
    return Place(
        arrived=one.arrived + other.arrived,
        missing=one.missing + other.missing,
        different=one.different + other.different,
        duplicates=one.duplicates + other.duplicates,
        out_of_order=one.out_of_order + other.out_of_order,
    )


def compare(
    accepted: Sequence[DemoMessage],
    received: Iterable[bytes],
    *,
    ordered: bool,
    unanswered: Sequence[DemoMessage] = (),
) -> Place:
    """Compare what a receiver got with what the mesh accepted, in the order of sending.

    Messages without an answer may have arrived or not; they are no strangers.
    """
    got = list(received)
    counts = Counter(got)
    known = {message.raw for message in (*accepted, *unanswered)}
    arrived = sum(1 for message in accepted if counts[message.raw])
    return Place(
        arrived=arrived,
        missing=len(accepted) - arrived,
        different=sum(count for raw, count in counts.items() if raw not in known),
        duplicates=sum(counts[raw] - 1 for raw in known if counts[raw] > 1),
        out_of_order=_out_of_order(accepted, got) if ordered else 0,
    )


def _out_of_order(accepted: Sequence[DemoMessage], got: Sequence[bytes]) -> int:
    first_seen = {raw: place for place, raw in reversed(list(enumerate(got)))}
    places: dict[str, list[int]] = defaultdict(list)
    for message in accepted:
        if message.raw in first_seen:
            places[message.patient].append(first_seen[message.raw])
    return sum(1 for seen in places.values() if seen != sorted(seen))


NOTHING: Final = Place(arrived=0, missing=0, different=0, duplicates=0, out_of_order=0)

__all__ = ["NOTHING", "Place", "compare", "together"]
