"""How the site does, from the carrier's own counts: the same at every gateway, and no message is read for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from bus.events.places import PlaceView, places, with_ages
from bus.events.streams import dead_letter_stream, event_stream
from bus.services.statistics import BadStatistics, ask_statistics
from bus.transport.protocol import NoResponders, Transport
from gateway.console.sources import Flow, Place, Stream, Timing
from schemas.errors import DeadlineExceeded, Unavailable
from schemas.subjects import SiteId

_TIMEOUT_S: Final = 1.0
_PARTITION: Final = 4
"""Dots before the partition: `evt.<site>.<domain>.<event>.<partition>`."""
_MAX_AGED: Final = 64
"""Consumers with something to do that are asked since when; the longest queues first."""


class MeshFigures:
    """`gateway.console.sources.Figures`."""

    def __init__(self, transport: Transport, site: SiteId, adapters: Mapping[str, str]) -> None:
        self._transport = transport
        self._site = site
        self._adapters = adapters

    async def flows(self) -> Sequence[Flow]:
        """Stored events by subject; the partitions of a subject together."""
        counts = await self._transport.administration.subject_counts(
            event_stream(self._site), f"evt.{self._site}.>"
        )
        found: dict[str, int] = {}
        for subject, count in counts.items():
            name = without_partition(subject)
            found[name] = found.get(name, 0) + count
        return [Flow(subject=name, count=found[name]) for name in sorted(found)]

    async def streams(self) -> Sequence[Stream]:
        """The event stream and that of dead letters."""
        wanted = (event_stream(self._site), dead_letter_stream(self._site))
        states = [await self._transport.store.stream_state(name) for name in wanted]
        return [
            Stream(
                name=one.name,
                messages=one.messages,
                bytes=one.bytes,
                last_seq=one.last_seq,
                is_synced=one.sync_always,
            )
            for one in states
        ]

    async def places(self) -> Sequence[Place]:
        """Every durable consumer, with the age of what waits at the longest queues."""
        views = await places(self._transport, self._site)
        longest = sorted(views, key=lambda one: -one.waiting)[:_MAX_AGED]
        aged = {one.name: one for one in await with_ages(self._transport, self._site, longest)}
        return [self._place(aged.get(one.name, one)) for one in views]

    def _place(self, view: PlaceView) -> Place:
        kind = "shared" if view.is_shared else "program"
        return Place(
            name=view.name,
            kind="adapter" if view.name in self._adapters else kind,
            waiting=view.waiting,
            in_hand=view.unacknowledged,
            finished=view.ack_floor,
            oldest_ms=view.oldest_ms,
            subjects=tuple(one for one in view.patterns if one.startswith("evt.")),
        )

    async def timings(self, service: str, instance: str) -> Sequence[Timing]:
        """What an instance says of its methods."""
        try:
            told = await ask_statistics(
                self._transport.messenger, service, instance, timeout_s=_TIMEOUT_S
            )
        except (NoResponders, DeadlineExceeded, Unavailable, BadStatistics):
            return ()
        return tuple(
            Timing(
                method=one.name,
                requests=one.requests,
                errors=one.errors,
                average_ms=one.average_ns / 1e6,
                last_error=one.last_error,
            )
            for one in told
        )


def without_partition(subject: str) -> str:
    """The subject of an event without its partition."""
    head, _, last = subject.rpartition(".")
    return head if last.isdigit() and subject.count(".") == _PARTITION else subject


__all__ = ["MeshFigures", "without_partition"]
