"""Whatever happens in whatever order, each lane gives its messages first in, first out, one at a time."""

from __future__ import annotations

from collections import deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bus.flow import Credits, Lanes, Step

LANES = 3


class LanesMachine(RuleBasedStateMachine):
    """Compares `Lanes` with plain queues."""

    def __init__(self) -> None:
        super().__init__()
        self.lanes: Lanes[int] = Lanes(LANES)
        self.model: list[deque[int]] = [deque() for _ in range(LANES)]
        self.taken: dict[int, int] = {}
        self.now_s = 0.0
        self.count = 0

    @rule(lane=st.integers(0, LANES - 1))
    def put(self, lane: int) -> None:
        self.count += 1
        self.lanes.put(lane, self.count)
        self.model[lane].append(self.count)

    @rule(lane=st.integers(0, LANES - 1))
    def take(self, lane: int) -> None:
        item = self.lanes.take(lane, self.now_s)
        if item is not None:
            assert lane not in self.taken
            assert item == self.model[lane][0]
            self.taken[lane] = item

    @precondition(lambda self: self.taken)
    @rule(delay_s=st.floats(0, 10))
    def wait(self, delay_s: float) -> None:
        lane, _ = self.taken.popitem()
        self.lanes.wait(lane, self.now_s + delay_s)

    @precondition(lambda self: self.taken)
    @rule()
    def done(self) -> None:
        lane, item = self.taken.popitem()
        assert self.lanes.done(lane) == item == self.model[lane].popleft()

    @precondition(lambda self: self.taken)
    @rule(to=st.integers(0, LANES - 1))
    def move(self, to: int) -> None:
        lane, _ = self.taken.popitem()
        self.lanes.move(lane, to)
        self.model[to].append(self.model[lane].popleft())

    @rule(seconds=st.floats(0, 5))
    def advance(self, seconds: float) -> None:
        self.now_s += seconds

    @invariant()
    def nothing_is_lost(self) -> None:
        assert len(self.lanes) == sum(map(len, self.model))
        for lane, queue in enumerate(self.model):
            assert (self.lanes.step(lane) is Step.EMPTY) == (not queue)


class CreditMachine(RuleBasedStateMachine):
    """What is held and on its way never exceeds the limit, and credit never runs dry for good."""

    def __init__(self) -> None:
        super().__init__()
        self.credits = Credits(7)
        self.expected = self.held = 0

    @rule()
    def give(self) -> None:
        self.expected += self.credits.due()

    @precondition(lambda self: self.expected)
    @rule()
    def arrive(self) -> None:
        self.expected -= 1
        self.held += 1
        self.credits.arrived()

    @precondition(lambda self: self.held)
    @rule()
    def let_go(self) -> None:
        self.held -= 1
        self.credits.let_go()

    @invariant()
    def within_the_limit(self) -> None:
        assert (self.credits.expected, self.credits.held) == (self.expected, self.held)
        assert self.expected + self.held <= 7
        if not self.expected and not self.held:
            given = self.credits.due()
            assert given == 7
            self.expected = given


TestLanes = LanesMachine.TestCase
TestCredits = CreditMachine.TestCase
TestLanes.settings = TestCredits.settings = settings(max_examples=50, deadline=None)
