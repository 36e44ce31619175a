"""The outbox: an event that is stored in the mesh if, and only if, the transaction that wrote it commits.

The row lies in the user's database beside the user's rows. `bus.transactions.relay` publishes it afterwards.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from bus.events.content import MESSAGE_ID_BYTES
from bus.events.protocol import NewEvent
from bus.flow.priority import Priority
from bus.transactions.database import (
    Database,
    Dialect,
    Row,
    Transaction,
    Value,
    number,
    octets,
    places,
    spelled,
    text,
)
from schemas import subjects
from schemas.clock import Clock
from schemas.generated.medmesh.content.v1 import content_pb2 as content_pb
from schemas.subjects import partition_of

_COLUMNS: Final = (
    "message_id", "lane", "subject", "type", "body", "body_index", "received_ms", "traceparent",
    "receipts_from", "priority", "on_behalf_of", "added_ms", "parked",
)  # fmt: skip
_INSERT: Final = (
    f"insert into medmesh_outbox ({', '.join(_COLUMNS)}) values ({places(len(_COLUMNS))})"  # noqa: S608 - our own names
)
_READ: Final = (
    "message_id, subject, type, body, body_index, received_ms, traceparent, receipts_from,"
    " priority, on_behalf_of"
)


class Executes(Protocol):
    """An open connection or cursor of `sqlite3`, of `psycopg`, or of anything that follows DB-API."""

    def execute(self, sql: str, parameters: Sequence[Value], /) -> object:
        """Run one statement."""
        ...


class ExecutesAsync(Protocol):
    """An open `psycopg.AsyncConnection` or its cursor."""

    def execute(self, sql: str, parameters: Sequence[Value], /) -> Awaitable[object]:
        """Run one statement."""
        ...


class OutboxTransaction:
    """A transaction of the user's that can also publish. Events are written last, at the commit, in their order.

    Last, because their sequence must follow the order in which transactions that touch the same rows commit.
    """

    def __init__(self, transaction: Transaction, prepare: Callable[[NewEvent], NewEvent]) -> None:
        self.inner: Final = transaction
        """The database's own transaction: `SqliteTransaction.run`, `PostgresTransaction.connection`."""
        self._prepare = prepare
        self.events: list[NewEvent] = []
        """What will be written."""

    async def execute(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        """Run one of the user's statements; how many rows it changed."""
        return await self.inner.execute(sql, parameters)

    async def fetch(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        """Run one of the user's statements and return all of its rows."""
        return await self.inner.fetch(sql, parameters)

    def publish(self, event: NewEvent) -> bytes:
        """Publish `event` if this transaction commits. Returns its message id. Raises `SubjectError`, `ValueError`."""
        prepared = self._prepare(event)
        self.events.append(prepared)
        return prepared.message_id


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxDepth:
    """What waits in the outbox."""

    waiting: int
    oldest_s: float
    """Age of the oldest row that waits; 0 when none does."""
    parked: int
    """Rows that the mesh will never take as they are; see `Outbox.parked`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parked:
    """A row that was set aside: no content, only what an operator needs."""

    message_id: bytes
    subject: str
    error_code: str
    added_ms: int


class Outbox:
    """Events in the user's database on their way into the mesh."""

    def __init__(
        self,
        database: Database,
        *,
        clock: Clock,
        fresh_id: Callable[[], bytes] = lambda: secrets.token_bytes(MESSAGE_ID_BYTES),
    ) -> None:
        self._database = database
        self._clock = clock
        self._fresh_id = fresh_id
        self._listeners: list[Callable[[], None]] = []

    @property
    def database(self) -> Database:
        """Where its rows are."""
        return self._database

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[OutboxTransaction]:
        """A transaction for the user's statements and events: all of it is kept, or nothing.

        Raises what `Database.transaction` raises. When the commit itself raises `Unavailable`, it may have happened.
        """
        async with self._database.transaction() as inner:
            transaction = OutboxTransaction(inner, self._prepared)
            yield transaction
            insert = spelled(self._database.dialect, _INSERT)
            for event in transaction.events:
                await inner.execute(insert, self._row(event))
        if transaction.events:
            self.committed()

    def add(self, connection: Executes, event: NewEvent) -> bytes:
        """Write the event's row through the user's own open connection or cursor; the user commits.

        Call it last in the transaction, after the statements that lock the rows the event is about. Returns the
        message id. Raises `SubjectError`, `ValueError`, and what the driver raises.
        """
        event = self._prepared(event)
        connection.execute(spelled(self._database.dialect, _INSERT), self._row(event))
        return event.message_id

    async def add_async(self, connection: ExecutesAsync, event: NewEvent) -> bytes:
        """As `add`, through a connection whose `execute` is awaited (`psycopg.AsyncConnection`)."""
        event = self._prepared(event)
        await connection.execute(spelled(self._database.dialect, _INSERT), self._row(event))
        return event.message_id

    def committed(self) -> None:
        """Tell the relay of this process that there are new rows; without it they are found at its next look."""
        for listener in self._listeners:
            listener()

    def on_committed(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` after each commit of this process; returns how to stop that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def depth(self) -> OutboxDepth:
        """Count what waits; reads an index over all waiting rows."""
        async with self._database.transaction() as transaction:
            rows = await transaction.fetch(
                "select count(*), min(added_ms) from medmesh_outbox where parked = ''"
            )
            parked = await transaction.fetch(
                "select count(*) from medmesh_outbox where parked <> ''"
            )
        waiting, oldest_ms = rows[0]
        age_ms = self._clock.now_ms() - number(oldest_ms) if oldest_ms is not None else 0
        return OutboxDepth(
            waiting=number(waiting), oldest_s=max(age_ms, 0) / 1000, parked=number(parked[0][0])
        )

    async def parked(self, *, limit: int = 100) -> list[Parked]:
        """Rows that were set aside, oldest first."""
        sql = "select message_id, subject, parked, added_ms from medmesh_outbox where parked <> '' order by seq limit ?"
        async with self._database.transaction() as transaction:
            rows = await transaction.fetch(spelled(self._database.dialect, sql), (limit,))
        return [
            Parked(
                message_id=octets(row[0]), subject=text(row[1]), error_code=text(row[2]), added_ms=number(row[3])
            )
            for row in rows
        ]  # fmt: skip

    async def unpark(self, message_id: bytes) -> bool:
        """Let a row that was set aside try again; False when there is none with this message id."""
        sql = "update medmesh_outbox set parked = '' where message_id = ? and parked <> ''"
        async with self._database.transaction() as transaction:
            changed = await transaction.execute(spelled(self._database.dialect, sql), (message_id,))
        self.committed()
        return changed > 0

    def _prepared(self, event: NewEvent) -> NewEvent:
        subjects.subject(event.subject)
        message_id = event.message_id or self._fresh_id()
        if len(message_id) != MESSAGE_ID_BYTES:
            raise ValueError(f"a message id has {MESSAGE_ID_BYTES} bytes, not {len(message_id)}")
        return replace(
            event,
            message_id=message_id,
            received_ms=event.received_ms or self._clock.now_ms(),
        )

    def _row(self, event: NewEvent) -> tuple[Value, ...]:
        index = event.index.SerializeToString() if event.index is not None else b""
        return (
            event.message_id,
            partition_of(event.subject),
            event.subject,
            event.type,
            event.body,
            index,
            event.received_ms,
            event.traceparent,
            " ".join(event.receipts_from),
            event.priority.value,
            event.on_behalf_of,
            self._clock.now_ms(),
            "",
        )


@dataclass(frozen=True, slots=True)
class Waiting:
    """The head of a row that waits: where it belongs and how big it is."""

    seq: int
    lane: int
    size: int


class OutboxRows:
    """What the relay reads and writes."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._dialect: Dialect = database.dialect

    async def waiting(self, *, limit: int, without: Sequence[int]) -> list[Waiting]:
        """The oldest rows that wait, in order, without those of some lanes."""
        lanes = f"and lane not in ({places(len(without))})" if without else ""
        sql = f"select seq, lane, length(body) from medmesh_outbox where parked = '' {lanes} order by seq limit ?"  # noqa: S608 - places only
        async with self._database.transaction() as transaction:
            rows = await transaction.fetch(spelled(self._dialect, sql), (*without, limit))
        return [Waiting(number(row[0]), number(row[1]), number(row[2])) for row in rows]

    async def read(self, seqs: Sequence[int]) -> dict[int, NewEvent]:
        """The events of some rows."""
        sql = f"select seq, {_READ} from medmesh_outbox where seq in ({places(len(seqs))})"  # noqa: S608 - places only
        async with self._database.transaction() as transaction:
            rows = await transaction.fetch(spelled(self._dialect, sql), seqs)
        return {number(row[0]): _event(row[1:]) for row in rows}

    async def forget(self, seqs: Sequence[int]) -> None:
        """Delete rows whose events are stored."""
        sql = f"delete from medmesh_outbox where seq in ({places(len(seqs))})"  # noqa: S608 - places only
        async with self._database.transaction() as transaction:
            await transaction.execute(spelled(self._dialect, sql), seqs)

    async def park(self, seq: int, code: str) -> None:
        """Set a row aside under an error's code."""
        sql = "update medmesh_outbox set parked = ? where seq = ?"
        async with self._database.transaction() as transaction:
            await transaction.execute(spelled(self._dialect, sql), (code, seq))


def _event(row: Row) -> NewEvent:
    message_id, subject, kind, body, index, received_ms, traceparent, receipts, priority, owner = (
        row
    )
    packed = octets(index)
    return NewEvent(
        message_id=octets(message_id),
        subject=text(subject),
        type=text(kind),
        body=octets(body),
        index=content_pb.Index.FromString(packed) if packed else None,
        received_ms=number(received_ms),
        traceparent=text(traceparent),
        receipts_from=tuple(text(receipts).split()),
        priority=Priority(number(priority)),
        on_behalf_of=text(owner),
    )


__all__ = [
    "Executes",
    "ExecutesAsync",
    "Outbox",
    "OutboxDepth",
    "OutboxRows",
    "OutboxTransaction",
    "Parked",
    "Waiting",
]
