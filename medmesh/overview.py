"""A site at one moment: what flows, who serves, what waits, what was given up. No message is read for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bus.events.streams import dead_letter_stream
from bus.services.protocol import Seen
from bus.services.statistics import BadStatistics, MethodFigures, ask_statistics
from bus.transport.protocol import NoResponders, NotFound, Transport
from gateway.console.mesh.figures import MeshFigures
from gateway.console.sources import Place
from schemas.clock import Clock
from schemas.errors import DeadlineExceeded, Unavailable
from schemas.subjects import SiteId

_TIMEOUT_S: Final = 1.0
_MAX_ASKED: Final = 64
"""Instances that are asked how long they take, at each look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectRow:
    """Events of one kind; all partitions together."""

    subject: str
    stored: int
    per_s: float
    """Since the last look. Where events are dropped because they are old, it says less than came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRow:
    """One instance of a service."""

    service: str
    instance: str
    health: str
    reason: str
    in_flight: int
    limit: int
    """Calls that it works at a time; 0: not told."""
    per_s: float
    """Calls answered since the last look."""
    p99_ms: float | None
    """Of its slowest method, over the last calls; None: it does not tell, or was not called yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerRow:
    """A durable consumer."""

    name: str
    kind: str
    waiting: int
    in_hand: int
    oldest_s: float
    """Age of what waits longest; 0: nothing waits, or it cannot be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """Everything at one moment."""

    site: str
    at_ms: int
    per_s: float
    """Events stored a second since the last look."""
    stored: int
    subjects: tuple[SubjectRow, ...]
    """The busiest first."""
    services: tuple[ServiceRow, ...]
    consumers: tuple[ConsumerRow, ...]
    """The longest queue first."""
    dead_letters: Mapping[str, int]
    """By consumer."""


@dataclass(frozen=True, slots=True)
class _Counts:
    at_s: float
    last_seq: int
    subjects: Mapping[str, int]
    answered: Mapping[str, int]


class Observer:
    """Looks at a site again and again; rates are differences between two looks."""

    def __init__(
        self,
        transport: Transport,
        site: SiteId,
        *,
        services: Callable[[], Mapping[str, Sequence[Seen]]],
        adapters: Mapping[str, str],
        clock: Clock,
    ) -> None:
        self._transport = transport
        self._site = site
        self._services = services
        self._figures = MeshFigures(transport, site, adapters)
        self._clock = clock
        self._last: _Counts | None = None

    async def look(self) -> Overview:
        """The site now; the first time without rates. Raises `MeshError`."""
        flows, streams, places, dead = await asyncio.gather(
            self._figures.flows(), self._figures.streams(), self._figures.places(), self._dead()
        )
        seen = [one for group in self._services().values() for one in group]
        events = streams[0]
        now = _Counts(
            self._clock.monotonic_s(),
            events.last_seq,
            {one.subject: one.count for one in flows},
            {one.instance.id: one.load.answered for one in seen},
        )
        last, self._last = self._last or now, now
        seconds = now.at_s - last.at_s
        subjects = (
            SubjectRow(
                subject=name,
                stored=count,
                per_s=_rate(count, last.subjects.get(name, 0), seconds),
            )
            for name, count in now.subjects.items()
        )
        at_ms = self._clock.now_ms()
        consumers = (_consumer(one, at_ms) for one in places)
        return Overview(
            site=str(self._site),
            at_ms=at_ms,
            per_s=_rate(now.last_seq, last.last_seq, seconds),
            stored=events.messages,
            subjects=tuple(
                sorted(subjects, key=lambda one: (-one.per_s, -one.stored, one.subject))
            ),
            services=await self._service_rows(seen, last, seconds),
            consumers=tuple(sorted(consumers, key=lambda one: (-one.waiting, one.name))),
            dead_letters=dead,
        )

    async def _dead(self) -> Mapping[str, int]:
        stream = dead_letter_stream(self._site)
        try:
            counts = await self._transport.administration.subject_counts(stream, "dlq.>")
        except NotFound:
            return {}
        found: dict[str, int] = {}
        for subject, count in counts.items():
            consumer = subject.rpartition(".")[2]
            found[consumer] = found.get(consumer, 0) + count
        return dict(sorted(found.items()))

    async def _service_rows(
        self, seen: Sequence[Seen], last: _Counts, seconds: float
    ) -> tuple[ServiceRow, ...]:
        ordered = sorted(seen, key=lambda one: (one.instance.service, one.instance.id))
        p99s = await asyncio.gather(*(self._p99_ms(one) for one in ordered[:_MAX_ASKED]))
        known = dict(zip((one.instance.id for one in ordered), p99s, strict=False))
        return tuple(
            ServiceRow(
                service=one.instance.service,
                instance=one.instance.id,
                health=one.health.value,
                reason=one.reason,
                in_flight=one.load.in_flight,
                limit=one.load.limit,
                per_s=_rate(
                    one.load.answered,
                    last.answered.get(one.instance.id, one.load.answered),
                    seconds,
                ),
                p99_ms=known.get(one.instance.id),
            )
            for one in ordered
        )

    async def _p99_ms(self, seen: Seen) -> float | None:
        try:
            told: tuple[MethodFigures, ...] = await ask_statistics(
                self._transport.messenger,
                seen.instance.service,
                seen.instance.id,
                timeout_s=_TIMEOUT_S,
            )
        except (NoResponders, DeadlineExceeded, Unavailable, BadStatistics):
            return None
        slowest = max((one.p99_ns for one in told), default=0)
        return slowest / 1e6 if slowest else None


def _consumer(place: Place, at_ms: int) -> ConsumerRow:
    return ConsumerRow(
        name=place.name,
        kind=place.kind,
        waiting=place.waiting,
        in_hand=place.in_hand,
        oldest_s=max(0.0, (at_ms - place.oldest_ms) / 1000) if place.oldest_ms else 0.0,
    )


def _rate(now: int, before: int, seconds: float) -> float:
    return max(0, now - before) / seconds if seconds > 0 else 0.0


__all__ = ["ConsumerRow", "Observer", "Overview", "ServiceRow", "SubjectRow"]
