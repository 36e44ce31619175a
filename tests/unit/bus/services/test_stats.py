"""What a server counts of a method."""

from __future__ import annotations

from bus.services.stats import MethodStats


def test_the_slowest_of_a_hundred_is_not_hidden_by_the_mean() -> None:
    stats = MethodStats()
    assert stats.p99_ns == 0
    for _ in range(98):
        stats.ended(0.001, "")
    stats.ended(0.5, "")
    stats.ended(0.6, "")

    assert stats.p99_ns == 500_000_000
    assert stats.average_ns < 20_000_000


def test_the_slowest_are_those_of_the_last_requests() -> None:
    stats = MethodStats()
    stats.ended(9.0, "")
    for _ in range(600):
        stats.ended(0.001, "")

    assert stats.p99_ns == 1_000_000
