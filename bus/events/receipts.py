"""Receipts: what became of one message at one destination, stored and sealed for who sent it."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import Final, cast

from google.protobuf.message import DecodeError

from bus.envelope.seals import Seals
from bus.envelope.types import Refused
from bus.events.bodies import Bodies
from bus.events.content import UnreadableContent, body_of
from bus.events.items import Tries
from bus.events.opening import EnvelopeReader, NotNow
from bus.events.protocol import NewEvent, Outcome, Receipt
from bus.events.publisher import Publisher
from bus.events.sizes import TOO_LARGE
from bus.events.streams import receipt_stream
from bus.telemetry.counters import Counters
from bus.transport.protocol import Incoming, LinkState, NotFound, Transport
from schemas import subjects
from schemas.clock import Clock
from schemas.errors import DeadlineExceeded, MeshError
from schemas.generated.medmesh.control.v1 import control_pb2 as control_pb
from schemas.subjects import SiteId

RECEIPT_TYPE: Final = "medmesh/receipt"
_STORE_TIMEOUT_S: Final = 30.0
_LOOK_AGAIN_S: Final = 5.0
"""How often the store is asked while waiting: a core message can be lost in a reconnect."""


class ReceiptWriter:
    """Stores the receipts of one service's consumers."""

    def __init__(self, site: SiteId, publisher: Publisher, clock: Clock) -> None:
        self._site = site
        self._publisher = publisher
        self._clock = clock

    async def store(self, receipt: Receipt) -> None:
        """Return when the receipt is durable. Raises `MeshError`.

        An answer that is too large for the carrier is left out: what became of the message is told all the same.
        """
        try:
            await self._store(receipt)
        except MeshError as error:
            if error.code not in TOO_LARGE or not receipt.answer:
                raise
            await self._store(replace(receipt, answer=b""))

    async def _store(self, receipt: Receipt) -> None:
        receipt_message = control_pb.Receipt(
            message_id=receipt.message_id,
            consumer=receipt.consumer,
            outcome=cast("control_pb.Outcome.ValueType", receipt.outcome.value),
            answer=receipt.answer,
            at_ms=self._clock.now_ms(),
            reason=receipt.reason,
        )
        await self._publisher.publish(
            NewEvent(
                subject=subjects.receipt(self._site, receipt.message_id, receipt.consumer),
                type=RECEIPT_TYPE,
                body=receipt_message.SerializeToString(),
            ),
            timeout_s=_STORE_TIMEOUT_S,
        )


class ReceiptReader:
    """Waits for receipts in the name of one service."""

    def __init__(
        self,
        *,
        site: SiteId,
        transport: Transport,
        seals: Seals,
        clock: Clock,
        counters: Counters,
        bodies: Bodies,
    ) -> None:
        self._site = site
        self._transport = transport
        self._counters = counters
        # a receipt may be read again and again: it says the same each time
        self._reader = EnvelopeReader(
            seals,
            seals.opener(replay_window=False),
            clock,
            bodies,
            reachable=lambda: transport.link is LinkState.CONNECTED,
        )

    async def wait(self, message_id: bytes, consumer: str, *, timeout_s: float) -> Receipt:
        """What `consumer` did with a message, now or up to a day before. Raises `DeadlineExceeded`."""
        subject = subjects.receipt(self._site, message_id, consumer)
        arrived: asyncio.Queue[bytes] = asyncio.Queue(maxsize=16)

        def take(message: Incoming) -> None:
            with contextlib.suppress(asyncio.QueueFull):
                arrived.put_nowait(message.payload)

        try:
            async with asyncio.timeout(timeout_s):
                subscription = await self._transport.messenger.subscribe(subject, take)
                try:
                    return await self._first(subject, arrived, message_id, consumer)
                finally:
                    await subscription.close()
        except TimeoutError:
            raise DeadlineExceeded(f"no receipt of {consumer} within {timeout_s} s") from None

    async def _first(
        self, subject: str, arrived: asyncio.Queue[bytes], message_id: bytes, consumer: str
    ) -> Receipt:
        payload = await self._stored(subject)
        while True:
            if payload is not None:
                receipt = await self._read(subject, payload)
                # a forged one must not end the wait for the true one
                if receipt and (receipt.message_id, receipt.consumer) == (message_id, consumer):
                    return receipt
            payload = await self._next(subject, arrived)

    async def _next(self, subject: str, arrived: asyncio.Queue[bytes]) -> bytes | None:
        try:
            async with asyncio.timeout(_LOOK_AGAIN_S):
                return await arrived.get()
        except TimeoutError:
            return await self._stored(subject)

    async def _stored(self, subject: str) -> bytes | None:
        try:
            found = await self._transport.administration.last_for_subject(
                receipt_stream(self._site), subject
            )
        except NotFound:
            return None
        except MeshError as error:
            if not error.retryable:
                raise
            return None
        return found.payload

    async def _read(self, subject: str, payload: bytes) -> Receipt | None:
        """Open and read a receipt; None for one that must not be believed, which is counted."""
        try:
            return await self._opened(subject, payload)
        except (Refused, UnreadableContent) as error:
            reason = error.reason.value if isinstance(error, Refused) else error.code
            self._counters.add("receipt_refused", who=subject.rpartition(".")[2], reason=reason)
            return None

    async def _opened(self, subject: str, payload: bytes) -> Receipt | None:
        envelope = await self._reader.open(Tries(), subject, payload)
        if isinstance(envelope, NotNow):
            return None  # looked at again with the next look into the store
        if envelope.content.type != RECEIPT_TYPE:
            raise UnreadableContent(f"a message on a receipt subject is not of type {RECEIPT_TYPE}")
        try:
            body = control_pb.Receipt.FromString(body_of(envelope.content))
            outcome = Outcome(body.outcome)
        except (DecodeError, ValueError):
            raise UnreadableContent("the receipt cannot be read") from None
        return Receipt(
            message_id=body.message_id,
            consumer=body.consumer,
            outcome=outcome,
            answer=body.answer,
            reason=body.reason,
        )


__all__ = ["RECEIPT_TYPE", "ReceiptReader", "ReceiptWriter"]
