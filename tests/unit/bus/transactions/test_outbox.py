"""An event is in the outbox if, and only if, the user's transaction committed."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from dataclasses import fields, replace
from pathlib import Path

import pytest

from bus.events.protocol import NewEvent
from bus.flow.priority import Priority
from bus.transactions.outbox import Outbox, OutboxRows
from bus.transactions.sqlite import SqliteDatabase
from schemas.clock import FakeClock
from schemas.errors import ConfigurationError, SubjectError
from schemas.generated.medmesh.content.v1 import content_pb2 as content_pb
from tests.unit.bus.transactions.kit import event


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    found = SqliteDatabase(tmp_path / "ward.db")
    await found.start()
    async with found.transaction() as transaction:
        await transaction.execute("create table bed (name text primary key, patient text)")
    yield found
    await found.stop()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def outbox(database: SqliteDatabase, clock: FakeClock) -> Outbox:
    return Outbox(database, clock=clock)


async def test_rows_and_events_commit_together(outbox: Outbox, database: SqliteDatabase) -> None:
    async with outbox.transaction() as transaction:
        await transaction.execute("insert into bed values (?, ?)", ("4W-1", "4711"))
        transaction.publish(event(1))
        transaction.publish(event(2))
    async with outbox.transaction() as transaction:
        assert await transaction.fetch("select name from bed") == [("4W-1",)]
    rows = OutboxRows(database)
    waiting = await rows.waiting(limit=10, without=[])
    events = await rows.read([row.seq for row in waiting])
    assert [events[row.seq].body for row in waiting] == [b"0:1", b"0:2"]


async def test_nothing_of_a_failed_transaction_stays(outbox: Outbox) -> None:
    async def admit_twice() -> None:
        async with outbox.transaction() as transaction:
            transaction.publish(event(1))
            await transaction.execute("insert into bed values ('4W-1', null)")
            await transaction.execute("insert into bed values ('4W-1', null)")

    with pytest.raises(sqlite3.IntegrityError):
        await admit_twice()
    assert (await outbox.depth()).waiting == 0
    async with outbox.transaction() as transaction:
        assert await transaction.fetch("select * from bed") == []


async def test_an_event_keeps_everything_it_has(outbox: Outbox, database: SqliteDatabase) -> None:
    index = content_pb.Index(control_id="C1")
    sent = event(
        1,
        partition=17,
        message_id=bytes(range(16)),
        index=index,
        received_ms=5,
        traceparent="00-a-b-01",
        receipts_from=("his-out", "lab"),
        priority=Priority.STAT,
        on_behalf_of="scheduler",
    )
    plain = NewEvent(subject="evt.north.raw.x.1", type="", body=b"")
    for one in fields(NewEvent):
        assert getattr(sent, one.name) != getattr(plain, one.name), f"{one.name} is not tested here"
    async with outbox.transaction() as transaction:
        assert transaction.publish(sent) == bytes(range(16))
    rows = OutboxRows(database)
    (waiting,) = await rows.waiting(limit=10, without=[])
    assert (waiting.lane, waiting.size) == (17, len(sent.body))
    (kept,) = (await rows.read([waiting.seq])).values()
    assert kept == sent


async def test_a_connection_of_the_users_own_carries_the_event_in_its_transaction(
    outbox: Outbox, tmp_path: Path
) -> None:
    own = sqlite3.connect(tmp_path / "ward.db")
    own.execute("insert into bed values ('4W-1', '4711')")
    outbox.add(own, event(1))
    own.rollback()
    assert (await outbox.depth()).waiting == 0
    own.execute("insert into bed values ('4W-1', '4711')")
    outbox.add(own.cursor(), event(2))
    own.commit()
    own.close()
    assert (await outbox.depth()).waiting == 1


async def test_the_same_message_id_is_taken_once(outbox: Outbox) -> None:
    async with outbox.transaction() as transaction:
        transaction.publish(event(1, message_id=b"m" * 16))
    with pytest.raises(sqlite3.IntegrityError):
        async with outbox.transaction() as transaction:
            transaction.publish(event(1, message_id=b"m" * 16))
    assert (await outbox.depth()).waiting == 1


async def test_what_could_never_be_published_is_refused_before_the_commit(outbox: Outbox) -> None:
    bad = event(1, message_id=b"short")
    async with outbox.transaction() as transaction:
        with pytest.raises(ValueError, match="16 bytes"):
            transaction.publish(bad)
    async with outbox.transaction() as transaction:
        with pytest.raises(SubjectError):
            transaction.publish(replace(event(1), subject="evt.north.Order"))
    assert (await outbox.depth()).waiting == 0


async def test_depth_tells_the_age_of_the_oldest_row(outbox: Outbox, clock: FakeClock) -> None:
    assert (await outbox.depth()).oldest_s == 0.0
    async with outbox.transaction() as transaction:
        transaction.publish(event(1))
    clock.advance(42.0)
    depth = await outbox.depth()
    assert (depth.waiting, depth.oldest_s, depth.parked) == (1, 42.0, 0)


async def test_tables_of_a_newer_medmesh_are_refused(database: SqliteDatabase) -> None:
    await database.start()
    async with database.transaction() as transaction:
        await transaction.execute("update medmesh_schema set version = 99")
    await database.stop()
    with pytest.raises(ConfigurationError, match="version 99"):
        await database.start()
