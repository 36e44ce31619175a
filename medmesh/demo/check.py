"""Whether everything that was sent arrived: byte for byte, once, and in each patient's order. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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


__all__ = ["Place", "compare"]
