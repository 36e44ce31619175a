"""What a call does when a try ends badly: again only where it is safe, elsewhere, in time, within the budget."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from bus.flow.priority import Priority
from bus.services.balancing import BudgetSettings
from bus.services.callers.settings import CallSettings, Hedge
from bus.services.context import working
from bus.services.protocol import (
    BadAnswer,
    CallContext,
    CallFailed,
    CallRefused,
    Health,
    NoInstance,
    Overloaded,
    Request,
    Response,
)
from bus.transport.protocol import NoResponders
from schemas.errors import Closed, DeadlineExceeded, MeshError, PermissionRefused, Unavailable
from schemas.registry.errors import Misfit, SchemaRefused
from tests.unit.bus.services.world import SimulatedLoop, World, request, simulate

Answer = Callable[[str, Request], Coroutine[Any, Any, None]]


class Script:
    """A world whose instances say what a test writes down, one entry a try."""

    def __init__(self, loop: SimulatedLoop, *answers: MeshError | float | None) -> None:
        self.world = World(loop)
        for name in "abc":
            self.world.add(name)
        self.answers = list(answers)
        self.tries: list[tuple[str, Request, float]] = []
        """(instance, request, when) of each try."""
        self.cancelled = 0
        self.world.call = self._call  # type: ignore[method-assign]  # the script is the channel
        self.loop = loop

    async def _call(
        self, request: Request, *, timeout_s: float, instance: str = "", site: str = ""
    ) -> Response:
        self.tries.append((instance, request, self.loop.time()))
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, MeshError):
            raise answer
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.sleep(answer or 0.0)
        except TimeoutError:
            raise DeadlineExceeded("no answer") from None
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return Response(type="t", body=instance.encode(), instance=instance)

    def count(self, name: str, reason: str | None = None) -> int:
        return self.world.counters.get(name, reason=reason)


def play(
    *answers: MeshError | float | None,
    settings: CallSettings | None = None,
    error: type[BaseException] | None = None,
    **options: Any,
) -> Script:
    """One call against a script; `error` is what it must end with."""

    async def run(loop: SimulatedLoop) -> Script:
        script = Script(loop, *answers)
        caller = script.world.caller(settings)
        call = caller.call(request(), **{"timeout_s": 5.0, **options})
        if error is None:
            await call
        else:
            with pytest.raises(error):
                await call
        return script

    return simulate(run)


@pytest.mark.parametrize("failure", [NoResponders("x"), Overloaded("x")])
def test_what_surely_did_nothing_is_tried_again_at_another_instance(failure: MeshError) -> None:
    script = play(failure)
    (one, _, _), (other, second, _) = script.tries
    assert one != other
    assert second.attempt == 2
    assert script.count("call_retried") == 1


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (DeadlineExceeded("x"), "timed_out"),
        (BadAnswer("x"), "bad_answer"),
        (CallFailed("internal", ""), "failed"),
        (Unavailable("x"), "connection_lost"),
    ],
)
def test_what_may_have_done_something_is_tried_again_only_if_idempotent(
    failure: MeshError, reason: str
) -> None:
    assert len(play(failure, error=type(failure)).tries) == 1
    script = play(failure, idempotent=True)
    assert len({instance for instance, _, _ in script.tries}) == 2
    assert script.count("call_retried", reason) == 1


@pytest.mark.parametrize(
    "failure",
    [CallFailed("no_bed", ""), CallRefused("x", ""), PermissionRefused("x"), Closed("x")],
)
def test_an_answer_is_an_answer_and_a_refusal_on_our_side_stays_one(failure: MeshError) -> None:
    script = play(failure, error=type(failure), idempotent=True)
    assert len(script.tries) == 1
    assert script.count("call_gave_up", failure.code) == 1


def test_all_tries_of_a_call_carry_one_id() -> None:
    async def run(loop: SimulatedLoop) -> None:
        script = Script(loop, Overloaded("x"))
        await script.world.caller().call(replace(request(), id=b""), timeout_s=1.0)
        ids = {one.id for _, one, _ in script.tries}
        assert len(ids) == 1
        assert len(ids.pop()) == 16

    simulate(run)


def test_tries_end_with_the_deadline_of_the_call() -> None:
    async def run(loop: SimulatedLoop) -> None:
        script = Script(loop, 9.0, 9.0, 9.0, 9.0)
        began_s = loop.time()
        with pytest.raises(DeadlineExceeded):
            await script.world.caller().call(request(), timeout_s=2.0, idempotent=True)
        assert loop.time() - began_s == pytest.approx(2.0, abs=0.1)
        assert len(script.tries) == 3

    simulate(run)


def test_a_call_within_a_call_gets_what_that_one_has_left() -> None:
    async def run(loop: SimulatedLoop) -> None:
        script = Script(loop, 9.0)
        parent = CallContext(
            caller="x",
            method="m",
            id=bytes(16),
            attempt=1,
            priority=Priority.ROUTINE,
            left_s=lambda: 0.5,
        )
        began_s = loop.time()
        with working(parent), pytest.raises(DeadlineExceeded):
            await script.world.caller().call(request(), timeout_s=60.0)
        assert loop.time() - began_s == pytest.approx(0.5)

    simulate(run)


def test_no_instance_that_shed_a_call_is_asked_again_before_it_said() -> None:
    shed = [Overloaded("x", retry_after_s=0.8) for _ in range(3)]
    script = play(*shed, settings=CallSettings(max_tries=5))
    assert {instance for instance, _, _ in script.tries[:3]} == {"a", "b", "c"}
    assert script.tries[3][2] - script.tries[2][2] >= 0.799


def test_no_try_is_made_without_budget() -> None:
    none = BudgetSettings(share=0.0, per_s=0.001, burst=1)
    settings = CallSettings(retries=none, max_tries=9)
    script = play(*[Overloaded("x")] * 5, settings=settings, error=Overloaded)
    assert len(script.tries) == 2
    assert script.count("retry_refused", "budget") == 1


def test_an_instance_that_is_gone_costs_no_budget_and_leaves_the_table() -> None:
    none = BudgetSettings(share=0.0, per_s=0.001, burst=1)
    script = play(NoResponders("x"), NoResponders("x"), settings=CallSettings(retries=none))
    assert len(script.world.seen) == 1
    assert script.count("retry_refused") == 0


def test_the_queue_group_is_asked_when_the_table_is_empty() -> None:
    async def run(loop: SimulatedLoop) -> None:
        script = Script(loop)
        for name in "abc":
            script.world.tell(name, Health.GONE)
        await script.world.caller().call(request(), timeout_s=1.0)
        assert [instance for instance, _, _ in script.tries] == [""]
        assert script.count("call_fell_back", "no_instance_known") == 1

    simulate(run)


def test_nobody_there_is_told_as_such_after_some_patience() -> None:
    script = play(*[NoResponders("x")] * 20, error=NoInstance)
    waits = script.tries[-1][2] - script.tries[0][2]
    assert 0.2 < waits < 3.0
    assert [instance for instance, _, _ in script.tries[3:]] == [""] * 5


class Bound:
    """An agreement that refuses what it is told to."""

    def __init__(self, *, request: bool = False, answer: bool = False) -> None:
        self.refuses = {"request": request, "answer": answer}
        self.asked: list[tuple[str, str, str]] = []

    def check_request(self, subject: str, content_type: str, body: bytes) -> None:
        self._check("request", subject, content_type)

    def check_answer(self, subject: str, content_type: str, body: bytes) -> None:
        self._check("answer", subject, content_type)

    def _check(self, what: str, subject: str, content_type: str) -> None:
        self.asked.append((what, subject, content_type))
        if self.refuses[what]:
            raise SchemaRefused(
                pattern=subject, misfit=Misfit.CONTENT_TYPE, expected="application/json", seen="text/plain"
            )  # fmt: skip


@pytest.mark.parametrize(
    ("bound", "error", "tries"),
    [
        (Bound(), None, 1),
        (Bound(request=True), SchemaRefused, 0),
        (Bound(answer=True), BadAnswer, 1),
    ],
    ids=["both fit", "a request that does not fit", "an answer that does not fit"],
)
def test_requests_and_answers_are_held_to_what_the_method_is_bound_to(
    bound: Bound, error: type[MeshError] | None, tries: int
) -> None:
    """A request is refused before anybody is asked; an answer is refused once, as the call has been worked."""

    async def run(loop: SimulatedLoop) -> None:
        script = Script(loop)
        call = script.world.caller(agreement=bound).call(request(), timeout_s=1.0, idempotent=True)
        if error is None:
            await call
        else:
            with pytest.raises(error):
                await call
        assert len(script.tries) == tries

    simulate(run)
    subjects = {subject for _, subject, _ in bound.asked}
    assert len(subjects) == 1
    assert subjects.pop().startswith("svc.north.")


def test_a_hedge_asks_another_instance_and_the_loser_is_cancelled() -> None:
    script = play(3.0, 0.01, idempotent=True, hedge_after_s=0.1)
    (one, _, began_s), (other, _, hedged_s) = script.tries
    assert one != other
    assert hedged_s - began_s == pytest.approx(0.1)
    assert (script.cancelled, script.count("call_hedged"), script.count("hedge_won")) == (1, 1, 1)


def test_the_first_may_still_win_against_its_hedge() -> None:
    script = play(0.2, 1.0, idempotent=True, hedge_after_s=0.1)
    assert (script.cancelled, script.count("call_hedged"), script.count("hedge_won")) == (1, 1, 0)


def test_a_hedge_that_fails_does_not_end_the_call() -> None:
    script = play(0.3, Overloaded("x"), idempotent=True, hedge_after_s=0.1)
    assert len(script.tries) == 2
    assert script.count("call_retried") == 0


def test_both_failing_is_one_failure() -> None:
    failures = (0.2, BadAnswer("x"))

    async def run(loop: SimulatedLoop) -> None:
        script = Script(loop, *failures)
        caller = script.world.caller(CallSettings(max_tries=1))
        with pytest.raises(MeshError):
            await caller.call(request(), timeout_s=0.15, idempotent=True, hedge_after_s=0.1)
        assert len(script.tries) == 2

    simulate(run)


def test_calls_that_are_not_idempotent_are_never_hedged() -> None:
    script = play(1.0, hedge_after_s=0.1)
    assert len(script.tries) == 1


def test_late_hedges_wait_until_latencies_are_known() -> None:
    async def run(loop: SimulatedLoop) -> None:
        script = Script(loop, *[0.01] * 64, 2.0, 0.01)
        caller = script.world.caller()
        for _ in range(64):
            await caller.call(request(), timeout_s=5.0, idempotent=True, hedge_after_s=Hedge.LATE)
        assert script.count("call_hedged") == 0
        began_s = loop.time()
        await caller.call(request(), timeout_s=5.0, idempotent=True, hedge_after_s=Hedge.LATE)
        assert loop.time() - began_s < 0.1
        assert script.count("call_hedged") == 1

    simulate(run)


def test_a_caller_that_goes_away_leaves_nothing_behind() -> None:
    async def run(loop: SimulatedLoop) -> None:
        script = Script(loop, 9.0, 9.0)
        caller = script.world.caller()
        call = loop.create_task(
            caller.call(request(), timeout_s=60.0, idempotent=True, hedge_after_s=0.1)
        )
        await asyncio.sleep(0.2)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert script.cancelled == 2
        (views,) = caller.snapshot().values()
        assert [view.in_flight for view in views] == [0, 0, 0]
        assert asyncio.all_tasks() == {asyncio.current_task()}

    simulate(run)


def test_calls_beyond_the_bound_wait_in_turn_and_beyond_that_are_shed() -> None:
    async def run(loop: SimulatedLoop) -> None:
        script = Script(loop, *[1.0] * 10)
        caller = script.world.caller(CallSettings(max_in_flight=2, max_pending=2))
        calls = [loop.create_task(caller.call(request(), timeout_s=1.5)) for _ in range(5)]
        ended = await asyncio.gather(*calls, return_exceptions=True)
        kinds = [type(one) for one in ended]
        assert kinds == [Response, Response, DeadlineExceeded, DeadlineExceeded, Overloaded]
        assert script.count("call_shed", "max_pending") == 1
        await caller.call(request(), timeout_s=5.0)

    simulate(run)


def test_a_key_stays_at_one_instance() -> None:
    async def run(loop: SimulatedLoop) -> None:
        script = Script(loop)
        caller = script.world.caller()
        for _ in range(20):
            await caller.call(request(), timeout_s=1.0, key=b"patient")
        assert len({instance for instance, _, _ in script.tries}) == 1

    simulate(run)


def test_a_call_ends_at_once_when_all_shed_it_until_after_its_deadline() -> None:
    shed = [Overloaded("x", retry_after_s=9.0) for _ in range(3)]
    script = play(*shed, settings=CallSettings(max_tries=5), error=Overloaded, timeout_s=2.0)
    assert len(script.tries) == 3
    assert script.loop.time() - script.tries[-1][2] < 0.5


def test_a_call_without_time_asks_nobody_and_blames_nobody() -> None:
    script = play(error=DeadlineExceeded, timeout_s=0.0, idempotent=True)
    assert script.tries == []


def test_no_instance_is_blamed_for_missing_a_deadline_too_short_for_the_method() -> None:
    async def run(loop: SimulatedLoop) -> None:
        script = Script(loop, *[0.2] * 100)
        caller = script.world.caller()
        for _ in range(32):
            await caller.call(request(), timeout_s=5.0)
        for _ in range(30):
            with pytest.raises(DeadlineExceeded):
                await caller.call(request(), timeout_s=0.05)
        assert script.count("instance_ejected") + script.count("breaker_opened") == 0

    simulate(run)
