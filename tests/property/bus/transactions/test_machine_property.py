"""Whatever happens, in whatever order: what may have had an effect is undone in reverse, or all of it is done."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from bus.transactions import machine
from bus.transactions.machine import FINISHED, Direction, Plan, Progress, Status, StepRules

HAPPENINGS = (
    "done",
    "refused",
    "nothing",
    "doubt",
    "gave up",
    "died",
    "cancelled",
    "resumed",
    "late",
)

plans = st.lists(
    st.builds(
        StepRules,
        name=st.just("step"),
        has_undo=st.booleans(),
        max_attempts=st.integers(1, 3),
        deadline_s=st.just(50.0),
        stuck_after=st.integers(1, 3),
    ),
    min_size=1,
    max_size=5,
).map(lambda rules: Plan(steps=tuple(rules)))


@dataclass
class Model:
    """What really happened, which the machine cannot know."""

    plan: Plan
    progress: Progress
    possible: list[int] = field(default_factory=list)
    """Steps that may have had their effect, in order."""
    undone: list[int] = field(default_factory=list)
    now_ms: int = 0

    def happen(self, what: str, chance: random.Random) -> None:
        plan, now_ms = self.plan, self.now_ms
        if what == "cancelled":
            self.progress = machine.cancelled(plan, self.progress, now_ms)
            return
        if what == "resumed":
            self.progress = machine.resumed(self.progress, now_ms)
            return
        if what == "late":
            self.now_ms += 60_000
        if machine.is_late(plan, self.progress, self.now_ms):
            self.progress = machine.late(plan, self.progress, self.now_ms)
            return
        self.attempt(what, chance)

    def attempt(self, what: str, chance: random.Random) -> None:
        plan, now_ms = self.plan, self.now_ms
        begun = self.progress = machine.attempt(self.progress, now_ms)
        if what in ("done", "doubt", "gave up", "died"):
            self.effect(begun)
        match what:
            case "done":
                self.progress = machine.succeeded(plan, begun, now_ms)
            case "refused":
                self.progress = machine.refused(plan, begun, "no", now_ms)
            case "gave up":
                self.progress = machine.given_up(plan, begun, "internal", now_ms, chance)
            case "nothing" | "doubt" | "late":
                nothing = what != "doubt"
                self.progress = machine.failed(
                    plan, begun, "x", now_ms, chance, surely_nothing=nothing
                )
            case _:
                pass  # it died: nothing more is known

    def effect(self, begun: Progress) -> None:
        if begun.direction is Direction.ACT:
            if begun.step not in self.possible:
                self.possible.append(begun.step)
        elif begun.step not in self.undone:
            self.undone.append(begun.step)


@given(plans, st.lists(st.sampled_from(HAPPENINGS), max_size=60), st.integers())
def test_nothing_is_left_half_done(plan: Plan, happenings: list[str], seed: int) -> None:
    model = Model(plan, machine.begin(0))
    chance = random.Random(seed)
    for what in happenings:
        if model.progress.status in FINISHED:
            break
        model.happen(what, chance)
    while model.progress.status not in FINISHED:
        model.attempt("done", chance)
    check(model)


def check(model: Model) -> None:
    if model.progress.status is Status.COMPLETED:
        assert model.possible == list(range(len(model.plan.steps)))
        assert not model.undone
        return
    owed = [step for step in model.possible if model.plan.steps[step].has_undo]
    assert [step for step in model.undone if step in owed] == owed[::-1]
    assert model.undone == sorted(model.undone, reverse=True)


@given(plans, st.lists(st.sampled_from(HAPPENINGS), max_size=60), st.integers())
def test_a_finished_saga_stays_as_it_is(plan: Plan, happenings: list[str], seed: int) -> None:
    model = Model(plan, machine.begin(0))
    for what in happenings:
        if model.progress.status in FINISHED:
            break
        model.happen(what, random.Random(seed))
    while model.progress.status not in FINISHED:
        model.attempt("done", random.Random(seed))
    end = model.progress
    assert machine.cancelled(plan, end, 1) == end
    assert machine.resumed(end, 1) == end
