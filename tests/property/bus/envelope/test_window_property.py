"""The replay window against a set that remembers everything."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from bus.envelope import Refused
from bus.envelope.window import Mark, ReplayWindow

SIGNERS = [b"a" * 16, b"b" * 16]
RUNS = [b"run-%04d" % number for number in range(4)]
MAX_RUNS, MAX_BATCHES = 5, 24

messages = st.tuples(
    st.sampled_from(SIGNERS), st.sampled_from(RUNS), st.integers(0, 60), st.integers(0, 1023)
)


class Windows(RuleBasedStateMachine):
    """Whatever was marked is seen for ever; within the bounds nothing else is."""

    @initialize()
    def begin(self) -> None:
        self.small = ReplayWindow(max_runs=MAX_RUNS, max_batches=MAX_BATCHES)
        self.large = ReplayWindow(max_runs=100, max_batches=10_000)
        self.marked: set[tuple[bytes, bytes, int, int]] = set()

    @rule(message=messages)
    def mark(self, message: tuple[bytes, bytes, int, int]) -> None:
        mark = Mark(*message, created_ms=1000 + message[2], expires_ms=10**9)
        self.small.mark(mark, now_ms=2000)
        self.large.mark(Mark.from_bytes(mark.to_bytes()), now_ms=2000)
        self.marked.add(message)

    @rule(message=messages)
    def look(self, message: tuple[bytes, bytes, int, int]) -> None:
        created_ms = 1000 + message[2]
        assert self.large.is_seen(*message, created_ms) is (message in self.marked)
        if message in self.marked:
            assert self.small.is_seen(*message, created_ms)

    @rule()
    def restart(self) -> None:
        for name in ("small", "large"):
            before: ReplayWindow = getattr(self, name)
            bounds = (MAX_RUNS, MAX_BATCHES) if name == "small" else (100, 10_000)
            after = ReplayWindow(max_runs=bounds[0], max_batches=bounds[1])
            after.restore(before.to_bytes())
            assert after.to_bytes() == before.to_bytes()
            setattr(self, name, after)

    @invariant()
    def memory_is_bounded(self) -> None:
        assert len(self.small) <= MAX_BATCHES
        for message in self.marked:
            assert self.small.is_seen(*message, 1000 + message[2])


Windows.TestCase.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
TestWindows = Windows.TestCase


@given(raw=st.binary(max_size=300))
def test_any_bytes_are_no_snapshot(raw: bytes) -> None:
    window = ReplayWindow(max_runs=4, max_batches=4)
    try:
        window.restore(raw)
    except Refused:
        assert len(window) == 0
