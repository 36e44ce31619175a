"""The inbox: an event's effects on the user's database happen exactly once, however often the event comes.

One transaction records (consumer, message id), runs the user's statements and commits; then the event is acknowledged.
A second delivery finds the record: it is acknowledged without effect, with the receipt of the first.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

from bus.events.protocol import Handler, Outcome, Receipt, ReceivedEvent
from bus.telemetry.counters import Counters
from bus.transactions.database import Transaction, number, octets, spelled, text
from bus.transactions.outbox import Outbox, OutboxTransaction
from schemas import subjects
from schemas.clock import Clock
from schemas.errors import ConfigurationError, Unavailable
from schemas.subjects import partition_of

_DUPLICATE_WINDOW_S: Final = 7200.0
_KEEP_S: Final = 30 * 24 * 3600.0

_RECORD: Final = (
    "insert into medmesh_inbox (consumer, message_id, part, seen_ms, outcome, answer, reason)"
    " values (?, ?, ?, ?, ?, ?, ?) on conflict (consumer, message_id) do nothing"
)
_KEEP_RECEIPT: Final = (
    "update medmesh_inbox set outcome = ?, answer = ?, reason = ?"
    " where consumer = ? and message_id = ?"
)
_FIND_RECEIPT: Final = (
    "select outcome, answer, reason from medmesh_inbox where consumer = ? and message_id = ?"
)
_RAISE_FENCE: Final = (
    "insert into medmesh_fence (consumer, part, fence) values (?, ?, ?) on conflict (consumer, part) do update"
    " set fence = case when excluded.fence > medmesh_fence.fence then excluded.fence else medmesh_fence.fence end"
    " returning fence"
)
_FORGET: Final = (
    "delete from medmesh_inbox where seen_ms <= (select max(later.seen_ms) - ? from medmesh_inbox as later"
    " where later.consumer = medmesh_inbox.consumer and later.part = medmesh_inbox.part)"
)


class StaleFence(Unavailable):
    """The partition belongs to another instance by now: nothing was done here. The event is that instance's to work."""


class Delivered(Protocol):
    """What the inbox needs of an event: `bus.events.protocol.ReceivedEvent` and `medmesh.MeshEvent` have it."""

    @property
    def message_id(self) -> bytes:
        """16 bytes, the same for each delivery and each resend."""
        ...

    @property
    def subject(self) -> str:
        """Its last token is the partition."""
        ...

    @property
    def fence(self) -> int:
        """Grows with each owner of the partition; 0 where its consumer is not shared."""
        ...


Work = Callable[[ReceivedEvent, OutboxTransaction], Awaitable[Receipt | None]]
"""The effects of one event: statements and events in the given transaction. It must touch nothing outside of it."""


@dataclass(frozen=True, slots=True)
class _Record:
    consumer: str
    message_id: bytes
    partition: int


class Inbox:
    """Which events have had their effect on this database.

    `keep_s` is how long a record is surely kept after its event; it must exceed every delay after which a sender may
    send the same message id again (an outbox whose relay was down, an operator's replay).
    """

    def __init__(
        self, outbox: Outbox, *, clock: Clock, counters: Counters, keep_s: float = _KEEP_S
    ) -> None:
        if keep_s < _DUPLICATE_WINDOW_S:
            raise ConfigurationError(
                f"keep_s {keep_s} is not allowed: at least {_DUPLICATE_WINDOW_S}, the duplicate window of the streams"
            )
        self._outbox = outbox
        self._dialect = outbox.database.dialect
        self._clock = clock
        self._counters = counters
        self._keep_s = keep_s

    def handler(self, consumer: str, work: Work) -> Handler:
        """A handler for `Events.consume` whose effects happen once for each message id.

        It raises `StaleFence` where the event's partition has moved on, `Unavailable` while the database is away (the
        event waits), and what `work` raises, after rolling back (an attempt that counts).
        """
        subjects.token(consumer, what="consumer")

        async def handle(event: ReceivedEvent) -> Receipt | None:
            record = _record(consumer, event)
            async with self._outbox.transaction() as transaction:
                if not await self._is_first(transaction.inner, record, event.fence):
                    return await self._receipt(transaction.inner, record)
                receipt = await work(event, transaction)
                if receipt is not None:
                    await self._keep(transaction.inner, record, receipt)
            return receipt

        return handle

    @contextlib.asynccontextmanager
    async def receive(
        self, consumer: str, event: Delivered
    ) -> AsyncIterator[OutboxTransaction | None]:
        """The transaction in which to work `event`; None when it had its effect before. For `async for event in …`.

        Raises as `handler` does.
        """
        subjects.token(consumer, what="consumer")
        async with self._outbox.transaction() as transaction:
            is_first = await self._is_first(
                transaction.inner, _record(consumer, event), event.fence
            )
            yield transaction if is_first else None

    async def forget(self) -> int:
        """Delete old records; how many went. Call it daily, say.

        A record goes only when its consumer has recorded a later event of the same partition `keep_s` after it: events
        of a partition are worked in order, so that event's work shows that the older one was acknowledged. A consumer
        that was away for a year therefore forgets nothing that may still come again.
        """
        async with self._outbox.database.transaction() as transaction:
            gone = await transaction.execute(
                spelled(self._dialect, _FORGET), (round(self._keep_s * 1000),)
            )
        self._counters.add("inbox_forgotten", count=gone)
        return gone

    async def _is_first(self, transaction: Transaction, record: _Record, fence: int) -> bool:
        await self._check_fence(transaction, record, fence)
        inserted = await transaction.execute(
            spelled(self._dialect, _RECORD),
            (
                record.consumer,
                record.message_id,
                record.partition,
                self._clock.now_ms(),
                "",
                b"",
                "",
            ),
        )
        if not inserted:
            self._counters.add("inbox_duplicate", who=record.consumer)
        return inserted > 0

    async def _check_fence(self, transaction: Transaction, record: _Record, fence: int) -> None:
        """Raise the partition's fence to this event's, and hold it until the end of the transaction."""
        if not fence:
            return
        rows = await transaction.fetch(
            spelled(self._dialect, _RAISE_FENCE), (record.consumer, record.partition, fence)
        )
        highest = number(rows[0][0])
        if highest > fence:
            self._counters.add("inbox_refused", who=record.consumer, reason="stale_fence")
            raise StaleFence(
                f"partition {record.partition} of {record.consumer} is at fence {highest}; the event came under {fence}"
            )

    async def _keep(self, transaction: Transaction, record: _Record, receipt: Receipt) -> None:
        await transaction.execute(
            spelled(self._dialect, _KEEP_RECEIPT),
            (
                receipt.outcome.name,
                receipt.answer,
                receipt.reason,
                record.consumer,
                record.message_id,
            ),
        )

    async def _receipt(self, transaction: Transaction, record: _Record) -> Receipt | None:
        rows = await transaction.fetch(
            spelled(self._dialect, _FIND_RECEIPT), (record.consumer, record.message_id)
        )
        if not rows or not rows[0][0]:
            return None
        outcome, answer, reason = rows[0]
        return Receipt(
            message_id=record.message_id,
            consumer=record.consumer,
            outcome=Outcome[text(outcome)],
            answer=octets(answer),
            reason=text(reason),
        )


def _record(consumer: str, event: Delivered) -> _Record:
    return _Record(consumer, event.message_id, partition_of(event.subject))


__all__ = ["Delivered", "Inbox", "StaleFence", "Work"]
