"""Sagas end completed or compensated, act once for each step, and say where they stand."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from pydantic import BaseModel

from bus.clock import SystemClock
from bus.services.protocol import CallFailed, NoInstance, NotFoundThere
from bus.telemetry.counters import Counters
from bus.transactions.inbox import Inbox
from bus.transactions.machine import FINISHED, Status
from bus.transactions.outbox import Outbox
from bus.transactions.runner import RunnerCondition, RunnerSettings, SagaRunner
from bus.transactions.saga import Saga, StepCall, StepRefused
from bus.transactions.sagas import NoSuchSaga, SagaView
from bus.transactions.sqlite import SqliteDatabase
from schemas.errors import ConfigurationError, MeshError, SubjectError, Unavailable
from tests.unit.bus.transactions.admission import Admission, Hospital, admission
from tests.unit.bus.transactions.kit import received

SETTINGS = RunnerSettings(look_every_s=0.05, first_delay_s=0.001)
PATIENT = Admission(patient="4711")


@dataclass
class House:
    """A database, counters and the runners on it."""

    outbox: Outbox
    counters: Counters
    runners: list[SagaRunner]

    async def runner(self, *sagas: Saga[Admission], starts: bool = True) -> SagaRunner:
        runner = SagaRunner(
            self.outbox,
            sagas,
            clock=SystemClock(),
            chance=random.Random(1),
            counters=self.counters,
            settings=SETTINGS,
        )
        self.runners.append(runner)
        if starts:
            await runner.start()
        return runner


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    database = SqliteDatabase(tmp_path / "ward.db")
    await database.start()
    house = House(Outbox(database, clock=SystemClock()), Counters(), [])
    yield house
    for runner in house.runners:
        await runner.stop()
    await database.stop()


async def until(
    runner: SagaRunner, saga_id: str, holds: Callable[[SagaView], bool], *, within_s: float = 10.0
) -> SagaView:
    async with asyncio.timeout(within_s):
        while not holds(view := await runner.get(saga_id)):  # noqa: ASYNC110 - only its row tells
            await asyncio.sleep(0.005)
    return view


async def ended(runner: SagaRunner, saga_id: str) -> SagaView:
    return await until(runner, saga_id, lambda view: view.status in FINISHED)


def refuse_at(step: str, error: Exception) -> Callable[[StepCall], Exception | None]:
    """Trouble with the action of one step."""
    return lambda call: error if call.step == step and not call.undoes else None


async def test_every_step_acts_once_and_the_saga_completes(house: House) -> None:
    hospital = Hospital()
    saga = admission(hospital)
    runner = await house.runner(saga)
    view = await ended(runner, await runner.begin(saga, PATIENT))
    assert (view.status, view.step, view.cause) == (Status.COMPLETED, "", "")
    assert hospital.log == ["act bed", "act orders"]
    assert (await house.outbox.depth()).waiting == 1
    assert house.counters.get("saga_completed", who="admission") == 1


async def test_the_state_travels_through_the_steps(house: House) -> None:
    saga = admission(Hospital())
    runner = await house.runner(saga)
    await ended(runner, await runner.begin(saga, PATIENT))
    async with house.outbox.transaction() as transaction:
        assert await transaction.fetch("select body from medmesh_outbox") == [(b"4711 in 4W-1",)]


@pytest.mark.parametrize(
    "refusal",
    [StepRefused("none_free"), NotFoundThere("none_free", "")],
    ids=lambda one: one.code,
)
async def test_a_refused_step_turns_the_saga_round(house: House, refusal: MeshError) -> None:
    hospital = Hospital(trouble=refuse_at("orders", refusal))
    saga = admission(hospital)
    runner = await house.runner(saga)
    view = await ended(runner, await runner.begin(saga, PATIENT))
    assert (view.status, view.cause) == (Status.COMPENSATED, "orders:none_free")
    assert hospital.log == ["act bed", "undo bed"]
    assert (await house.outbox.depth()).waiting == 0


async def test_a_step_in_doubt_is_undone_as_well(house: House) -> None:
    """Its answer is always lost: it had its effect, and nobody told us."""
    hospital = Hospital(
        after=lambda call: (
            Unavailable("lost") if call.step == "orders" and not call.undoes else None
        )
    )
    saga = admission(hospital)
    runner = await house.runner(saga)
    view = await ended(runner, await runner.begin(saga, PATIENT))
    assert (view.status, view.cause) == (Status.COMPENSATED, "orders:unavailable")
    assert hospital.log == ["act bed", "act orders", "undo orders", "undo bed"]
    assert house.counters.get("saga_step_failed", reason="unavailable") == 3


async def test_a_service_that_failed_in_its_own_words_is_undone_as_well(house: House) -> None:
    hospital = Hospital(trouble=refuse_at("orders", CallFailed("internal", "")))
    saga = admission(hospital)
    runner = await house.runner(saga)
    view = await ended(runner, await runner.begin(saga, PATIENT))
    assert (view.status, view.cause) == (Status.COMPENSATED, "orders:internal")
    assert hospital.log == ["act bed", "undo orders", "undo bed"]
    assert house.counters.get("saga_step_failed") == 1


async def test_a_step_that_surely_did_nothing_is_not_undone(house: House) -> None:
    hospital = Hospital(trouble=refuse_at("orders", NoInstance("nobody runs")))
    saga = admission(hospital)
    runner = await house.runner(saga)
    view = await ended(runner, await runner.begin(saga, PATIENT))
    assert (view.status, view.cause) == (Status.COMPENSATED, "orders:no_instance")
    assert hospital.log == ["act bed", "undo bed"]


async def test_an_attempt_has_a_deadline(house: House) -> None:
    async def hang(call: StepCall) -> None:
        if call.step == "orders" and not call.undoes:
            await asyncio.Event().wait()

    hospital = Hospital(hang=hang)
    saga = admission(hospital, max_attempts=2)
    steps = tuple(replace(step, timeout_s=0.02) for step in saga.steps[:2])
    saga = replace(saga, steps=(*steps, saga.steps[2]))
    runner = await house.runner(saga)
    view = await ended(runner, await runner.begin(saga, PATIENT))
    assert (view.status, view.cause) == (Status.COMPENSATED, "orders:deadline_exceeded")


async def test_a_stuck_saga_is_seen_and_resumed(house: House) -> None:
    is_away = True

    def trouble(call: StepCall) -> Exception | None:
        if call.step == "orders" and not call.undoes:
            return StepRefused("no_order_set")
        return Unavailable("the bed board is away") if call.undoes and is_away else None

    hospital = Hospital(trouble=trouble)
    saga = admission(hospital)
    runner = await house.runner(saga)
    saga_id = await runner.begin(saga, PATIENT)
    view = await until(runner, saga_id, lambda view: view.status is Status.STUCK)
    assert (view.step, view.error_code, view.cause) == ("bed", "unavailable", "orders:no_order_set")
    assert [one.id for one in await runner.list(statuses=[Status.STUCK])] == [saga_id]
    assert await runner.counts() == {("admission", Status.STUCK): 1}
    assert house.counters.get("saga_stuck", reason="unavailable") == 1
    is_away = False
    await runner.resume(saga_id)
    assert (await ended(runner, saga_id)).status is Status.COMPENSATED
    assert hospital.log == ["act bed", "undo bed"]


async def test_a_compensation_that_is_refused_is_stuck_at_once(house: House) -> None:
    def trouble(call: StepCall) -> Exception | None:
        return StepRefused("by_hand") if call.undoes or call.step == "orders" else None

    hospital = Hospital(trouble=trouble)
    saga = admission(hospital, stuck_after=1000)
    runner = await house.runner(saga)
    view = await until(
        runner, await runner.begin(saga, PATIENT), lambda view: view.status is Status.STUCK
    )
    assert (view.step, view.attempts, view.error_code) == ("bed", 1, "by_hand")


async def test_an_operator_cancels_a_running_saga(house: House) -> None:
    hospital = Hospital(trouble=refuse_at("orders", NoInstance("nobody runs")))
    saga = admission(hospital, max_attempts=0)
    runner = await house.runner(saga)
    saga_id = await runner.begin(saga, PATIENT)
    await until(runner, saga_id, lambda view: view.step == "orders")

    await runner.cancel(saga_id)
    view = await ended(runner, saga_id)
    assert (view.status, view.cause) == (Status.COMPENSATED, "orders:cancelled")
    assert hospital.log[:1] == ["act bed"]
    assert hospital.log[-1] == "undo bed"


async def test_the_same_id_begins_once(house: House) -> None:
    hospital = Hospital()
    saga = admission(hospital)
    runner = await house.runner(saga)
    for _ in range(3):
        await runner.begin(saga, PATIENT, saga_id="visit-1")
    await ended(runner, "visit-1")
    assert hospital.log == ["act bed", "act orders"]


async def test_an_event_begins_one_saga_however_often_it_comes(house: House) -> None:
    saga = admission(Hospital())
    runner = await house.runner(saga)
    inbox = Inbox(house.outbox, clock=SystemClock(), counters=house.counters)
    handler = runner.starter(
        inbox, "admissions", saga, lambda event: PATIENT if event.seq != 2 else None
    )
    for event in (received(1), received(1), received(2)):
        await handler(event)
    assert [view.id for view in await runner.list()] == [received(1).message_id.hex()]


async def test_a_runner_that_stops_in_mid_step_is_followed_by_another(house: House) -> None:
    begun = asyncio.Event()

    async def hang(call: StepCall) -> None:
        if call.step == "orders" and not begun.is_set():
            begun.set()
            await asyncio.Event().wait()

    hospital = Hospital(hang=hang)
    saga = admission(hospital)
    first = await house.runner(saga)
    saga_id = await first.begin(saga, PATIENT)
    await asyncio.wait_for(begun.wait(), 10)
    second = await house.runner(saga)
    assert second.health().condition is RunnerCondition.STANDBY
    await first.stop()
    assert (await ended(second, saga_id)).status is Status.COMPLETED
    assert hospital.log == ["act bed", "act orders"]


async def test_draining_finishes_the_attempt_in_hand_and_begins_nothing(house: House) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def hang(call: StepCall) -> None:
        begun.set()
        await go_on.wait()

    hospital = Hospital(hang=hang)
    saga = admission(hospital)
    runner = await house.runner(saga)
    saga_id = await runner.begin(saga, PATIENT)
    await asyncio.wait_for(begun.wait(), 10)
    assert not await runner.drain(timeout_s=0.01)
    go_on.set()
    assert await runner.drain(timeout_s=10)
    view = await runner.get(saga_id)
    assert (view.status, view.step, view.attempts) == (Status.RUNNING, "orders", 0)
    assert hospital.log == ["act bed"]


async def test_a_saga_ends_with_the_steps_that_it_began_with(house: House) -> None:
    hospital = Hospital(trouble=refuse_at("orders", NoInstance("nobody runs")))
    old = admission(hospital, max_attempts=0)
    new = admission(hospital, version=2, names=("bed", "diet", "orders"))
    runner = await house.runner(old)
    saga_id = await runner.begin(old, PATIENT)
    await until(runner, saga_id, lambda view: view.step == "orders")
    await runner.stop()
    hospital.trouble = lambda call: None
    both = await house.runner(old, new)
    assert (await ended(both, saga_id)).version == 1
    assert "act diet" not in hospital.log
    await ended(both, await both.begin(new, PATIENT))
    assert "act diet" in hospital.log


@pytest.mark.parametrize("change", ["no_definition", "definition_changed"])
async def test_a_saga_whose_definition_is_gone_waits_and_says_so(house: House, change: str) -> None:
    hospital = Hospital()
    old = admission(hospital)
    first = await house.runner(old, starts=False)
    saga_id = await first.begin(old, PATIENT)
    version = 2 if change == "no_definition" else 1
    second = await house.runner(admission(hospital, version=version, names=("bed", "diet")))
    view = await until(second, saga_id, lambda view: view.blocked != "")
    assert (view.blocked, view.status) == (change, Status.RUNNING)
    assert hospital.log == []
    assert house.counters.get("saga_blocked", reason=change) == 1


async def test_a_state_that_no_longer_fits_waits_and_says_so(house: House) -> None:
    class Other(BaseModel):
        ward: str

    old = admission(Hospital())
    first = await house.runner(old, starts=False)
    saga_id = await first.begin(old, PATIENT)
    changed = replace(old, state=Other)  # type: ignore[arg-type]  # the mistake that this is about
    second = await house.runner(changed)
    view = await until(second, saga_id, lambda view: view.blocked != "")
    assert view.blocked == "saga_state_unreadable"


async def test_finished_sagas_are_forgotten_and_others_kept(house: House) -> None:
    hospital = Hospital()
    saga = admission(hospital)
    runner = await house.runner(saga)
    first = await runner.begin(saga, PATIENT)
    await ended(runner, first)
    await runner.stop()
    second = await runner.begin(saga, PATIENT)
    assert await runner.forget(older_than_s=3600) == 0
    assert await runner.forget(older_than_s=-1) == 1
    with pytest.raises(NoSuchSaga):
        await runner.get(first)
    assert (await runner.get(second)).status is Status.RUNNING


def test_definitions_are_checked_early(tmp_path: Path) -> None:
    saga = admission(Hospital())
    with pytest.raises(ConfigurationError, match="a name of its own"):
        replace(saga, steps=(saga.steps[0], saga.steps[0]))
    with pytest.raises(SubjectError):
        replace(saga, name="Admission!")
    with pytest.raises(ConfigurationError, match="version 0"):
        replace(saga, version=0)
    outbox = Outbox(SqliteDatabase(tmp_path / "x.db"), clock=SystemClock())
    with pytest.raises(ConfigurationError, match="same name and version"):
        SagaRunner(
            outbox, [saga, saga], clock=SystemClock(), chance=random.Random(1), counters=Counters()
        )


async def test_views_and_errors_hold_no_content(house: House) -> None:
    hospital = Hospital(trouble=refuse_at("orders", RuntimeError("patient 4711 is unknown")))
    saga = admission(hospital)
    runner = await house.runner(saga)
    view = await ended(runner, await runner.begin(saga, PATIENT))
    assert view.cause == "orders:RuntimeError"
    assert "4711" not in repr(view) + repr(house.counters.snapshot())
