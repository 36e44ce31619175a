"""A service gets its rate and no more; what waits too long is refused; stat passes up to its share."""

from __future__ import annotations

import pytest

from bus.flow import Priority, Quota, QuotaLimits

ROUTINE, STAT = Priority.ROUTINE, Priority.STAT


def test_without_rates_nothing_waits() -> None:
    quota = Quota(QuotaLimits())
    assert all(quota.ask(1 << 20, ROUTINE, 0.0).wait_s == 0.0 for _ in range(10_000))


def test_a_second_of_events_passes_at_once_and_then_the_rate_counts() -> None:
    quota = Quota(QuotaLimits(events_per_s=10))
    waits = [quota.ask(1, ROUTINE, 0.0).wait_s for _ in range(30)]
    assert waits[:10] == [0.0] * 10
    assert waits[-1] == pytest.approx(1.9)
    assert waits == sorted(waits), "let go in the order of arrival"


def test_who_would_wait_too_long_is_refused_and_books_nothing() -> None:
    quota = Quota(QuotaLimits(events_per_s=10, wait_s=1.0))
    verdicts = [quota.ask(1, ROUTINE, 0.0) for _ in range(50)]
    refused = [verdict for verdict in verdicts if verdict.exceeded]
    assert len(refused) == 50 - 21
    assert {verdict.exceeded for verdict in refused} == {"events_per_s"}
    assert not quota.ask(1, ROUTINE, 1.0).exceeded, "a second later there is room again"


def test_bytes_count_too_and_one_large_event_passes_at_the_expense_of_the_next() -> None:
    quota = Quota(QuotaLimits(bytes_per_s=1000, wait_s=2.0))
    assert quota.ask(5000, ROUTINE, 0.0).wait_s == 0.0
    assert quota.ask(1, ROUTINE, 0.0).exceeded == "bytes_per_s"
    assert quota.ask(1, ROUTINE, 2.5).wait_s == pytest.approx(1.5)


def test_over_any_time_no_more_than_rate_and_burst_pass() -> None:
    quota = Quota(QuotaLimits(events_per_s=50, wait_s=0.0))
    passed = sum(not quota.ask(1, ROUTINE, n / 1000).exceeded for n in range(10_000))
    assert passed == pytest.approx(50 * 10 + 50, abs=2)


def test_stat_passes_beyond_the_rate_up_to_its_share() -> None:
    quota = Quota(QuotaLimits(events_per_s=100, wait_s=0.0, stat_share=0.25))
    while not quota.ask(1, ROUTINE, 0.0).exceeded:
        pass
    passed = sum(not quota.ask(1, STAT, n / 1000).exceeded for n in range(10_000))
    # its own quarter, and all that the routine events of these ten seconds do not take
    assert passed == pytest.approx(25 * 10 + 25 + 100 * 10, rel=0.05)
    strict = Quota(QuotaLimits(events_per_s=1, wait_s=0.0, stat_share=0.0))
    assert [bool(strict.ask(1, STAT, 0.0).exceeded) for _ in range(3)] == [False, False, True]
