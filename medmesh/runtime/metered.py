"""`Events` with a meter: what an adapter brought in and what it took out, without the adapter knowing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bus.events.protocol import (
    ConsumeSpec,
    Consumption,
    ConsumptionStats,
    Events,
    Handler,
    NewEvent,
    Receipt,
    StoredEvent,
)
from schemas.errors import MeshError


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One reading of a meter, counted since the start."""

    stored: int = 0
    """Events that this adapter brought in and that are durable."""
    repeated: int = 0
    """Resends that were stored before."""
    failed: int = 0
    """Publishes that were refused or whose fate is unknown: the sender was told."""
    delivered: int = 0
    filtered: int = 0
    retried: int = 0
    dead_lettered: int = 0
    refused: int = 0
    """Envelopes that were not believed."""
    sender_contradictions: int = 0
    """Batches that contradict another of the same sender: a cloned machine, or a stolen key."""
    in_flight: int = 0
    waiting: int = 0
    """Events that this adapter has still to work."""
    oldest_wait_s: float = 0.0


class MeteredEvents:
    """Passes everything on to the `Events` of one service, and counts.

    `is_newcomer`: what the stream holds already was not sealed for this service, so its place begins behind that.
    """

    def __init__(self, events: Events, *, is_newcomer: bool = False) -> None:
        self._events = events
        self._is_newcomer = is_newcomer
        self._stored = self._repeated = self._failed = 0
        self._consumptions: list[Consumption] = []

    async def publish(self, event: NewEvent, *, timeout_s: float = 30.0) -> StoredEvent:
        """See `bus.events.protocol.Events.publish`."""
        try:
            stored = await self._events.publish(event, timeout_s=timeout_s)
        except MeshError:
            self._failed += 1
            raise
        if stored.duplicate:
            self._repeated += 1
        else:
            self._stored += 1
        return stored

    async def consume(self, spec: ConsumeSpec, handler: Handler) -> Consumption:
        """See `bus.events.protocol.Events.consume`."""
        if self._is_newcomer:
            spec = replace(spec, deliver_new=True)
        consumption = await self._events.consume(spec, handler)
        self._consumptions.append(consumption)
        return consumption

    async def await_receipt(self, message_id: bytes, consumer: str, *, timeout_s: float) -> Receipt:
        """See `bus.events.protocol.Events.await_receipt`."""
        return await self._events.await_receipt(message_id, consumer, timeout_s=timeout_s)

    def read(self) -> Reading:
        """Read the meter."""
        stats = [consumption.stats() for consumption in self._consumptions]
        return Reading(
            stored=self._stored,
            repeated=self._repeated,
            failed=self._failed,
            delivered=_sum(stats, "delivered"),
            filtered=_sum(stats, "filtered"),
            retried=_sum(stats, "retried"),
            dead_lettered=_sum(stats, "dead_lettered"),
            refused=_sum(stats, "refused_envelopes"),
            sender_contradictions=_sum(stats, "sender_contradictions"),
            in_flight=_sum(stats, "in_flight"),
            waiting=_sum(stats, "pending") + _sum(stats, "in_flight"),
            oldest_wait_s=max((one.oldest_wait_s for one in stats), default=0.0),
        )


def _sum(stats: Sequence[ConsumptionStats], field: str) -> int:
    return sum(int(getattr(one, field)) for one in stats)


__all__ = ["MeteredEvents", "Reading"]
