"""Whom a caller asks: the quick, the near, the key's own; never the ejected and the draining."""

from __future__ import annotations

from collections import Counter

import pytest

from bus.services.balancing import BalancingSettings, Gate
from bus.services.protocol import Health, NoInstance, Outcome, Overloaded
from tests.unit.bus.services.balancing.kit import Bench


def test_calls_are_spread_over_equals() -> None:
    bench = Bench()
    asked = Counter(bench.call() for _ in range(400))
    assert set(asked) == {"a", "b", "c", "d"}
    assert min(asked.values()) > 50, asked


def test_an_instance_that_is_busy_is_avoided() -> None:
    bench = Bench("ab")
    for _ in range(20):
        bench.call()
    held = [bench.ask("a") for _ in range(5)]
    assert {bench.call() for _ in range(5)} == {"b"}
    for one in held:
        one.ended(Outcome.ANSWERED)


def test_an_answer_that_is_late_counts_before_it_comes() -> None:
    bench = Bench("ab")
    for _ in range(20):
        bench.call()
    stuck = bench.ask("a")
    bench.clock.advance(0.2)
    held = [bench.picker.pick() for _ in range(8)]
    assert {one.instance.id for one in held} == {"b"}
    stuck.ended(Outcome.CANCELLED)


def test_a_method_that_takes_long_as_a_rule_is_not_late() -> None:
    bench = Bench("ab")
    for _ in range(20):
        bench.call()
    long = bench.picker.pick(exclude=frozenset("b"), expected_s=5.0)
    bench.clock.advance(0.2)
    assert {bench.picker.pick().instance.id for _ in range(8)} == {"a", "b"}
    long.ended(Outcome.ANSWERED)


def test_draining_and_ejected_instances_are_never_asked() -> None:
    bench = Bench()
    bench.turn("a", Health.DRAINING)
    bench.turn("b", Health.EJECTED)
    assert {bench.call() for _ in range(100)} == {"c", "d"}
    bench.turn("c", Health.GONE)
    bench.turn("d", Health.DRAINING)
    with pytest.raises(NoInstance):
        bench.picker.pick()


def test_a_suspect_instance_is_asked_only_when_nobody_else_is_there() -> None:
    bench = Bench("ab")
    bench.turn("a", Health.SUSPECT)
    assert {bench.call() for _ in range(50)} == {"b"}
    bench.turn("b", Health.SUSPECT)
    assert {bench.call() for _ in range(50)} == {"a", "b"}


def test_excluded_instances_are_not_asked_again() -> None:
    bench = Bench("abc")
    for _ in range(50):
        attempt = bench.picker.pick(exclude=frozenset("ab"))
        assert attempt.instance.id == "c"
        attempt.ended(Outcome.ANSWERED)
    with pytest.raises(NoInstance, match="each of the 3"):
        bench.picker.pick(exclude=frozenset("abc"))


def test_the_end_of_an_attempt_is_reported_once() -> None:
    attempt = Bench().picker.pick()
    attempt.ended(Outcome.ANSWERED)
    with pytest.raises(ValueError, match="before"):
        attempt.ended(Outcome.ANSWERED)


def test_the_own_zone_comes_first_then_the_own_site() -> None:
    bench = Bench((), zone="east")
    bench.add("near", zone="east")
    bench.add("same-site", zone="west")
    bench.add("far", site="south")
    assert {bench.call() for _ in range(50)} == {"near"}
    bench.turn("near", Health.GONE)
    assert {bench.call() for _ in range(50)} == {"same-site"}
    bench.turn("same-site", Health.GONE)
    assert {bench.call() for _ in range(50)} == {"far"}


def test_a_share_goes_farther_when_too_few_near_ones_are_healthy() -> None:
    bench = Bench("abcd")
    bench.add("far", site="south")
    assert "far" not in {bench.call() for _ in range(200)}
    for name in "abc":
        bench.turn(name, Health.SUSPECT)
    asked = Counter(bench.call() for _ in range(400))
    # a quarter is healthy: 1.4 times that share stays, the rest goes elsewhere
    assert 0.55 < asked["far"] / 400 < 0.75, asked
    assert bench.counters.get("call_spilled", reason="unhealthy") == asked["far"]


def test_calls_spill_to_another_site_when_the_near_ones_are_loaded() -> None:
    bench = Bench("ab")
    bench.add("far", site="south")
    for _ in range(50):
        bench.call()
    held = [bench.picker.pick() for _ in range(60)]
    asked = Counter(one.instance.id for one in held)
    assert asked["far"] > 0, asked
    assert min(asked["a"], asked["b"]) >= 8, asked
    assert bench.counters.get("call_spilled", reason="loaded") == asked["far"]


def test_a_new_instance_starts_slowly() -> None:
    bench = Bench("abc")
    for _ in range(60):
        bench.call()
    bench.add("new", is_new=True)
    held = [bench.picker.pick() for _ in range(40)]
    early = Counter(one.instance.id for one in held)
    assert early["new"] <= 4, early
    for one in held:
        one.ended(Outcome.ANSWERED)
    bench.clock.advance(11.0)
    held = [bench.picker.pick() for _ in range(40)]
    assert 6 <= Counter(one.instance.id for one in held)["new"] <= 14


def test_weights_divide_the_load() -> None:
    bench = Bench(())
    bench.add("small", weight=50)
    bench.add("large", weight=150)
    for _ in range(20):
        bench.call()
    held = Counter(bench.picker.pick().instance.id for _ in range(80))
    assert 50 <= held["large"] <= 68, held


def test_a_key_stays_with_its_instance_and_goes_back_to_it() -> None:
    bench = Bench([f"m{n}" for n in range(8)])

    def owner(key: bytes) -> str:
        attempt = bench.picker.pick(key=key)
        attempt.ended(Outcome.ANSWERED)
        return attempt.instance.id

    keys = [b"k%d" % n for n in range(64)]
    before = {key: owner(key) for key in keys}
    assert {key: owner(key) for key in keys} == before
    bench.turn("m3", Health.SUSPECT)
    moved = {key for key in keys if owner(key) != before[key]}
    assert moved == {key for key in keys if before[key] == "m3"}
    bench.turn("m3", Health.HEALTHY)
    assert {key: owner(key) for key in keys} == before


def test_a_hot_key_spreads_when_its_instance_has_more_than_its_share() -> None:
    settings = BalancingSettings(sticky_in_flight=4, load_bound=1.25)
    bench = Bench("abcd", settings=settings)
    held = [bench.picker.pick(key=b"hot") for _ in range(80)]
    loads = Counter(one.instance.id for one in held)
    assert max(loads.values()) <= 26, loads  # 1.25 times 80 / 4, rounded up
    assert len(loads) == 4


def test_all_full_is_told_as_overloaded() -> None:
    bench = Bench("ab", settings=BalancingSettings(max_in_flight=3))
    held = [bench.picker.pick() for _ in range(6)]
    with pytest.raises(Overloaded, match="2 with as many calls as allowed"):
        bench.picker.pick()
    held[0].ended(Outcome.ANSWERED)
    assert bench.picker.pick().instance.id == held[0].instance.id


def test_an_instance_that_sheds_is_avoided_for_a_while() -> None:
    bench = Bench("ab")
    bench.ask("a").ended(Outcome.OVERLOADED)
    assert {bench.call(0.001) for _ in range(20)} == {"b"}
    bench.clock.advance(0.1)
    assert "a" in {bench.call(0.001) for _ in range(20)}


def test_operators_see_who_is_left_out_and_why() -> None:
    bench = Bench("ab")
    bench.call()
    bench.ask("b").ended(Outcome.ANSWERED)
    bench.fail("a", 4)
    held = bench.ask("a")
    bench.ask("b").ended(Outcome.ANSWERED)
    held.ended(Outcome.FAILED)
    view = bench.view("a")
    assert (view.gate, view.reason, view.in_flight) == (Gate.OPEN, "consecutive_failures", 0)
    assert 0 < view.shut_for_s <= 5.0
