"""The site as it was at one look, and what follows from several looks: rates, histories, causes. Pure."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from adapters.contract import Health
from bus.events.replays import DeadLetterSummary
from bus.services.protocol import Seen
from gateway.console.alerts import EMPTY, AlertBook
from gateway.console.sources import Flow, Letter, Place, Stream, Timing

HISTORY: Final = 180
"""Looks that a chart shows."""
_SMOOTHED_S: Final = 5.0
"""Time over which a rate is taken."""
_FEWEST: Final = 2
_NUMBERS: Final = re.compile(r"\d+")


class Series:
    """A count at each look, and how fast it grows."""

    __slots__ = ("_at_s", "_counts", "rates")

    def __init__(self) -> None:
        self._at_s: deque[float] = deque()
        self._counts: deque[int] = deque()
        self.rates: deque[float] = deque(maxlen=HISTORY)
        """A second, oldest first."""

    def add(self, count: int, at_s: float) -> None:
        """One look. A count that falls begins anew: its counter did."""
        if self._counts and count < self._counts[-1]:
            self._counts.clear()
            self._at_s.clear()
        self._counts.append(count)
        self._at_s.append(at_s)
        while len(self._at_s) > _FEWEST and at_s - self._at_s[1] >= _SMOOTHED_S:
            self._at_s.popleft()
            self._counts.popleft()
        seconds = at_s - self._at_s[0]
        self.rates.append((count - self._counts[0]) / seconds if seconds > 0 else 0.0)

    @property
    def count(self) -> int:
        """At the last look."""
        return self._counts[-1] if self._counts else 0

    @property
    def rate(self) -> float:
        """A second, over the last looks."""
        return self.rates[-1] if self.rates else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Dead letters of one destination that failed alike."""

    key: str
    consumer: str
    reason: str
    detail: str
    """Of the newest; numbers in it differ between letters."""
    letters: tuple[Letter, ...]

    @property
    def oldest_ms(self) -> int:
        """When the first of them was given up."""
        return min((_stored_ms(one) for one in self.letters), default=0)

    @property
    def newest_ms(self) -> int:
        """When the last of them was."""
        return max((_stored_ms(one) for one in self.letters), default=0)


def causes(letters: Iterable[Letter]) -> tuple[Cause, ...]:
    """Dead letters by destination, reason and words (whatever numbers these hold); the largest group first."""
    groups: dict[tuple[str, str, str], list[Letter]] = {}
    for one in letters:
        detail = one.detail if isinstance(one, DeadLetterSummary) else ""
        groups.setdefault((one.consumer, one.reason, _NUMBERS.sub("#", detail)), []).append(one)
    found = [
        Cause(
            key=f"{consumer}~{reason}~{min(one.seq for one in group)}",
            consumer=consumer,
            reason=reason,
            detail=next(
                (one.detail for one in reversed(group) if isinstance(one, DeadLetterSummary)), ""
            ),
            letters=tuple(group),
        )
        for (consumer, reason, _), group in groups.items()
    ]
    return tuple(sorted(found, key=lambda one: (-len(one.letters), one.key)))


def _stored_ms(letter: Letter) -> int:
    return letter.stored_ms if isinstance(letter, DeadLetterSummary) else 0


@dataclass(slots=True, kw_only=True)
class Picture:
    """What is known of the site. One owner changes it, between two looks; everybody else reads."""

    at_ms: int = 0
    """When the last look ended; 0: there was none."""
    looked_s: float = 0.0
    is_connected: bool = False
    failure: str = ""
    """Code of what went wrong at the last look; what is shown is then older than `at_ms`."""
    fresh_ms: int = 0
    """When everything was read without failure."""
    health: Mapping[str, Health] = field(default_factory=dict)
    services: Mapping[str, Sequence[Seen]] = field(default_factory=dict)
    flows: dict[str, Series] = field(default_factory=dict)
    streams: tuple[Stream, ...] = ()
    places: tuple[Place, ...] = ()
    place_waits: dict[str, deque[float]] = field(default_factory=dict)
    """What waited at each destination at each look."""
    moved_ms: dict[str, int] = field(default_factory=dict)
    """When each destination finished something last, or had nothing to do."""
    stored: Series = field(default_factory=Series)
    """Events that were stored at the site."""
    answered: dict[str, Series] = field(default_factory=dict)
    """Calls that each instance answered."""
    timings: dict[str, tuple[Timing, ...]] = field(default_factory=dict)
    waiting: deque[float] = field(default_factory=lambda: deque(maxlen=HISTORY))
    """All that waits anywhere."""
    letters: dict[int, Letter] = field(default_factory=dict)
    """Dead letters by number, oldest first."""
    letters_total: int = 0
    """How many there are; more than are listed where there are very many."""
    book: AlertBook = EMPTY

    def take_flows(self, flows: Sequence[Flow], at_s: float) -> None:
        """Counts by subject of this look."""
        for flow in flows:
            self.flows.setdefault(flow.subject, Series()).add(flow.count, at_s)
        for gone in self.flows.keys() - {flow.subject for flow in flows}:
            del self.flows[gone]

    def take_places(self, places: Sequence[Place], now_ms: int) -> None:
        """Destinations of this look."""
        before = {one.name: one for one in self.places}
        for place in places:
            known = before.get(place.name)
            if not place.waiting or known is None or place.finished != known.finished:
                self.moved_ms[place.name] = now_ms
            waits = self.place_waits.setdefault(place.name, deque(maxlen=HISTORY))
            waits.append(float(place.waiting))
        names = {one.name for one in places}
        for table in (self.moved_ms, self.place_waits):
            for gone in table.keys() - names:
                table.pop(gone)
        self.places = tuple(places)
        self.waiting.append(float(sum(one.waiting for one in places)))

    def take_services(self, services: Mapping[str, Sequence[Seen]], at_s: float) -> None:
        """Who runs."""
        self.services = services
        ids = set()
        for group in services.values():
            for seen in group:
                ids.add(seen.instance.id)
                series = self.answered.setdefault(seen.instance.id, Series())
                series.add(seen.load.answered, at_s)
        for gone in self.answered.keys() - ids:
            del self.answered[gone]
            self.timings.pop(gone, None)


__all__ = ["HISTORY", "Cause", "Letter", "Picture", "Series", "causes"]
