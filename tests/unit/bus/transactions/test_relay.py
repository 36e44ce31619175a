"""The relay stores each committed row once, in order within its lane, whatever fails between."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bus.clock import SystemClock
from bus.envelope.types import Reason, Refused
from bus.events.protocol import NewEvent
from bus.telemetry.counters import Counters
from bus.transactions.outbox import Outbox
from bus.transactions.relay import Relay, RelayCondition, RelaySettings
from bus.transactions.sqlite import SqliteDatabase, SqliteTransaction
from schemas.errors import MeshError, PermissionRefused, Unavailable
from tests.unit.bus.transactions.kit import PaperMesh, event

QUICK = RelaySettings(first_delay_s=0.001, longest_delay_s=0.01, look_every_s=0.02)


class TooLarge(MeshError):
    code = "content_too_large"


@pytest.fixture
async def outbox(tmp_path: Path) -> AsyncIterator[Outbox]:
    database = SqliteDatabase(tmp_path / "ward.db")
    await database.start()
    yield Outbox(database, clock=SystemClock())
    await database.stop()


def relay(
    outbox: Outbox,
    mesh: PaperMesh,
    *,
    counters: Counters | None = None,
    settings: RelaySettings = QUICK,
) -> Relay:
    return Relay(
        outbox,
        mesh,
        clock=SystemClock(),
        chance=random.Random(1),
        counters=counters or Counters(),
        settings=settings,
    )


async def put(outbox: Outbox, *events: NewEvent) -> None:
    async with outbox.transaction() as transaction:
        for one in events:
            transaction.publish(one)


async def test_committed_rows_are_stored_in_order_and_deleted(outbox: Outbox) -> None:
    mesh, counters = PaperMesh(), Counters()
    await put(outbox, *(event(n, partition=n % 2) for n in range(10)))
    running = relay(outbox, mesh, counters=counters)
    await running.start()
    assert await running.drain(timeout_s=10)
    await running.stop()
    for partition in (0, 1):
        mine = [body for body in mesh.bodies if body.startswith(b"%d:" % partition)]
        assert mine == [b"%d:%d" % (partition, n) for n in range(partition, 10, 2)]
    assert (await outbox.depth()).waiting == 0
    assert counters.get("outbox_published", reason="stored") == 10


async def test_a_row_committed_later_wakes_the_relay(outbox: Outbox) -> None:
    mesh = PaperMesh()
    running = relay(outbox, mesh, settings=RelaySettings(look_every_s=3600))
    await running.start()
    await running.drain(timeout_s=10)
    await put(outbox, event(1))
    await mesh.until(lambda: mesh.bodies == [b"0:1"])
    await running.stop()


async def test_a_row_rolled_back_is_never_published(outbox: Outbox) -> None:
    mesh = PaperMesh()
    running = relay(outbox, mesh)
    await running.start()

    async def fail() -> None:
        async with outbox.transaction() as transaction:
            transaction.publish(event(1))
            raise RuntimeError("the user's own mistake")

    with pytest.raises(RuntimeError):
        await fail()
    await put(outbox, event(2))
    await running.drain(timeout_s=10)
    await running.stop()
    assert mesh.bodies == [b"0:2"]


async def test_an_answer_that_was_lost_makes_a_duplicate_and_no_second_event(
    outbox: Outbox,
) -> None:
    lost = {b"0:1": 2}

    def lose(sent: NewEvent) -> MeshError | None:
        lost[sent.body] = lost.get(sent.body, 0) - 1
        return Unavailable("the answer was lost") if lost[sent.body] >= 0 else None

    mesh, counters = PaperMesh(lose_answer=lose), Counters()
    await put(outbox, event(1), event(2))
    running = relay(outbox, mesh, counters=counters)
    await running.start()
    assert await running.drain(timeout_s=10)
    await running.stop()
    assert mesh.bodies == [b"0:1", b"0:2"]
    assert counters.get("outbox_published", reason="duplicate") == 1
    assert counters.get("outbox_waited", reason="unavailable") == 2


async def test_a_lane_that_waits_holds_up_no_other(outbox: Outbox) -> None:
    granted = False

    def refuse(sent: NewEvent) -> Exception | None:
        refused = sent.body == b"0:1" and not granted
        return PermissionRefused("not in the certificate") if refused else None

    mesh = PaperMesh(refuse=refuse)
    await put(outbox, event(1), event(2), event(3, partition=5))
    running = relay(outbox, mesh)
    await running.start()
    await mesh.until(lambda: mesh.bodies == [b"5:3"] and mesh.calls > 4)
    assert running.health().condition is RelayCondition.LANES_WAIT
    assert running.health().error_code == "permission_refused"
    granted = True
    assert await running.drain(timeout_s=10)
    assert running.health().condition is RelayCondition.RELAYING
    await running.stop()
    assert mesh.bodies == [b"5:3", b"0:1", b"0:2"]


async def test_what_can_never_be_stored_is_parked_and_can_be_tried_again(outbox: Outbox) -> None:
    limit_raised = False

    def refuse(sent: NewEvent) -> Exception | None:
        refused = sent.body == b"0:1" and not limit_raised
        return TooLarge("larger than the server takes") if refused else None

    mesh, counters = PaperMesh(refuse=refuse), Counters()
    await put(outbox, event(1), event(2))
    running = relay(outbox, mesh, counters=counters)
    await running.start()
    assert await running.drain(timeout_s=10)
    assert mesh.bodies == [b"0:2"]
    (parked,) = await outbox.parked()
    assert (parked.error_code, (await outbox.depth()).parked) == ("content_too_large", 1)
    assert counters.get("outbox_parked", reason="content_too_large") == 1
    limit_raised = True
    assert await outbox.unpark(parked.message_id)
    assert await running.drain(timeout_s=10)
    await running.stop()
    assert mesh.bodies == [b"0:2", b"0:1"]


async def test_memory_is_bounded_by_rows_and_bytes(outbox: Outbox) -> None:
    gate = asyncio.Event()
    mesh = PaperMesh(gate=gate)
    await put(outbox, *(event(n, partition=n) for n in range(20)))
    bounded = RelaySettings(batch_rows=10, batch_bytes=13, look_every_s=0.02)
    running = relay(outbox, mesh, settings=bounded)
    await running.start()
    await asyncio.wait_for(mesh.called.wait(), 10)
    gate.set()
    assert await running.drain(timeout_s=10)
    await running.stop()
    assert len(mesh.stored) == 20
    assert mesh.most_under_way <= 4


async def test_of_two_relays_one_stands_by_and_takes_over(outbox: Outbox) -> None:
    mesh = PaperMesh()
    first, second = relay(outbox, mesh), relay(outbox, mesh)
    await first.start()
    await first.drain(timeout_s=10)
    await second.start()
    await put(outbox, event(1))
    await first.drain(timeout_s=10)
    assert second.health().condition is RelayCondition.STANDBY
    await first.stop()
    await put(outbox, event(2))
    assert await second.drain(timeout_s=10)
    await second.stop()
    assert mesh.bodies == [b"0:1", b"0:2"]


async def test_two_relays_at_once_still_store_each_event_once_and_in_order(tmp_path: Path) -> None:
    """The lock is a convenience: a relay that believes it holds it and does not harms nobody."""
    database = SqliteDatabase(tmp_path / "ward.db")
    await database.start()
    outbox, mesh = Outbox(database, clock=SystemClock()), PaperMesh()
    await put(outbox, *(event(n, partition=n % 3) for n in range(60)))
    both = [relay(outbox, mesh) for _ in range(2)]
    for one in both:
        one._task = asyncio.create_task(one._relay(_Nobody()))  # a lock that holds nobody off
    for one in both:
        assert await one.drain(timeout_s=10)
        await one.stop()
    for partition in range(3):
        mine = [body for body in mesh.bodies if body.startswith(b"%d:" % partition)]
        assert mine == [b"%d:%d" % (partition, n) for n in range(partition, 60, 3)]
    await database.stop()


class _Nobody:
    async def check(self) -> None:
        return


async def test_a_database_that_goes_away_is_waited_for(tmp_path: Path) -> None:
    class Flaky(SqliteDatabase):
        away = 3

        @contextlib.asynccontextmanager
        async def transaction(self) -> AsyncIterator[SqliteTransaction]:
            if self.away:
                self.away -= 1
                raise Unavailable("the database is away")
            async with super().transaction() as transaction:
                yield transaction

    database = Flaky(tmp_path / "ward.db")
    database.away = 0
    await database.start()
    outbox, mesh, counters = Outbox(database, clock=SystemClock()), PaperMesh(), Counters()
    await put(outbox, event(1))
    database.away = 3
    running = relay(outbox, mesh, counters=counters)
    await running.start()
    await mesh.until(lambda: mesh.bodies == [b"0:1"])
    await running.stop()
    await database.stop()
    assert counters.get("outbox_database_failed", reason="unavailable") == 3


async def test_refusals_of_the_envelope_park_the_row_alone(outbox: Outbox) -> None:
    mesh = PaperMesh(
        refuse=lambda sent: Refused(Reason.BAD_SIGNATURE, "no") if sent.body == b"0:1" else None
    )
    await put(outbox, event(1), event(2))
    running = relay(outbox, mesh)
    await running.start()
    assert await running.drain(timeout_s=10)
    await running.stop()
    assert mesh.bodies == [b"0:2"]
