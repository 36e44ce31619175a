"""Reads the event stream from a position on, in order, and opens what it reads."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Final

from bus.bodies import BadBody
from bus.envelope.types import Refused
from bus.events.content import UnreadableContent, to_received
from bus.events.following.ring import Followed
from bus.events.items import Tries
from bus.events.opening import EnvelopeReader, NotNow
from bus.events.streams import incarnation_of
from bus.telemetry.counters import Counters
from bus.telemetry.log import logger
from bus.transport.protocol import ConsumerSpec, Delivery, DurableConsumer, EventStore
from schemas.errors import Closed

_CREDIT: Final = 64
_PASSING_S: Final = 60.0
_NOT_NOW_S: Final = 0.5
_log = logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where events are read, and in whose name they are opened."""

    store: EventStore
    stream: str
    inspector: EnvelopeReader
    counters: Counters


@dataclass(frozen=True, slots=True)
class Read:
    """One message of the stream."""

    step: Followed
    pending: int
    """Messages of the patterns behind it, as the carrier counted when it gave this one."""


class Upstream:
    """One reader; `ConsumerEvents` of a passing consumer."""

    def __init__(self, source: Source, patterns: tuple[str, ...], *, after_seq: int) -> None:
        self._source = source
        self._patterns = patterns
        self._last = after_seq
        """Sequence of the last message that was delivered."""
        self._deliveries: deque[Delivery] = deque()
        self._arrived = asyncio.Event()
        self._in_hand = False
        """Whether a message is being opened, or is with who reads."""
        self._is_lost = False
        self._consumer: DurableConsumer | None = None
        self._incarnation = ""

    async def open(self) -> None:
        """Begin to read. Raises `MeshError`."""
        source = self._source
        self._incarnation = incarnation_of(await source.store.stream_state(source.stream))
        spec = ConsumerSpec(
            stream=source.stream,
            name=f"follow-{secrets.token_hex(8)}",
            patterns=self._patterns,
            start_seq=self._last + 1,
            passing_s=_PASSING_S,
        )
        self._consumer = await source.store.consume(spec, self)
        self._consumer.credit(_CREDIT)

    async def close(self) -> None:
        """End; the carrier forgets the reader."""
        if self._consumer is not None:
            await self._consumer.close()

    async def is_idle(self) -> bool:
        """Whether every message stored before the call was read, and worked by who reads. Raises `MeshError`."""
        state = await self._reader.state()
        is_here = not state.pending and state.delivered <= self._last
        return is_here and not self._deliveries and not self._in_hand and not self._is_lost

    async def read(self) -> AsyncGenerator[Read, None]:
        """What comes, one after the other. A message that cannot be opened gives a step without event."""
        while True:
            self._in_hand = False
            while not self._deliveries:
                if self._is_lost:
                    await self._go_back()
                    continue
                self._arrived.clear()
                await self._arrived.wait()
            delivery = self._deliveries.popleft()
            self._in_hand = True
            step = await self._opened(delivery)
            self._reader.credit(1)
            yield Read(step, delivery.pending)

    # what the consumer tells

    def delivered(self, delivery: Delivery) -> None:
        """Take one message."""
        if delivery.seq <= self._last:
            self._reader.credit(1)
            return
        self._last = delivery.seq
        self._deliveries.append(delivery)
        self._arrived.set()

    def interrupted(self, reason: str) -> None:
        """Messages may be missing: reading begins again behind the last one."""
        self._source.counters.add("feed_interrupted", reason=reason)
        self._is_lost = True
        self._arrived.set()

    # inside

    @property
    def _reader(self) -> DurableConsumer:
        if self._consumer is None:
            raise Closed("this reader was not opened")
        return self._consumer

    async def _go_back(self) -> None:
        self._is_lost = False
        source = self._source
        if incarnation_of(await source.store.stream_state(source.stream)) != self._incarnation:
            raise Closed("the event stream was made anew: positions in the old one mean nothing")
        await self._reader.rewind(self._last + 1)

    async def _opened(self, delivery: Delivery) -> Followed:
        tries = Tries()
        while True:
            try:
                found = await self._try(tries, delivery)
            except (Refused, BadBody, UnreadableContent) as error:
                self._source.counters.add("feed_refused", reason=error.code)
                _log.warning(
                    "feed_refused", subject=delivery.subject, seq=delivery.seq, reason=error.code
                )
                return Followed(delivery.seq)
            if isinstance(found, Followed):
                return found
            await asyncio.sleep(_NOT_NOW_S)

    async def _try(self, tries: Tries, delivery: Delivery) -> Followed | NotNow:
        inspector = self._source.inspector
        envelope = await inspector.open(tries, delivery.subject, delivery.payload)
        if isinstance(envelope, NotNow):
            return envelope
        waits = await inspector.restore(tries, envelope)
        if waits is not None:
            return waits
        event = to_received(
            envelope, stored_ms=delivery.stored_ms, seq=delivery.seq, attempt=1, replayed=False
        )
        return Followed(delivery.seq, event)


__all__ = ["Read", "Source", "Upstream"]
