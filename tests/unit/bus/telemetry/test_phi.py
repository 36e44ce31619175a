from __future__ import annotations

import math
from random import Random
from statistics import NormalDist

import pytest

from bus.telemetry.phi import PhiDetector, PhiSettings, deviations, tail_phi

SETTINGS = PhiSettings()


def after(count: int, *, every_s: float = 1.0, spread_s: float = 0.0) -> tuple[PhiDetector, float]:
    """A detector that has heard so many heartbeats, and the time of the last."""
    random, now_s = Random(1), 0.0
    detector = PhiDetector(SETTINGS, now_s=now_s)
    for _ in range(count):
        now_s += every_s + random.uniform(-spread_s, spread_s)
        detector.arrived(now_s)
    return detector, now_s


@pytest.mark.parametrize("deviation", [-3.0, -1.0, 0.0, 0.5, 1.0, 2.0, 3.0, 4.0])
def test_phi_is_the_tail_of_the_normal_distribution(deviation: float) -> None:
    exact = -math.log10(1 - NormalDist().cdf(deviation))
    assert tail_phi(deviation) == pytest.approx(exact, rel=0.06, abs=0.001)


def test_phi_grows_with_the_silence_and_never_overflows() -> None:
    detector, now_s = after(50)
    values = [detector.phi(now_s + silence / 10) for silence in range(100)]
    assert values == sorted(values)
    assert values[0] < 0.1 < 1 < values[20]
    assert math.isfinite(detector.phi(now_s + 1e6))


def test_regular_sender_is_suspect_little_after_a_heartbeat_was_due() -> None:
    detector, now_s = after(100, spread_s=0.05)
    assert detector.deviation_s == SETTINGS.least_deviation_s
    assert 1.5 < detector.due_s(8.0) - now_s < 2.5


def test_irregular_sender_is_given_more_time() -> None:
    regular, at_s = after(100)
    irregular, then_s = after(100, spread_s=0.9)
    assert irregular.due_s(8.0) - then_s > regular.due_s(8.0) - at_s + 0.5


@pytest.mark.parametrize("threshold", [0.5, 1.0, 3.0, 8.0, 12.0])
def test_due_is_the_moment_when_phi_reaches_the_threshold(threshold: float) -> None:
    detector, _ = after(20, spread_s=0.3)
    assert detector.phi(detector.due_s(threshold)) == pytest.approx(threshold)
    assert tail_phi(deviations(threshold)) == pytest.approx(threshold)


def test_only_the_window_is_remembered() -> None:
    detector, now_s = after(200, every_s=5.0)
    for _ in range(SETTINGS.window):
        now_s += 1.0
        detector.arrived(now_s)
    assert detector.mean_s == pytest.approx(1.0)
    assert detector.deviation_s == SETTINGS.least_deviation_s


def test_sums_do_not_drift_over_a_day() -> None:
    detector, _ = after(86_400, spread_s=0.3)
    assert detector.mean_s == pytest.approx(1.0, abs=0.15)
    assert 0.1 < detector.deviation_s < 0.3


def test_pause_of_our_own_is_not_learnt() -> None:
    detector, now_s = after(20)
    detector.resume(now_s + 3600)
    assert detector.mean_s == pytest.approx(1.0)
    assert detector.phi(now_s + 3600.5) < 1


def test_clock_that_stands_still_is_no_error() -> None:
    detector = PhiDetector(SETTINGS, now_s=5.0)
    for _ in range(50):
        detector.arrived(5.0)
    assert detector.phi(5.0) == pytest.approx(tail_phi(0.0))


@pytest.mark.parametrize("wrong", [{"window": 0}, {"expected_s": 0.0}, {"least_deviation_s": 0.0}])
def test_settings_that_cannot_work_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="more than 0"):
        PhiSettings(**wrong)  # type: ignore[arg-type]  # the names are the settings'
