"""SQLite and PostgreSQL keep the same promises behind the seam."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from bus.clock import SystemClock
from bus.events.protocol import Outcome, Receipt, ReceivedEvent
from bus.telemetry.counters import Counters
from bus.transactions.database import Database, Dialect, Transaction, opened, spelled
from bus.transactions.inbox import Inbox, StaleFence
from bus.transactions.outbox import Outbox, OutboxTransaction
from bus.transactions.participant import Participant
from bus.transactions.postgres import PostgresDatabase
from bus.transactions.relay import Relay
from bus.transactions.sqlite import SqliteDatabase
from schemas.clock import FakeClock
from schemas.errors import Closed, ConfigurationError, Unavailable
from tests.integration.bus.transactions.postgres_server import PostgresServer
from tests.unit.bus.transactions.kit import PaperMesh, event, received


async def beds(database: Database) -> list[object]:
    async with database.transaction() as transaction:
        return [row[0] for row in await transaction.fetch("select name from bed order by name")]


async def make_beds(database: Database) -> None:
    async with database.transaction() as transaction:
        await transaction.execute("create table bed (name text primary key)")


async def add_bed(transaction: Transaction, database: Database, name: str) -> None:
    sql = spelled(database.dialect, "insert into bed (name) values (?)")
    assert await transaction.execute(sql, (name,)) == 1


async def test_a_transaction_commits_and_rolls_back(database: Database) -> None:
    await make_beds(database)
    async with database.transaction() as transaction:
        await add_bed(transaction, database, "4W-1")

    async def fail() -> None:
        async with database.transaction() as transaction:
            await add_bed(transaction, database, "4W-2")
            raise RuntimeError("the user's own mistake")

    with pytest.raises(RuntimeError):
        await fail()
    assert await beds(database) == ["4W-1"]


async def test_a_cancelled_transaction_leaves_nothing_and_blocks_nobody(
    database: Database,
) -> None:
    await make_beds(database)
    written = asyncio.Event()

    async def hang() -> None:
        async with database.transaction() as transaction:
            await add_bed(transaction, database, "4W-1")
            written.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hang())
    await asyncio.wait_for(written.wait(), 10)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    async with database.transaction() as transaction:
        await add_bed(transaction, database, "4W-1")
    assert await beds(database) == ["4W-1"]


async def test_errors_of_a_statement_are_the_drivers_own(database: Database) -> None:
    await make_beds(database)
    kind = sqlite3.IntegrityError if database.dialect is Dialect.SQLITE else psycopg.IntegrityError

    async def twice() -> None:
        async with database.transaction() as transaction:
            await add_bed(transaction, database, "4W-1")
            await add_bed(transaction, database, "4W-1")

    with pytest.raises(kind):
        await twice()
    assert await beds(database) == []


async def test_one_holder_at_a_time_and_the_next_takes_over(database: Database) -> None:
    order: list[str] = []
    release = asyncio.Event()
    first_holds = asyncio.Event()

    async def hold(name: str) -> None:
        async with database.hold("relay") as held:
            await held.check()
            order.append(f"{name} holds")
            first_holds.set()
            await release.wait()
            order.append(f"{name} leaves")

    first = asyncio.create_task(hold("first"))
    await asyncio.wait_for(first_holds.wait(), 10)
    second = asyncio.create_task(hold("second"))
    async with database.hold("something else"):
        release.set()
    await asyncio.wait_for(asyncio.gather(first, second), 10)
    assert order == ["first holds", "first leaves", "second holds", "second leaves"]


async def test_our_tables_are_made_once_by_whoever_comes_first(
    database: Database, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    def another() -> Database:
        if database.dialect is Dialect.SQLITE:
            return SqliteDatabase(tmp_path / "other.db")
        return PostgresDatabase(request.getfixturevalue("postgres"))

    several = [another() for _ in range(4)]
    await asyncio.gather(*(one.start() for one in several))
    for one in several:
        assert (await Outbox(one, clock=SystemClock()).depth()).waiting == 0
        await one.stop()


async def test_the_same_event_in_several_hands_at_once_has_one_effect(database: Database) -> None:
    async with database.transaction() as transaction:
        await transaction.execute("create table seen (number integer)")
    counters = Counters()
    inbox = Inbox(Outbox(database, clock=SystemClock()), clock=SystemClock(), counters=counters)

    async def work() -> None:
        async with inbox.receive("ward", received(1)) as transaction:
            if transaction is not None:
                await transaction.execute("insert into seen values (1)")
                await asyncio.sleep(0)

    await asyncio.gather(*(work() for _ in range(8)))
    async with database.transaction() as transaction:
        assert await transaction.fetch("select count(*) from seen") == [(1,)]
    assert counters.get("inbox_duplicate") == 7


async def test_a_stopped_database_says_so(database: Database) -> None:
    await database.stop()

    async def use() -> None:
        async with database.transaction():
            pass

    with pytest.raises(Closed):
        await use()


async def test_rows_reach_the_mesh_whole_and_in_order(database: Database) -> None:
    outbox, mesh = Outbox(database, clock=SystemClock()), PaperMesh()
    for number in range(20):
        async with outbox.transaction() as transaction:
            transaction.publish(event(number, partition=number % 2, receipts_from=("a", "b")))
    relay = Relay(outbox, mesh, clock=SystemClock(), chance=random.Random(1), counters=Counters())
    await relay.start()
    assert await relay.drain(timeout_s=20)
    await relay.stop()
    for partition in (0, 1):
        mine = [body for body in mesh.bodies if body.startswith(b"%d:" % partition)]
        assert mine == [b"%d:%d" % (partition, n) for n in range(partition, 20, 2)]
    assert mesh.stored[0].receipts_from == ("a", "b")
    depth = await outbox.depth()
    assert (depth.waiting, depth.parked) == (0, 0)


async def test_psycopg_connections_of_the_users_own_carry_events(postgres: str) -> None:
    async with opened(PostgresDatabase(postgres)) as database:
        outbox = Outbox(database, clock=SystemClock())
        with psycopg.connect(postgres) as own:
            outbox.add(own, event(1))
            own.rollback()
            outbox.add(own.cursor(), event(2))
        async with await psycopg.AsyncConnection.connect(postgres) as other:
            await outbox.add_async(other, event(3))
        assert (await outbox.depth()).waiting == 2


async def test_a_transaction_waits_no_longer_than_it_may(postgres: str) -> None:
    async with opened(PostgresDatabase(postgres, wait_s=0.2)) as database:
        await make_beds(database)
        with psycopg.connect(postgres) as own:
            own.execute("lock table bed")
            with pytest.raises(Unavailable, match=r"57014|55P03"):
                await beds(database)
        assert await beds(database) == []


async def test_a_database_that_nobody_serves_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="cannot be reached"):
        await PostgresDatabase("host=127.0.0.1 port=1 user=x dbname=x", wait_s=2).start()


async def test_a_role_that_does_not_wait_for_the_disk_is_refused(postgres: str) -> None:
    lazy = f"{postgres} options='-c synchronous_commit=off'"
    with pytest.raises(ConfigurationError, match="synchronous_commit = off"):
        await PostgresDatabase(lazy).start()


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    server = PostgresServer()
    try:
        server.create()
        server.start()
        yield server
    finally:
        server.stop()


async def test_a_server_that_was_killed_is_unavailable_and_then_used_again(
    own_server: PostgresServer,
) -> None:
    async with opened(PostgresDatabase(own_server.fresh_database(), wait_s=5)) as database:
        await make_beds(database)

        async def add(name: str) -> None:
            async with database.transaction() as transaction:
                await add_bed(transaction, database, name)
                if name == "4W-2":
                    own_server.kill()

        await add("4W-1")
        async with database.hold("relay") as held:
            with pytest.raises(Unavailable):
                await add("4W-2")
            with pytest.raises(Unavailable):
                await held.check()
            with pytest.raises(Unavailable):
                await add("4W-3")
            own_server.start()
        await add("4W-4")
        assert await beds(database) == ["4W-1", "4W-4"]


async def test_sqlite_says_when_another_process_holds_the_file(tmp_path: Path) -> None:
    async with opened(SqliteDatabase(tmp_path / "ward.db", wait_s=0.1)) as database:
        await make_beds(database)
        own = sqlite3.connect(tmp_path / "ward.db", isolation_level=None)
        own.execute("begin immediate")
        with pytest.raises(Unavailable, match="SQLITE_BUSY"):
            await beds(database)
        own.close()
        assert await beds(database) == []


async def test_sqlite_writes_to_the_disk_at_each_commit(tmp_path: Path) -> None:
    async with (
        opened(SqliteDatabase(tmp_path / "ward.db")) as database,
        database.transaction() as transaction,
    ):
        modes = [
            (await transaction.fetch(f"pragma {name}"))[0][0]
            for name in ("journal_mode", "synchronous", "secure_delete")
        ]
    assert modes == ["wal", 2, 1]


async def test_a_stale_fence_waits_for_the_owner_and_is_then_refused(database: Database) -> None:
    """The newer owner's transaction is open: the older one must not slip in behind its check."""
    counters, clock = Counters(), SystemClock()
    inbox = Inbox(Outbox(database, clock=clock), clock=clock, counters=counters)
    entered = asyncio.Event()

    async def work(number: int, fence: int) -> None:
        fenced = replace(received(number), fence=fence)
        async with inbox.receive("ward", fenced) as transaction:
            assert transaction is not None
            entered.set()

    await work(1, 5)
    async with inbox.receive("ward", replace(received(2), fence=6)):
        entered.clear()
        stale = asyncio.create_task(work(3, 5))
        await asyncio.sleep(0)
    with pytest.raises(StaleFence):
        await stale
    assert not entered.is_set()
    assert counters.get("inbox_refused", reason="stale_fence") == 1


async def test_old_records_are_forgotten(database: Database) -> None:
    clock = FakeClock()
    inbox = Inbox(Outbox(database, clock=clock), clock=clock, counters=Counters(), keep_s=7200.0)
    handler = inbox.handler("ward", _nothing)
    for number in range(3):
        await handler(received(number))
        clock.advance(7200.0)
    assert await inbox.forget() == 2


async def _nothing(event: ReceivedEvent, transaction: OutboxTransaction) -> Receipt:
    return Receipt(message_id=event.message_id, consumer="ward", outcome=Outcome.APPLIED)


async def test_a_participant_acts_and_undoes_once(database: Database) -> None:
    clock, counters = SystemClock(), Counters()
    participant = Participant(
        Outbox(database, clock=clock), "bed-board", clock=clock, counters=counters
    )
    done: list[bytes] = []

    async def effect(transaction: OutboxTransaction) -> bytes:
        done.append(b"act")
        return b"bed 7"

    async def undoing(transaction: OutboxTransaction, answer: bytes) -> None:
        done.append(answer)

    assert [await participant.act(b"a" * 16, effect) for _ in range(2)] == [b"bed 7"] * 2
    for _ in range(2):
        await participant.undo(b"u" * 16, of=b"a" * 16, undoing=undoing)
    assert done == [b"act", b"bed 7"]
    assert await participant.forget(older_than_s=-1.0) == 2
