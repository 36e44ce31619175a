"""Rates answer the operator's question: when is the backlog gone?"""

from __future__ import annotations

from medmesh.runtime.metered import Reading
from medmesh.runtime.stats import AdapterStats, rates


def test_a_shrinking_backlog_has_an_end() -> None:
    earlier = Reading(stored=0, delivered=100, waiting=1000)
    later = Reading(stored=50, delivered=600, waiting=550)
    assert rates(earlier, later, 5.0) == (10.0, 100.0, 550 / 90)


def test_a_backlog_that_grows_has_no_end() -> None:
    assert rates(Reading(waiting=10), Reading(waiting=20), 5.0)[2] is None
    assert rates(Reading(waiting=10), Reading(waiting=10), 5.0)[2] is None


def test_without_a_backlog_it_is_gone_already() -> None:
    assert rates(Reading(waiting=10), Reading(delivered=10), 5.0) == (0.0, 2.0, 0.0)
    assert rates(Reading(), Reading(), 0.0) == (0.0, 0.0, 0.0)


def test_fields_are_ready_for_json() -> None:
    stats = AdapterStats(
        name="his-out", kind="k", condition="healthy", detail="", accepted_per_s=1.26,
        delivered_per_s=0.0, drained_in_s=None, totals=Reading(delivered=3, waiting=2),
    ).fields()  # fmt: skip
    assert stats["accepted_per_s"] == 1.3
    assert stats["drained_in_s"] is None
    assert (stats["delivered"], stats["waiting"]) == (3, 2)
