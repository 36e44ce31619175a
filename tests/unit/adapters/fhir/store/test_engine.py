"""SQLite behind the store: changes that wait share a commit, and one that fails leaves the others alone."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.fhir.store.engine import Unit, Work, at_once
from adapters.fhir.store.refusals import Refusal, invalid
from adapters.fhir.store.sqlite import SqliteEngine
from bus.transactions.database import number
from schemas.clock import FakeClock
from schemas.errors import Closed, ResourceExhausted, Unavailable
from schemas.fhir.release import Release

INSERT = "insert into fhir_token (param, code, system, rid) values (?, 'c', 's', 1)"


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[SqliteEngine]:
    made = SqliteEngine(
        tmp_path / "folder" / "store.db", release=Release.R4, clock=FakeClock(), queue=50
    )
    await made.start()
    yield made
    await made.stop()


async def count(unit: Unit) -> int:
    return number((await unit.fetch("select count(*) from fhir_token"))[0][0])


def adding(key: int) -> Work[int]:
    async def work(unit: Unit) -> int:
        await unit.execute(INSERT, (key,))
        if key % 3 == 0:
            raise invalid("every third")
        return key

    return work


async def test_changes_at_once_share_commits_and_fail_alone(
    engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits = 0
    begin = engine._database.transaction

    def counted() -> object:
        nonlocal commits
        commits += 1
        return begin()

    monkeypatch.setattr(engine._database, "transaction", counted)
    results = await asyncio.gather(
        *(engine.write(adding(key)) for key in range(1, 31)),
        return_exceptions=True,
    )
    assert commits <= 2
    for key, result in enumerate(results, 1):
        assert isinstance(result, Refusal) if key % 3 == 0 else result == key
    assert await engine.read(count) == 20


async def test_same_row_twice_is_an_error_of_the_second_alone(engine: SqliteEngine) -> None:
    results = await asyncio.gather(
        *(engine.write(adding(1)) for _ in range(3)),
        return_exceptions=True,
    )
    assert sum(result == 1 for result in results) == 1
    assert await engine.read(count) == 1


async def test_more_changes_than_may_wait_are_refused(engine: SqliteEngine) -> None:
    results = await asyncio.gather(
        *(engine.write(adding(key)) for key in range(1, 201)),
        return_exceptions=True,
    )
    refused = [one for one in results if isinstance(one, ResourceExhausted)]
    assert 0 < len(refused) <= 150
    assert await engine.read(count) == sum(isinstance(one, int) for one in results)


async def test_change_that_nobody_waits_for_any_more_is_not_begun(engine: SqliteEngine) -> None:
    task = asyncio.create_task(engine.write(adding(1)))
    other = asyncio.create_task(engine.write(adding(2)))
    await asyncio.sleep(0)
    task.cancel()
    assert await other == 2
    assert await engine.read(count) == 1


async def test_readers_cannot_write_and_the_file_is_private(
    engine: SqliteEngine, tmp_path: Path
) -> None:
    with pytest.raises(Unavailable):
        await engine.read(adding(1))
    assert await engine.read(count) == 0
    for file in (tmp_path / "folder").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0, file.name


async def test_closed_store_takes_nothing(engine: SqliteEngine) -> None:
    await engine.stop()
    with pytest.raises(Closed):
        await engine.read(count)
    with pytest.raises(Closed):
        await engine.write(count)


async def test_work_that_waits_for_something_else_is_a_fault_of_ours() -> None:
    async def waits() -> None:
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="waited"):
        at_once(waits())
