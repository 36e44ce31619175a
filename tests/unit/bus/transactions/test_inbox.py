"""An event's effects happen once for each message id, and never under a stale fence."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bus.events.protocol import Outcome, Receipt, ReceivedEvent
from bus.telemetry.counters import Counters
from bus.transactions.inbox import Inbox, StaleFence
from bus.transactions.outbox import Outbox, OutboxTransaction
from bus.transactions.sqlite import SqliteDatabase
from schemas.clock import FakeClock
from schemas.errors import ConfigurationError, Unavailable
from tests.unit.bus.transactions.kit import event, received

DAY_S = 24 * 3600.0


@dataclass
class Ward:
    outbox: Outbox
    inbox: Inbox
    counters: Counters
    clock: FakeClock

    async def admissions(self) -> list[object]:
        async with self.outbox.transaction() as transaction:
            return [row[0] for row in await transaction.fetch("select body from admission")]


@pytest.fixture
async def ward(tmp_path: Path) -> AsyncIterator[Ward]:
    database = SqliteDatabase(tmp_path / "ward.db")
    await database.start()
    clock, counters = FakeClock(), Counters()
    outbox = Outbox(database, clock=clock)
    async with outbox.transaction() as transaction:
        await transaction.execute("create table admission (body blob)")
    inbox = Inbox(outbox, clock=clock, counters=counters, keep_s=DAY_S)
    yield Ward(outbox, inbox, counters, clock)
    await database.stop()


async def admit(received: ReceivedEvent, transaction: OutboxTransaction) -> None:
    await transaction.execute("insert into admission values (?)", (received.body,))
    transaction.publish(event(100 + received.seq))


async def test_a_second_delivery_is_acknowledged_without_effect(ward: Ward) -> None:
    handler = ward.inbox.handler("ward", admit)
    for _ in range(3):
        await handler(received(1))
    assert await ward.admissions() == [b"0:1"]
    assert (await ward.outbox.depth()).waiting == 1
    assert ward.counters.get("inbox_duplicate", who="ward") == 2


async def test_each_consumer_has_its_own_record(ward: Ward) -> None:
    for consumer in ("ward", "kitchen"):
        await ward.inbox.handler(consumer, admit)(received(1))
    assert await ward.admissions() == [b"0:1", b"0:1"]


async def test_work_that_fails_leaves_nothing_and_may_be_tried_again(ward: Ward) -> None:
    fails = True

    async def work(event: ReceivedEvent, transaction: OutboxTransaction) -> None:
        await admit(event, transaction)
        if fails:
            raise Unavailable("the user's other system is away")

    handler = ward.inbox.handler("ward", work)
    with pytest.raises(Unavailable):
        await handler(received(1))
    assert await ward.admissions() == []
    fails = False
    await handler(received(1))
    assert await ward.admissions() == [b"0:1"]


async def test_a_second_delivery_gives_the_receipt_of_the_first(ward: Ward) -> None:
    first = Receipt(
        message_id=received(1).message_id,
        consumer="ward",
        outcome=Outcome.APPLIED,
        answer=b"bed 7",
        reason="ok",
    )

    async def work(event: ReceivedEvent, transaction: OutboxTransaction) -> Receipt:
        await admit(event, transaction)
        return first

    handler = ward.inbox.handler("ward", work)
    assert [await handler(received(1)) for _ in range(2)] == [first, first]


async def test_a_loop_gets_the_transaction_once(ward: Ward) -> None:
    seen = []
    for _ in range(2):
        async with ward.inbox.receive("ward", received(1)) as transaction:
            seen.append(transaction is not None)
            if transaction is not None:
                await transaction.execute("insert into admission values (?)", (b"loop",))
    assert seen == [True, False]
    assert await ward.admissions() == [b"loop"]


@dataclass(frozen=True)
class Fenced:
    """An event of a partitioned consumer."""

    message_id: bytes
    fence: int
    subject: str = "evt.north.order.placed.7"


async def fenced(ward: Ward, number: int, fence: int) -> None:
    async with ward.inbox.receive("ward", Fenced(bytes([number]) * 16, fence)) as transaction:
        assert transaction is not None
        await transaction.execute("insert into admission values (?)", (b"%d" % number,))


async def test_a_stale_fence_is_refused_and_leaves_nothing(ward: Ward) -> None:
    await fenced(ward, 1, 5)
    await fenced(ward, 2, 6)
    with pytest.raises(StaleFence) as refused:
        await fenced(ward, 3, 5)
    assert (refused.value.code, refused.value.retryable) == ("unavailable", True)
    await fenced(ward, 3, 6)
    assert await ward.admissions() == [b"1", b"2", b"3"]
    assert ward.counters.get("inbox_refused", reason="stale_fence") == 1


async def test_records_go_only_after_a_later_event_of_their_partition(ward: Ward) -> None:
    handler = ward.inbox.handler("ward", admit)
    await handler(received(1))
    await handler(received(2, partition=9))
    ward.clock.advance(400 * DAY_S)
    assert await ward.inbox.forget() == 0
    await handler(received(3))
    assert await ward.inbox.forget() == 1
    await handler(received(2, partition=9))
    assert ward.counters.get("inbox_duplicate") == 1
    assert ward.counters.get("inbox_forgotten") == 1


async def test_records_younger_than_the_limit_stay(ward: Ward) -> None:
    handler = ward.inbox.handler("ward", admit)
    for number in range(1, 5):
        await handler(received(number))
        ward.clock.advance(0.4 * DAY_S)
    assert await ward.inbox.forget() == 1
    await handler(received(2))
    assert ward.counters.get("inbox_duplicate") == 1


def test_a_limit_below_the_duplicate_window_is_refused(tmp_path: Path) -> None:
    outbox = Outbox(SqliteDatabase(tmp_path / "x.db"), clock=FakeClock())
    with pytest.raises(ConfigurationError, match="keep_s"):
        Inbox(outbox, clock=FakeClock(), counters=Counters(), keep_s=60.0)
