"""Whatever comes back, in whatever order and however late, windows stay in their bounds and never lock up."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bus.flow import AimdWindow, DelayWindow, FairQueue, Priority, Window, WindowLimits
from bus.flow.fair_queue import QUANTA

LIMITS = WindowLimits(smallest_bytes=2_000, first_bytes=8_000, largest_bytes=200_000)
SIZES = st.integers(1, 20_000)
RTTS = st.one_of(st.none(), st.floats(0.0, 30.0))


class WindowMachine(RuleBasedStateMachine):
    """A sender that keeps the rules; what is derived from it says with which window."""

    window: Window

    def __init__(self) -> None:
        super().__init__()
        self.under_way: list[int] = []
        self.now_s = 0.0

    @rule(size=SIZES)
    def send(self, size: int) -> None:
        if self.window.may_send(size):
            room = self.window.limit - self.window.in_flight
            assert size <= room or not self.under_way, (
                "no more than the window, but for one event alone"
            )
            self.window.sent(size, self.now_s)
            self.under_way.append(size)

    @precondition(lambda self: self.under_way)
    @rule(which=st.integers(0, 10_000), rtt_s=RTTS)
    def answer(self, which: int, rtt_s: float | None) -> None:
        size = self.under_way.pop(which % len(self.under_way))
        self.window.acknowledged(size, self.now_s, rtt_s)

    @precondition(lambda self: self.under_way)
    @rule(which=st.integers(0, 10_000))
    def lose(self, which: int) -> None:
        self.window.lost(self.under_way.pop(which % len(self.under_way)), self.now_s)

    @rule(seconds=st.floats(0, 20))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    @invariant()
    def within_bounds(self) -> None:
        assert LIMITS.smallest_bytes <= self.window.limit <= LIMITS.largest_bytes
        assert self.window.in_flight == sum(self.under_way)
        if not self.under_way:
            assert self.window.may_send(1 << 40), "with nothing under way anything may go"


class DelayMachine(WindowMachine):
    def __init__(self) -> None:
        super().__init__()
        self.window = DelayWindow(LIMITS)


class AimdMachine(WindowMachine):
    def __init__(self) -> None:
        super().__init__()
        self.window = AimdWindow(LIMITS)


TestDelay = DelayMachine.TestCase
TestAimd = AimdMachine.TestCase
TestDelay.settings = TestAimd.settings = settings(max_examples=60, deadline=None)


@given(
    puts=st.lists(
        st.tuples(
            st.sampled_from(Priority), st.integers(0, 5), st.integers(1, 60_000), st.booleans()
        ),
        max_size=120,
    )
)
@settings(max_examples=100, deadline=None)
def test_nothing_is_lost_and_no_subject_loses_its_order(
    puts: list[tuple[Priority, int, int, bool]],
) -> None:
    queue: FairQueue[tuple[int, int]] = FairQueue()
    left: dict[int, list[int]] = defaultdict(list)
    count = 0

    def take() -> None:
        shown = queue.peek()
        item = queue.take()
        assert item == shown
        if item is not None:
            assert left[item[0]].pop(0) == item[1]

    for number, (priority, key, cost, takes) in enumerate(puts):
        queue.put((key, number), priority=priority, key=key, cost=cost)
        left[key].append(number)
        count += 1
        if takes:
            take()
            count -= 1
        assert len(queue) == count
    for _ in range(count):
        take()
    assert not any(left.values())
    assert len(queue) == 0


@given(
    waiting=st.sampled_from(Priority),
    others=st.lists(
        st.tuples(st.sampled_from(Priority), st.integers(1, 100_000)), min_size=1, max_size=30
    ),
    before=st.lists(st.tuples(st.sampled_from(Priority), st.integers(1, 100_000)), max_size=40),
    cost=st.integers(1, 100_000),
)
@settings(max_examples=150, deadline=None)
def test_the_head_of_a_class_waits_for_a_bounded_amount(
    waiting: Priority,
    others: list[tuple[Priority, int]],
    before: list[tuple[Priority, int]],
    cost: int,
) -> None:
    """However the other classes are refilled, and whatever was served before: so much goes first and no more."""
    queue: FairQueue[str] = FairQueue()
    for number, (priority, size) in enumerate(before):
        queue.put("before", priority=priority, key=number, cost=size)
    while queue.take() is not None:
        pass
    queue.put("head", priority=waiting, key="head", cost=cost)
    rivals = [one for one in Priority if one is not waiting]
    largest = 100_000
    rounds = largest // QUANTA[waiting] + 2
    bound = rounds * sum(QUANTA[one] + largest for one in rivals)
    passed = 0
    for turn in range(10_000_000):
        for rival in rivals:
            if not queue.is_waiting(rival):
                size = others[turn % len(others)][1]
                queue.put(f"{size}", priority=rival, key=(turn, rival), cost=size)
        item = queue.take()
        if item == "head":
            break
        assert item is not None
        passed += int(item)
        assert passed <= bound
