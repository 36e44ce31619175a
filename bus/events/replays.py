"""The operators' side of dead letters: list, show, replay, without ever decrypting what the original envelope holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from google.protobuf.message import DecodeError

from bus.envelope.seals import Seals
from bus.envelope.types import Refused
from bus.events.bodies import Bodies
from bus.events.content import UnreadableContent, body_of, service_name
from bus.events.dead_letters import DEAD_LETTER_TYPE
from bus.events.items import Tries
from bus.events.opening import EnvelopeReader, NotNow
from bus.events.protocol import NewEvent, StoredEvent
from bus.events.publisher import Publisher
from bus.events.sizes import shortened
from bus.events.streams import dead_letter_stream, derived_id, event_stream
from bus.events.work import REPLAY_TYPE
from bus.transport.protocol import Delivery, LinkState, NotFound, Transport
from schemas import subjects
from schemas.clock import Clock
from schemas.errors import MeshError, Unavailable
from schemas.generated.medmesh.control.v1 import control_pb2 as control_pb
from schemas.subjects import SiteId

_READ_AHEAD: Final = 32
_TIMEOUT_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterSummary:
    """What operators see of a dead letter: where, why and when, and nothing of its content."""

    seq: int
    """In the dead-letter stream: by this it is shown and replayed."""
    consumer: str
    subject: str
    stream_seq: int
    message_id: bytes
    reason: str
    detail: str
    attempts: int
    first_attempt_ms: int
    last_attempt_ms: int
    stack: str
    reported_by: str
    """The service that gave up on it."""
    stored_ms: int
    envelope_bytes: int
    """Size of the original envelope; 0 when it was too large to travel in a dead letter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadableDeadLetter:
    """Something in the dead-letter stream that this operator cannot open, or must not believe."""

    seq: int
    consumer: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What a replay did."""

    ordered: tuple[int, ...]
    """Dead letters whose messages will be taken again."""
    gone: tuple[int, ...]
    """Not there (any more): replayed or deleted before."""
    failed: dict[int, str] = field(default_factory=dict)
    """Those that stay dead letters, with the code of the error."""


class DeadLetters:
    """The dead letters of a site, in the name of an operator's service.

    Its certificate must allow to subscribe `dlq.<stream>.>` and to publish `ctl.<site>.replay.>`.
    """

    def __init__(
        self,
        *,
        site: SiteId,
        transport: Transport,
        seals: Seals,
        publisher: Publisher,
        clock: Clock,
        bodies: Bodies,
    ) -> None:
        self._site = site
        self._store = transport.store
        self._seals = seals
        self._publisher = publisher
        self._reader = EnvelopeReader(
            seals,
            seals.opener(replay_window=False),
            clock,
            bodies,
            reachable=lambda: transport.link is LinkState.CONNECTED,
        )
        self._stream = dead_letter_stream(site)

    async def list(
        self,
        consumer: str = "",
        *,
        known: Mapping[int, DeadLetterSummary | UnreadableDeadLetter] = MappingProxyType({}),
    ) -> AsyncIterator[DeadLetterSummary | UnreadableDeadLetter]:
        """All dead letters, oldest first; of one consumer where named. Raises `MeshError`.

        Those that are `known` by their number are not opened again: what they say does not change.
        """
        async for delivery in self._stored(consumer):
            letter = known.get(delivery.seq)
            is_same = (
                isinstance(letter, DeadLetterSummary) and letter.stored_ms == delivery.stored_ms
            )
            yield letter if letter is not None and is_same else await self._summary(delivery)

    async def show(self, seq: int) -> DeadLetterSummary | UnreadableDeadLetter:
        """One dead letter. Raises `NotFound`."""
        return await self._summary(await self._store.read(self._stream, seq))

    async def delete(self, seq: int) -> None:
        """Give up on a message for good. Raises `NotFound`."""
        await self._store.delete(self._stream, seq)

    async def replay(self, seqs: Sequence[int], *, reason: str, to: str = "") -> Replayed:
        """Have messages taken again by the consumer that gave up on them, or by `to`.

        A second call for the same dead letter sends nothing twice: the order has the same message id, and the dead
        letter is deleted once the order is stored.
        """
        ordered: list[int] = []
        gone: list[int] = []
        failed: dict[int, str] = {}
        for seq in seqs:
            try:
                letter, _ = await self._letter(await self._store.read(self._stream, seq))
                await self._order(letter, seq, reason=reason, to=to or letter.consumer)
                await self._store.delete(self._stream, seq)
            except NotFound:
                gone.append(seq)
            except MeshError as error:
                failed[seq] = error.code
            else:
                ordered.append(seq)
        return Replayed(ordered=tuple(ordered), gone=tuple(gone), failed=failed)

    async def replay_all(self, consumer: str, *, reason: str) -> Replayed:
        """Have every message taken again that this consumer has given up on so far, oldest first."""
        seqs = [delivery.seq async for delivery in self._stored(consumer)]
        return await self.replay(seqs, reason=reason)

    async def replay_event(self, seq: int, *, reason: str, to: str) -> StoredEvent:
        """Have one destination take a message again that is still in the event stream. Raises `NotFound`.

        Each call is an order of its own.
        """
        original = await self._store.read(event_stream(self._site), seq)
        order = control_pb.ReplayOrder(
            subject=original.subject,
            envelope=original.payload,
            ordered_by=self._seals.service,
            reason=shortened(reason),
        )
        return await self._publish(order, to, message_id=b"")

    async def stored_since(self, since_ms: int, patterns: Sequence[str]) -> tuple[int, ...]:
        """Sequences of the stored events that the patterns cover and that came since then, oldest first."""
        state = await self._store.stream_state(event_stream(self._site))
        found: list[int] = []
        last = state.last_seq
        while state.messages and last >= state.first_seq:
            first = max(state.first_seq, last - _READ_AHEAD + 1)
            part = await asyncio.gather(
                *(self._read(seq, event_stream(self._site)) for seq in range(first, last + 1))
            )
            there = [one for one in part if one is not None]
            found += [
                one.seq
                for one in reversed(there)
                if one.stored_ms >= since_ms
                and any(subjects.matches(pattern, one.subject) for pattern in patterns)
            ]
            if there and there[0].stored_ms < since_ms:
                break
            last = first - 1
        return tuple(reversed(found))

    async def replay_events(self, seqs: Sequence[int], *, reason: str, to: str) -> Replayed:
        """Have one destination take stored messages again, in this order. Each call is a set of orders of its own."""
        ordered: list[int] = []
        gone: list[int] = []
        failed: dict[int, str] = {}
        for seq in seqs:
            try:
                await self.replay_event(seq, reason=reason, to=to)
            except NotFound:
                gone.append(seq)
            except MeshError as error:
                failed[seq] = error.code
            else:
                ordered.append(seq)
        return Replayed(ordered=tuple(ordered), gone=tuple(gone), failed=failed)

    async def _order(
        self, letter: control_pb.DeadLetter, seq: int, *, reason: str, to: str
    ) -> None:
        envelope = letter.envelope
        if not envelope:
            envelope = (await self._store.read(letter.stream, letter.stream_seq)).payload
        state = await self._store.stream_state(self._stream)
        order = control_pb.ReplayOrder(
            subject=letter.subject,
            envelope=envelope,
            ordered_by=self._seals.service,
            reason=shortened(reason),
            dead_letter_seq=seq,
        )
        await self._publish(
            order, to, message_id=derived_id("replay", self._stream, state.created_ms, seq, to)
        )

    async def _publish(
        self, order: control_pb.ReplayOrder, to: str, *, message_id: bytes
    ) -> StoredEvent:
        return await self._publisher.publish(
            NewEvent(
                subject=subjects.replay(self._site, to),
                type=REPLAY_TYPE,
                body=order.SerializeToString(),
                message_id=message_id,
            ),
            timeout_s=_TIMEOUT_S,
        )

    async def _stored(self, consumer: str) -> AsyncIterator[Delivery]:
        state = await self._store.stream_state(self._stream)
        wanted = f".{consumer}" if consumer else ""
        seqs = range(state.first_seq, state.last_seq + 1) if state.messages else range(0)
        for start in range(0, len(seqs), _READ_AHEAD):
            part = seqs[start : start + _READ_AHEAD]
            for delivery in await asyncio.gather(*(self._read(seq) for seq in part)):
                if delivery is not None and delivery.subject.endswith(wanted):
                    yield delivery

    async def _read(self, seq: int, stream: str = "") -> Delivery | None:
        try:
            return await self._store.read(stream or self._stream, seq)
        except NotFound:
            return None

    async def _summary(self, delivery: Delivery) -> DeadLetterSummary | UnreadableDeadLetter:
        try:
            letter, reporter = await self._letter(delivery)
        except (Refused, UnreadableContent) as error:
            return UnreadableDeadLetter(
                seq=delivery.seq,
                consumer=delivery.subject.rpartition(".")[2],
                reason=error.reason.value if isinstance(error, Refused) else error.code,
            )
        return DeadLetterSummary(
            seq=delivery.seq,
            consumer=letter.consumer,
            subject=letter.subject,
            stream_seq=letter.stream_seq,
            message_id=letter.message_id,
            reason=letter.reason,
            detail=letter.detail,
            attempts=letter.attempts,
            first_attempt_ms=letter.first_attempt_ms,
            last_attempt_ms=letter.last_attempt_ms,
            stack=letter.stack,
            reported_by=reporter,
            stored_ms=delivery.stored_ms,
            envelope_bytes=len(letter.envelope),
        )

    async def _letter(self, delivery: Delivery) -> tuple[control_pb.DeadLetter, str]:
        """A dead letter and the service that reported it.

        Raises `Refused`, `UnreadableContent`, `Unavailable`.
        """
        opened = await self._reader.open(Tries(), delivery.subject, delivery.payload)
        if isinstance(opened, NotNow):
            raise Unavailable(f"the dead letter cannot be opened now: {opened.reason}")
        if opened.content.type != DEAD_LETTER_TYPE:
            raise UnreadableContent(f"message {delivery.seq} is not of type {DEAD_LETTER_TYPE}")
        try:
            letter = control_pb.DeadLetter.FromString(body_of(opened.content))
        except DecodeError:
            raise UnreadableContent("the dead letter cannot be parsed") from None
        # the certificate allowed this subject: a service must not give up in the name of another consumer
        if delivery.subject != subjects.dead_letter(letter.stream, letter.consumer):
            raise UnreadableContent("the dead letter names another consumer than its subject")
        return letter, service_name(opened.sender.service)


__all__ = ["DeadLetterSummary", "DeadLetters", "Replayed", "UnreadableDeadLetter"]
