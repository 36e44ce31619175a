"""A participant acts once for each key, refuses as it refused before, and never acts after the undo."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bus.services.protocol import CallFailed, NotFoundThere
from bus.telemetry.counters import Counters
from bus.transactions.outbox import Outbox, OutboxTransaction
from bus.transactions.participant import Participant, Undone
from bus.transactions.sqlite import SqliteDatabase
from schemas.clock import FakeClock
from schemas.errors import Unavailable

KEY, UNDO_KEY = b"a" * 16, b"u" * 16


@dataclass
class BedBoard:
    outbox: Outbox
    participant: Participant
    counters: Counters
    clock: FakeClock
    error: Exception | None = None

    async def take(self, key: bytes = KEY) -> bytes:
        async def effect(transaction: OutboxTransaction) -> bytes:
            await transaction.execute("insert into effect values ('act')")
            if self.error is not None:
                raise self.error
            return b"bed 7"

        return await self.participant.act(key, effect)

    async def release(self) -> None:
        async def undoing(transaction: OutboxTransaction, answer: bytes) -> None:
            assert answer == b"bed 7"
            await transaction.execute("insert into effect values ('undo')")

        await self.participant.undo(UNDO_KEY, of=KEY, undoing=undoing)

    async def effects(self) -> list[object]:
        async with self.outbox.transaction() as transaction:
            return [row[0] for row in await transaction.fetch("select what from effect")]


@pytest.fixture
async def board(tmp_path: Path) -> AsyncIterator[BedBoard]:
    database = SqliteDatabase(tmp_path / "beds.db")
    await database.start()
    clock, counters = FakeClock(), Counters()
    outbox = Outbox(database, clock=clock)
    async with outbox.transaction() as transaction:
        await transaction.execute("create table effect (what text)")
    participant = Participant(outbox, "bed-board", clock=clock, counters=counters)
    yield BedBoard(outbox, participant, counters, clock)
    await database.stop()


async def test_a_repeat_gets_the_same_answer_without_effect(board: BedBoard) -> None:
    assert [await board.take() for _ in range(3)] == [b"bed 7"] * 3
    assert await board.effects() == ["act"]
    assert board.counters.get("action_repeated") == 2


async def test_it_is_undone_once(board: BedBoard) -> None:
    await board.take()
    for _ in range(3):
        await board.release()
    assert await board.effects() == ["act", "undo"]


async def test_an_action_that_comes_after_its_undo_is_refused(board: BedBoard) -> None:
    await board.release()
    with pytest.raises(Undone):
        await board.take()
    assert await board.effects() == []
    assert board.counters.get("action_forestalled") == 1


async def test_a_refusal_stays_a_refusal(board: BedBoard) -> None:
    """Its saga has gone on without undoing it: a late repeat must not succeed."""
    board.error = NotFoundThere("no_free_bed", "")
    with pytest.raises(NotFoundThere):
        await board.take()
    board.error = None
    with pytest.raises(CallFailed, match="no_free_bed"):
        await board.take()
    await board.release()
    assert await board.effects() == []


async def test_what_time_can_heal_is_tried_again(board: BedBoard) -> None:
    board.error = Unavailable("away")
    with pytest.raises(Unavailable):
        await board.take()
    board.error = None
    assert await board.take() == b"bed 7"
    assert await board.effects() == ["act"]


async def test_keys_are_forgotten_by_age(board: BedBoard) -> None:
    await board.take()
    board.clock.advance(10.0)
    assert await board.participant.forget(older_than_s=11.0) == 0
    assert await board.participant.forget(older_than_s=9.0) == 1
