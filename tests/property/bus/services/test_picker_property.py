"""Whatever happens to instances: who may not be asked is not asked, and the books balance."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bus.services.balancing import Gate
from bus.services.protocol import Attempt, Health, NoInstance, Outcome, Overloaded
from tests.unit.bus.services.balancing.kit import Bench

NAMES = ("a", "b", "c", "d", "e")
names = st.sampled_from(NAMES)


class Balancing(RuleBasedStateMachine):
    """Calls, failures, changes of health and time in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench(NAMES)
        self.held: list[Attempt] = []

    @rule(
        key=st.sampled_from([b"", b"", b"x", b"y"]),
        exclude=st.frozensets(names, max_size=4),
        may_probe=st.booleans(),
    )
    def pick(self, key: bytes, exclude: frozenset[str], may_probe: bool) -> None:
        seen = self.bench.book.seen
        healthy = {n for n, s in seen.items() if s.health is Health.HEALTHY} - exclude
        gates = {view.instance: view.gate for view in self.bench.picker.snapshot()}
        try:
            attempt = self.bench.picker.pick(key=key, exclude=exclude, may_probe=may_probe)
        except NoInstance:
            assert not any(
                s.health in (Health.HEALTHY, Health.SUSPECT)
                for n, s in seen.items()
                if n not in exclude
            )
            return
        except Overloaded:
            assert all(gates[name] is not Gate.CLOSED for name in healthy)
            return
        chosen = attempt.instance.id
        assert chosen not in exclude
        health = seen[chosen].health
        assert health in (Health.HEALTHY, Health.SUSPECT)
        if health is Health.SUSPECT and gates[chosen] is Gate.CLOSED:
            assert not any(gates[name] is Gate.CLOSED for name in healthy)
        self.held.append(attempt)

    @precondition(lambda self: self.held)
    @rule(outcome=st.sampled_from(Outcome), place=st.integers(0, 1000))
    def end(self, outcome: Outcome, place: int) -> None:
        self.held.pop(place % len(self.held)).ended(outcome)

    @rule(name=names, health=st.sampled_from(Health))
    def turn(self, name: str, health: Health) -> None:
        self.bench.turn(name, health)

    @rule(name=names)
    def restart(self, name: str) -> None:
        self.bench.add(name, is_new=True)

    @rule(seconds=st.sampled_from([0.001, 0.3, 2.0, 30.0]))
    def wait(self, seconds: float) -> None:
        self.bench.clock.advance(seconds)

    @invariant()
    def ejections_leave_enough(self) -> None:
        views = self.bench.picker.snapshot()
        assert all(view.in_flight >= 0 and view.weight > 0 for view in views)

    def teardown(self) -> None:
        for attempt in self.held:
            attempt.ended(Outcome.CANCELLED)
        assert all(view.in_flight == 0 for view in self.bench.picker.snapshot())


TestBalancing = Balancing.TestCase
TestBalancing.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
