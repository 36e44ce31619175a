"""Peaks, quantiles, budgets, limits and admission as values."""

from __future__ import annotations

import pytest

from bus.flow.priority import Priority
from bus.services.balancing import (
    AdaptiveAdmission,
    AdmissionSettings,
    BudgetSettings,
    GradientLimit,
    LatencyHistogram,
    LimitSettings,
    PeakEwma,
    RetryBudget,
)
from bus.services.protocol import Overloaded
from bus.telemetry.counters import Counters
from schemas.clock import FakeClock


def test_a_peak_counts_at_once_and_is_forgotten_with_time() -> None:
    latency = PeakEwma(10.0, 0.0)
    latency.observe(0.01, 1.0)
    latency.observe(0.5, 1.1)
    assert latency.at(1.1) == pytest.approx(0.5)
    latency.observe(0.01, 1.2)
    assert 0.45 < latency.at(1.2) < 0.5
    assert latency.at(61.2) < 0.002


def test_the_quantile_is_at_most_a_bucket_too_high() -> None:
    histogram = LatencyHistogram(0.95)
    assert histogram.value_s == 0.0
    for turn in range(640):
        histogram.observe(0.2 if turn % 10 == 0 else 0.01)
    assert 0.2 <= histogram.value_s <= 0.2 * 1.1
    for _ in range(20_000):
        histogram.observe(0.01)
    assert 0.01 <= histogram.value_s <= 0.011


@pytest.mark.parametrize("took_s", [0.0, -1.0, 1e-9, 1e9])
def test_any_latency_has_a_bucket(took_s: float) -> None:
    histogram = LatencyHistogram(0.95)
    for _ in range(32):
        histogram.observe(took_s)
    assert histogram.value_s > 0


def test_a_budget_allows_a_share_of_the_calls_and_a_few_a_second() -> None:
    budget = RetryBudget(BudgetSettings(share=0.2, per_s=5.0, burst=10), 0.0)
    assert sum(budget.take(0.0) for _ in range(100)) == 10
    for _ in range(100):
        budget.called()
    assert 19 <= sum(budget.take(0.0) for _ in range(100)) <= 20
    assert sum(budget.take(1.0) for _ in range(100)) == 5


def test_a_budget_cannot_be_saved_up_without_end() -> None:
    budget = RetryBudget(BudgetSettings(share=0.2, most=50.0, per_s=1.0, burst=1), 0.0)
    for _ in range(100_000):
        budget.called()
    assert sum(budget.take(0.0) for _ in range(1000)) == 51


def windows(
    limit: GradientLimit, clock: FakeClock, count: int, took_s: float, in_flight: int
) -> None:
    for _ in range(count):
        for _ in range(20):
            limit.observe(took_s, in_flight, clock.monotonic_s())
        clock.advance(0.11)
        limit.observe(took_s, in_flight, clock.monotonic_s())


def test_the_limit_grows_only_while_it_is_used() -> None:
    clock = FakeClock()
    limit = GradientLimit(LimitSettings(first=32), 0.0)
    windows(limit, clock, 20, 0.01, 5)
    assert limit.limit == 32
    windows(limit, clock, 10, 0.01, 50)
    assert limit.limit > 45


def test_the_limit_shrinks_as_calls_take_longer_but_not_below_the_least() -> None:
    clock = FakeClock()
    limit = GradientLimit(LimitSettings(first=100, least=4), 0.0)
    windows(limit, clock, 3, 0.01, 10)
    windows(limit, clock, 4, 0.2, 100)
    assert limit.limit < 60
    windows(limit, clock, 60, 0.2, 100)
    assert limit.limit >= 4


def test_work_that_became_slower_for_good_is_taken_for_normal_again() -> None:
    clock = FakeClock()
    limit = GradientLimit(LimitSettings(first=64, least=4), 0.0)
    windows(limit, clock, 5, 0.01, 10)
    for _ in range(300):
        windows(limit, clock, 1, 0.1, limit.limit)
    assert limit.limit > 64


def admission(limit: int = 10) -> tuple[AdaptiveAdmission, Counters, FakeClock]:
    counters, clock = Counters(), FakeClock()
    settings = AdmissionSettings(limit=LimitSettings(first=limit, least=limit, most=limit))
    return (
        AdaptiveAdmission(clock=clock, counters=counters, who="lab", settings=settings),
        counters,
        clock,
    )


def fill(gate: AdaptiveAdmission, priority: Priority) -> int:
    before = gate.in_flight

    def admit_all() -> None:
        for _ in range(1000):
            gate.admit(priority, waited_s=0.0, left_s=10.0)

    with pytest.raises(Overloaded) as refused:
        admit_all()
    assert refused.value.retry_after_s > 0
    return gate.in_flight - before


def test_bulk_is_shed_first_and_stat_has_the_last_slots() -> None:
    gate, counters, _ = admission(10)
    assert fill(gate, Priority.BULK) == 6
    assert fill(gate, Priority.ROUTINE) == 3
    assert fill(gate, Priority.STAT) == 1
    assert gate.in_flight == gate.limit == 10
    for reason in ("limit_bulk", "limit_routine", "limit_stat"):
        assert counters.get("call_shed", who="lab", reason=reason) == 1


def test_a_call_that_cannot_be_answered_in_time_is_refused() -> None:
    gate, counters, _ = admission()
    gate.admit(Priority.STAT, waited_s=0.0, left_s=1.0)
    gate.done(0.05, ok=True)
    with pytest.raises(Overloaded):
        gate.admit(Priority.STAT, waited_s=0.0, left_s=0.04)
    assert counters.get("call_shed", reason="too_late") == 1
    gate.admit(Priority.STAT, waited_s=0.0, left_s=0.06)


def test_a_wait_in_front_of_the_server_counts_but_clocks_that_differ_do_not() -> None:
    gate, _, _ = admission(100)
    for _ in range(20):
        gate.admit(Priority.ROUTINE, waited_s=3.0, left_s=0.2)
    for _ in range(20):
        gate.admit(Priority.ROUTINE, waited_s=4.0, left_s=5.0)
    with pytest.raises(Overloaded):
        gate.admit(Priority.ROUTINE, waited_s=4.0, left_s=0.2)


def test_failures_do_not_teach_how_long_work_takes() -> None:
    gate, _, _ = admission()
    for _ in range(50):
        gate.admit(Priority.ROUTINE, waited_s=0.0, left_s=1.0)
        gate.done(9.0, ok=False)
    gate.admit(Priority.ROUTINE, waited_s=0.0, left_s=0.01)
    gate.done(0.005, ok=True)
    with pytest.raises(ValueError, match="more calls ended"):
        gate.done(0.0, ok=True)
