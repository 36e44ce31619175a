"""Instances that stand out are left out, longer at each repeat, never too many, and come back through a probe."""

from __future__ import annotations

import pytest

from bus.services.balancing import Gate
from bus.services.protocol import Outcome, Overloaded
from tests.unit.bus.services.balancing.kit import Bench


def failing(bench: Bench, name: str) -> None:
    """Five failures in a row at one, while another answers."""
    bench.fail(name, 4)
    last = bench.ask(name)
    bench.clock.advance(0.001)
    other = next(n for n in bench.book.seen if n != name and bench.view(n).gate is Gate.CLOSED)
    bench.ask(other).ended(Outcome.ANSWERED)
    last.ended(Outcome.FAILED)


def rounds(bench: Bench, times: int, **took_s: float) -> None:
    """Calls at each instance in turn, `took_s` for the named, 10 ms for others."""
    for _ in range(times):
        for name in list(bench.book.seen):
            if bench.view(name).gate is Gate.CLOSED:
                attempt = bench.ask(name)
                bench.clock.advance(took_s.get(name, 0.01))
                attempt.ended(Outcome.ANSWERED)


def test_failures_in_a_row_eject_and_time_grows_with_repeats() -> None:
    bench = Bench()
    lengths = []
    for _ in range(4):
        failing(bench, "a")
        lengths.append(bench.view("a").shut_for_s)
        assert "a" not in {bench.call() for _ in range(30)}
        bench.clock.advance(bench.view("a").shut_for_s)
        probe = bench.picker.pick()
        assert probe.instance.id == "a"
        assert "a" not in {bench.call() for _ in range(10)}, "one probe at a time"
        probe.ended(Outcome.ANSWERED)
        assert bench.view("a").gate is Gate.CLOSED
    assert lengths == pytest.approx([5.0, 10.0, 20.0, 40.0])
    assert bench.counters.get("instance_ejected", reason="consecutive_failures") == 4


def test_a_failed_probe_leaves_it_out_for_longer() -> None:
    bench = Bench()
    failing(bench, "a")
    bench.clock.advance(5.0)
    bench.picker.pick().ended(Outcome.TIMED_OUT)
    assert bench.view("a").gate is Gate.OPEN
    assert bench.view("a").shut_for_s == pytest.approx(10.0)


def test_a_cancelled_probe_says_nothing_and_the_next_call_probes_again() -> None:
    bench = Bench()
    failing(bench, "a")
    bench.clock.advance(5.0)
    bench.picker.pick().ended(Outcome.CANCELLED)
    assert bench.picker.pick().instance.id == "a"


def test_calls_that_may_not_be_repeated_are_no_probes_until_nobody_else_comes() -> None:
    bench = Bench()
    failing(bench, "a")
    bench.clock.advance(6.0)
    for _ in range(20):
        attempt = bench.picker.pick(may_probe=False)
        assert attempt.instance.id != "a"
        attempt.ended(Outcome.ANSWERED)
    bench.clock.advance(5.0)
    assert bench.picker.pick(may_probe=False).instance.id == "a"


def test_at_most_half_is_ejected_and_then_breakers_open_one_by_one() -> None:
    bench = Bench()
    for name in "abc":
        failing(bench, name)
    assert bench.counters.get("instance_ejected") == 2
    assert bench.counters.get("breaker_opened", reason="consecutive_failures") == 1
    assert bench.view("c").shut_for_s == pytest.approx(1.0)


def test_breakers_open_when_everyone_fails_and_say_when_to_come_again() -> None:
    bench = Bench("ab")
    bench.fail("a", 5)
    bench.fail("b", 5)
    with pytest.raises(Overloaded, match="2 left out") as refused:
        bench.picker.pick()
    assert 0 < refused.value.retry_after_s <= 1.0
    bench.clock.advance(1.0)
    assert {bench.picker.pick().instance.id for _ in range(2)} == {"a", "b"}
    with pytest.raises(Overloaded):
        bench.picker.pick()


def test_one_that_answers_ten_times_slower_is_ejected() -> None:
    bench = Bench()
    rounds(bench, 12, a=0.1)
    bench.clock.advance(0.3)
    assert bench.view("a").reason == "slow"
    assert bench.counters.get("instance_ejected", reason="slow") == 1


def test_a_probe_that_is_slow_again_does_not_bring_it_back() -> None:
    bench = Bench()
    rounds(bench, 12, a=0.1)
    bench.clock.advance(6.0)
    probe = bench.picker.pick()
    bench.clock.advance(0.1)
    probe.ended(Outcome.ANSWERED)
    assert bench.view("a").gate is Gate.OPEN


def test_when_all_are_slow_nobody_is_ejected() -> None:
    bench = Bench()
    rounds(bench, 30, a=0.5, b=0.5, c=0.5, d=0.5)
    bench.clock.advance(0.3)
    bench.picker.snapshot()
    assert bench.counters.get("instance_ejected") == 0


def test_one_that_fails_more_often_than_its_peers_is_ejected() -> None:
    bench = Bench()
    for turn in range(12):
        bench.ask("a").ended(Outcome.FAILED if turn % 2 else Outcome.ANSWERED)
        for name in "bcd":
            bench.ask(name).ended(Outcome.ANSWERED)
    bench.clock.advance(0.3)
    assert bench.view("a").reason == "failing"


def test_one_that_answers_nothing_while_peers_answer_is_ejected_within_a_second() -> None:
    bench = Bench()
    rounds(bench, 5)
    bench.ask("a")
    for _ in range(70):
        bench.call()
    assert bench.view("a").reason == "unanswered"


def test_nobody_is_blamed_when_nobody_answers() -> None:
    bench = Bench()
    rounds(bench, 5)
    for name in "abcd":
        bench.ask(name)
    bench.clock.advance(3.0)
    assert {view.gate for view in bench.picker.snapshot()} == {Gate.CLOSED}


def test_the_only_instance_is_never_ejected_by_comparison() -> None:
    bench = Bench("a")
    for _ in range(40):
        bench.call(0.5)
    assert bench.view("a").gate is Gate.CLOSED
