"""One message's way through a consumer, step by step: open, filter, handle, answer, or step aside.

A step that has to wait says so and is taken up again where it stood: a receipt that could not be stored does not make
the handler run twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from google.protobuf.message import DecodeError

from bus.bodies import BadBody
from bus.envelope.types import Envelope, Refused, SealedEnvelope
from bus.events.content import UnreadableContent, body_of, to_received
from bus.events.dead_letters import DeadLetterWriter
from bus.events.items import Item, Stage, failure_of
from bus.events.opening import EnvelopeReader, NotNow
from bus.events.protocol import ConsumeSpec, Handler, Outcome, Receipt, ReceivedEvent, Rejected
from bus.events.receipts import ReceiptWriter
from bus.flow import Chance, backoff_s, lane_of
from bus.telemetry.counters import Counters
from bus.telemetry.failures import error_code, failure_fields
from bus.telemetry.log import logger
from schemas.clock import Clock
from schemas.errors import MeshError, Unavailable
from schemas.generated.medmesh.control.v1 import control_pb2 as control_pb
from schemas.subjects import matches, partition_of

REPLAY_TYPE: Final = "medmesh/replay"
_NOT_HELD_S: Final = 1.0
_log = logger(__name__)


class NotForThisConsumer(MeshError):
    """An order to take a message again names one that this consumer does not read."""

    code = "not_for_this_consumer"


@dataclass(frozen=True, slots=True)
class Again:
    """The message keeps its place and is taken up again later."""

    delay_s: float
    away: bool
    """Whether it waits for a destination, whose return another lane may notice first."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The message belongs to another lane: an order whose partition was not known before it was opened."""

    lane: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """What the work on a consumer's messages needs."""

    spec: ConsumeSpec
    handler: Handler
    replay_subject: str
    reader: EnvelopeReader
    dead_letters: DeadLetterWriter
    receipts: ReceiptWriter
    clock: Clock
    chance: Chance
    counters: Counters
    is_held: Callable[[], bool] = lambda: True
    """Of a shared consumer: whether its partition may still be worked here. Asked before each step."""
    partition: int | None = None
    """The one partition that is worked; None for all."""
    fence: int = 0


class Work:
    """Takes messages forward."""

    def __init__(self, shop: Workshop) -> None:
        self._shop = shop

    async def forward(self, item: Item) -> Again | Elsewhere | None:
        """Take a message as far as it goes now; None when it is finished."""
        while item.stage is not Stage.FINISHED:
            if not self._shop.is_held():
                return Again(_NOT_HELD_S, away=True)
            pause = await self._step(item)
            if pause is not None:
                return pause
        return None

    async def _step(self, item: Item) -> Again | Elsewhere | None:
        match item.stage:
            case Stage.OPEN:
                return await self._open(item)
            case Stage.OPEN_ORDERED:
                return await self._open_ordered(item)
            case Stage.HANDLE:
                return await self._handle(item)
            case Stage.ANSWER:
                return await self._answer(item)
            case Stage.STEP_ASIDE:
                return await self._step_aside(item)
            case Stage.FINISHED:
                return None

    async def _open(self, item: Item) -> Again | Elsewhere | None:
        delivery = item.delivery
        try:
            opened = await self._shop.reader.open(
                item.tries, delivery.subject, delivery.payload, ordered=False
            )
            if isinstance(opened, NotNow):
                return self._away(item, opened.reason)
            if delivery.subject == self._shop.replay_subject:
                item.order = opened
                return self._take_order(item)
        except (Refused, UnreadableContent, NotForThisConsumer) as error:
            self._refuse(item, error)
            return None
        return await self._restore(item, opened)

    async def _restore(self, item: Item, opened: Envelope) -> Again | None:
        """Decode the body: only then a handler sees the event."""
        item.envelope = opened
        try:
            wait = await self._shop.reader.restore(item.tries, opened)
        except BadBody as error:
            self._refuse(item, error)
            # the sender is known, and may wait for word
            item.receipt = self._refusal(item, error)
            return None
        if wait is not None:
            return self._away(item, wait.reason)
        item.waits, item.stage = 0, Stage.HANDLE
        return None

    def _take_order(self, item: Item) -> Elsewhere | None:
        order = _parse_order(item)
        if not any(matches(pattern, order.subject) for pattern in self._shop.spec.patterns):
            raise NotForThisConsumer(
                "the ordered message is on a subject that this consumer does not read"
            )
        partition = partition_of(order.subject)
        if self._shop.partition not in (None, partition):
            item.outcome, item.stage = "elsewhere", Stage.FINISHED
            return None
        item.subject, item.sealed = order.subject, SealedEnvelope(order.envelope)
        item.replayed, item.stage = True, Stage.OPEN_ORDERED
        lane = lane_of(partition, self._shop.spec.lanes)
        return None if lane == item.lane else Elsewhere(lane)

    async def _open_ordered(self, item: Item) -> Again | None:
        try:
            opened = await self._shop.reader.open(
                item.tries, item.subject, item.sealed, ordered=True
            )
        except Refused as error:
            self._refuse(item, error)
            return None
        if isinstance(opened, NotNow):
            return self._away(item, opened.reason)
        return await self._restore(item, opened)

    def _refuse(self, item: Item, error: MeshError) -> None:
        code = error.code
        if isinstance(error, Refused | BadBody):
            code = f"{error.code}:{error.reason.value}"
        self._shop.counters.add("envelope_refused", who=self._shop.spec.name, reason=code)
        _log.warning(
            "envelope_refused",
            consumer=self._shop.spec.name, subject=item.delivery.subject, seq=item.delivery.seq, reason=code,
        )  # fmt: skip
        item.failure = failure_of(error, reason=code)
        item.outcome, item.stage = "refused", Stage.STEP_ASIDE

    async def _handle(self, item: Item) -> Again | None:
        shop = self._shop
        try:
            event = self._event(item)
            if shop.spec.accept is not None and not shop.spec.accept(event):
                self._filtered(item, event)
                return None
            now_ms = shop.clock.now_ms()
            item.first_attempt_ms = item.first_attempt_ms or now_ms
            item.last_attempt_ms = now_ms
            receipt = await shop.handler(event)
        except Exception as error:  # noqa: BLE001 - a handler is foreign code: whatever it raises is an attempt
            return self._failed(item, error)
        item.outcome = "delivered"
        delivered = Receipt(
            message_id=event.message_id, consumer=shop.spec.name, outcome=Outcome.DELIVERED
        )
        self._settle(item, receipt or delivered)
        return None

    def _event(self, item: Item) -> ReceivedEvent:
        if item.envelope is None:
            raise ValueError("the message was not opened")
        return to_received(
            item.envelope,
            stored_ms=item.delivery.stored_ms,
            seq=item.delivery.seq,
            attempt=item.failures + 1,
            replayed=item.replayed,
            fence=self._shop.fence,
        )

    def _filtered(self, item: Item, event: ReceivedEvent) -> None:
        self._shop.counters.add("event_filtered", who=self._shop.spec.name)
        item.outcome = "filtered"
        self._settle(
            item,
            Receipt(
                message_id=event.message_id,
                consumer=self._shop.spec.name,
                outcome=Outcome.REFUSED,
                reason="filtered",
            ),
        )

    def _failed(self, item: Item, error: Exception) -> Again | None:
        spec = self._shop.spec
        if isinstance(error, MeshError) and error.retryable and error.code == Unavailable.code:
            return self._away(item, error.code)
        item.waits = 0
        item.failures += 1
        self._shop.counters.add("attempt_failed", who=spec.name, reason=error_code(error))
        _log.warning(
            "attempt_failed", consumer=spec.name, seq=item.delivery.seq, attempt=item.failures, **failure_fields(error)
        )  # fmt: skip
        hopeless = isinstance(error, Rejected | UnreadableContent)
        if hopeless or 0 < spec.retry.max_attempts <= item.failures:
            item.failure = failure_of(error)
            item.outcome = "dead_lettered"
            item.receipt = self._refusal(item, error)
            item.stage = Stage.STEP_ASIDE
            return None
        return Again(backoff_s(spec.retry, item.failures, self._shop.chance), away=False)

    def _refusal(self, item: Item, error: Exception) -> Receipt | None:
        if item.envelope is None or self._shop.spec.name not in item.envelope.content.receipts_from:
            return None
        answer = getattr(error, "answer", b"")
        return Receipt(
            message_id=item.envelope.content.id,
            consumer=self._shop.spec.name,
            outcome=Outcome.REFUSED,
            answer=answer if isinstance(answer, bytes) else b"",
            reason=error_code(error),
        )

    def _settle(self, item: Item, receipt: Receipt) -> None:
        """Finish, with the receipt first where the publisher waits for one."""
        name = self._shop.spec.name
        asked = item.envelope is not None and name in item.envelope.content.receipts_from
        item.waits = 0
        item.receipt = replace(receipt, consumer=name) if asked else None
        item.stage = Stage.ANSWER if asked else Stage.FINISHED

    async def _answer(self, item: Item) -> Again | None:
        if item.receipt is not None:
            try:
                await self._shop.receipts.store(item.receipt)
            except MeshError as error:
                return self._away(item, f"receipt:{error.code}")
        item.stage = Stage.FINISHED
        return None

    async def _step_aside(self, item: Item) -> Again | None:
        try:
            await self._shop.dead_letters.store(item)
        except MeshError as error:
            return self._away(item, f"dead_letter:{error.code}")
        item.waits = 0
        item.stage = Stage.ANSWER if item.receipt is not None else Stage.FINISHED
        return None

    def _away(self, item: Item, reason: str) -> Again:
        """Wait, for ever if need be: something that every message needs is not there now."""
        item.waits += 1
        self._shop.counters.add("lane_waited", who=self._shop.spec.name, reason=reason)
        if item.waits == 1:
            _log.warning("lane_waits", consumer=self._shop.spec.name, lane=item.lane, reason=reason)
        return Again(backoff_s(self._shop.spec.retry, item.waits, self._shop.chance), away=True)


def _parse_order(item: Item) -> control_pb.ReplayOrder:
    """The order in an opened envelope. Raises `UnreadableContent`."""
    order = item.order
    if order is None or order.content.type != REPLAY_TYPE:
        raise UnreadableContent(f"a message on the replay subject is not of type {REPLAY_TYPE}")
    try:
        return control_pb.ReplayOrder.FromString(body_of(order.content))
    except DecodeError:
        raise UnreadableContent("the replay order cannot be parsed") from None


__all__ = ["REPLAY_TYPE", "Again", "Elsewhere", "NotForThisConsumer", "Work", "Workshop"]
