"""`MeshEvents`: durable events in the name of one service, with everything that lies behind."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from bus.envelope.seals import Opening, Seals
from bus.events.bodies import Bodies
from bus.events.commits import CommitLimits
from bus.events.consumption import MeshConsumption
from bus.events.content import MESSAGE_ID_BYTES
from bus.events.dead_letters import DeadLetterWriter
from bus.events.following.feed import MeshFeed
from bus.events.following.upstream import Source
from bus.events.ledger import Ledger
from bus.events.opening import EnvelopeReader
from bus.events.partitions.actions import LeaseTimes
from bus.events.partitions.consumption import SharedMeshConsumption
from bus.events.partitions.work import Supplies
from bus.events.path import StorePath
from bus.events.protocol import (
    ConsumeSpec,
    Consumption,
    Fits,
    Handler,
    NewEvent,
    Receipt,
    StoredEvent,
)
from bus.events.publisher import Publisher
from bus.events.receipts import ReceiptReader, ReceiptWriter
from bus.events.replays import DeadLetters
from bus.events.streams import (
    StreamLimits,
    event_stream,
    incarnation_of,
    schedule_stream,
    stream_specs,
)
from bus.events.work import Workshop
from bus.flow import Chance, QuotaLimits
from bus.telemetry.counters import Counters
from bus.transport.protocol import ConsumerSpec, LinkState, Transport
from schemas import subjects
from schemas.clock import Clock
from schemas.errors import Closed, SubjectError
from schemas.subjects import SiteId, matches


def _fresh_id() -> bytes:
    return secrets.token_bytes(MESSAGE_ID_BYTES)


class EventsCondition(Enum):
    """How a service's events are."""

    STOPPED = "stopped"
    RUNNING = "running"
    CARRIER_AWAY = "carrier_away"


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsHealth:
    """The condition, and the consumers that run."""

    condition: EventsCondition
    consumers: tuple[str, ...]


class MeshEvents:
    """`bus.events.protocol.Events` for one service."""

    def __init__(
        self,
        *,
        site: SiteId,
        transport: Transport,
        seals: Seals,
        clock: Clock,
        chance: Chance,
        counters: Counters,
        folder: Path,
        stream_limits: StreamLimits | None = None,
        commit_limits: CommitLimits | None = None,
        quota: QuotaLimits | None = None,
        path: StorePath | None = None,
        fits: Fits | None = None,
        bodies: Bodies | None = None,
        fresh_id: Callable[[], bytes] = _fresh_id,
    ) -> None:
        self._site = site
        self._transport = transport
        self._seals = seals
        self._clock = clock
        self._chance = chance
        self._counters = counters
        self._folder = folder
        self._stream_limits = stream_limits or StreamLimits()
        self._owns_bodies = bodies is None
        self._bodies = bodies = bodies or Bodies(transport, counters)
        self._publisher = Publisher(
            site=site,
            store=transport.store,
            seals=seals,
            clock=clock,
            counters=counters,
            fresh_id=fresh_id,
            max_payload=lambda: transport.max_payload,
            codec=bodies.codec,
            limits=commit_limits,
            quota=quota,
            path=path,
            fits=fits,
        )
        self._receipts = ReceiptReader(
            site=site,
            transport=transport,
            seals=seals,
            clock=clock,
            counters=counters,
            bodies=bodies,
        )
        self._consumptions: dict[str, Consumption] = {}
        self._running = False

    async def start(self) -> None:
        """Make sure that the site's streams are there. Raises `MeshError`."""
        for spec in stream_specs(self._site, self._stream_limits):
            await self._transport.store.ensure_stream(spec)
        await self._bodies.start()
        self._running = True

    def health(self) -> EventsHealth:
        """Answer at once."""
        condition = EventsCondition.RUNNING
        if not self._running:
            condition = EventsCondition.STOPPED
        elif not self._reachable():
            condition = EventsCondition.CARRIER_AWAY
        return EventsHealth(condition=condition, consumers=tuple(self._consumptions))

    def _reachable(self) -> bool:
        return self._transport.link is LinkState.CONNECTED

    async def publish(self, event: NewEvent, *, timeout_s: float = 30.0) -> StoredEvent:
        """Seal and store one event; see `bus.events.protocol.Events.publish`."""
        if not event.subject.startswith((f"evt.{self._site}.", f"audit.{self._site}.")):
            raise SubjectError(
                f"{event.subject!r} is no event of site {self._site}: evt.{self._site}.<domain>.<event>.<partition>"
            )
        return await self._publisher.publish(event, timeout_s=timeout_s)

    async def consume(self, spec: ConsumeSpec, handler: Handler) -> Consumption:
        """Take up the durable consumer `spec.name`; see `bus.events.protocol.Events.consume`."""
        orders = subjects.replay(self._site, spec.name)
        return await self._consume(spec, handler, event_stream(self._site), orders=(orders,))

    async def consume_schedules(self, spec: ConsumeSpec, handler: Handler) -> Consumption:
        """The same on the stream of schedules, for the scheduler: what is due there is an order to publish."""
        return await self._consume(spec, handler, schedule_stream(self._site), orders=())

    async def _consume(
        self, spec: ConsumeSpec, handler: Handler, stream: str, *, orders: tuple[str, ...]
    ) -> Consumption:
        if not self._running:
            raise Closed("these events were not started")
        subjects.token(spec.name, what="consumer")
        state = await self._transport.store.stream_state(stream)
        incarnation = incarnation_of(state)
        opener = self._seals.opener()
        replay_subject = subjects.replay(self._site, spec.name)
        shop = Workshop(
            spec=spec,
            handler=handler,
            replay_subject=replay_subject,
            reader=self._reader_of(opener),
            dead_letters=DeadLetterWriter(
                stream=stream,
                incarnation=incarnation,
                consumer=spec.name,
                publisher=self._publisher,
                clock=self._clock,
                counters=self._counters,
            ),
            receipts=ReceiptWriter(self._site, self._publisher, self._clock),
            clock=self._clock,
            chance=self._chance,
            counters=self._counters,
        )
        if spec.shared:
            return await self._share(shop, stream)
        consumption = MeshConsumption(
            place=ConsumerSpec(
                stream=stream,
                name=spec.name,
                patterns=(*without_covered(spec.patterns), *orders),
                max_ack_pending=max(spec.max_in_flight * 2, 1024),
                deliver_new=spec.deliver_new,
            ),
            shop=shop,
            opener=opener,
            ledger=Ledger(self._folder / f"{spec.name}.ledger", incarnation.encode()),
        )
        await consumption.start(self._transport.store)
        self._consumptions[spec.name] = consumption
        return consumption

    async def _share(self, shop: Workshop, stream: str) -> Consumption:
        """Join the group of all who consume under this name."""
        supplies = Supplies(
            stream=stream,
            transport=self._transport,
            shop=shop,
            fresh_opener=self._seals.opener,
            reader_of=self._reader_of,
            folder=self._folder,
        )
        shared = SharedMeshConsumption(supplies, chance=self._chance, times=LeaseTimes())
        await shared.start()
        self._consumptions[shop.spec.name] = shared
        return shared

    def _reader_of(self, opener: Opening) -> EnvelopeReader:
        return EnvelopeReader(
            self._seals, opener, self._clock, self._bodies, reachable=self._reachable
        )

    async def await_receipt(self, message_id: bytes, consumer: str, *, timeout_s: float) -> Receipt:
        """Wait for what a destination did; see `bus.events.protocol.Events.await_receipt`."""
        return await self._receipts.wait(message_id, consumer, timeout_s=timeout_s)

    def inspector(self) -> EnvelopeReader:
        """Opens single stored messages that this service may read, as often as it is asked: for lists."""
        return self._reader_of(self._seals.opener(replay_window=False))

    def feed(self) -> MeshFeed:
        """Follows the site's events as far as this service may read them; whoever asks for it closes it."""
        return MeshFeed(
            Source(
                store=self._transport.store,
                stream=event_stream(self._site),
                inspector=self.inspector(),
                counters=self._counters,
            )
        )

    def dead_letters(self) -> DeadLetters:
        """The dead letters of the site, if this service's certificate has an operator's rights."""
        return DeadLetters(
            site=self._site,
            transport=self._transport,
            seals=self._seals,
            publisher=self._publisher,
            clock=self._clock,
            bodies=self._bodies,
        )

    async def drain(self, *, timeout_s: float) -> bool:
        """Take nothing new, finish what is in hand and under way; False when messages are left for the next start."""
        consumptions = tuple(self._consumptions.values())
        self._consumptions.clear()
        finished = await asyncio.gather(*(c.drain(timeout_s=timeout_s) for c in consumptions))
        try:
            async with asyncio.timeout(timeout_s):
                await self._publisher.drain()
        except TimeoutError:
            return False
        return all(finished)

    async def stop(self) -> None:
        """Stop at once."""
        self._running = False
        consumptions = tuple(self._consumptions.values())
        self._consumptions.clear()
        await asyncio.gather(*(consumption.stop() for consumption in consumptions))
        await self._publisher.stop()
        if self._owns_bodies:
            await self._bodies.stop()


def without_covered(patterns: tuple[str, ...]) -> tuple[str, ...]:
    """The patterns that no other one of them covers: a durable consumer takes no overlapping ones."""
    unique = tuple(dict.fromkeys(patterns))
    return tuple(
        one for one in unique if not any(other != one and matches(other, one) for other in unique)
    )


__all__ = ["EventsCondition", "EventsHealth", "MeshEvents", "without_covered"]
