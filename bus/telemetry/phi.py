"""The phi-accrual failure detector: how surprising a silence is, given how regular the heartbeats were.

Hayashibara et al., "The φ accrual failure detector" (SRDS 2004), with the logistic approximation of the normal
distribution's tail that Akka and Cassandra use. φ = 8 says: by the past, one silence in 10^8 lasts this long. Pure.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

_CUBIC: Final = 0.070566
_LINEAR: Final = 1.5976
_STEPS: Final = 60
_FARTHEST: Final = 40.0  # standard deviations: φ is above 1000 there


@dataclass(frozen=True, slots=True, kw_only=True)
class PhiSettings:
    """What the numbers cost is said at each."""

    expected_s: float = 1.0
    """Interval that is assumed before any was seen."""
    window: int = 32
    """How many intervals are remembered: a change of rhythm is learnt after about as many heartbeats."""
    least_deviation_s: float = 0.2
    """Floor of the standard deviation: on a quiet machine heartbeats are so regular that the smallest pause would be
    a surprise. With φ = 8 a silence is suspect after the mean interval and 5.1 times this."""

    def __post_init__(self) -> None:
        """Raises `ValueError` for what cannot work."""
        if self.window < 1 or self.expected_s <= 0 or self.least_deviation_s <= 0:
            raise ValueError("expected_s, window and least_deviation_s are more than 0")


class PhiDetector:
    """One sender's heartbeats. Times are seconds on any scale that does not go back."""

    __slots__ = ("_intervals", "_last_s", "_settings", "_squares", "_sum")

    def __init__(self, settings: PhiSettings, *, now_s: float) -> None:
        self._settings = settings
        self._intervals: deque[float] = deque(maxlen=settings.window)
        self._sum = 0.0
        self._squares = 0.0
        self._last_s = now_s

    def arrived(self, now_s: float) -> None:
        """A heartbeat came."""
        intervals = self._intervals
        if len(intervals) == intervals.maxlen:
            oldest = intervals[0]
            self._sum -= oldest
            self._squares -= oldest * oldest
        interval = max(0.0, now_s - self._last_s)
        intervals.append(interval)
        self._sum += interval
        self._squares += interval * interval
        self._last_s = now_s

    def resume(self, now_s: float) -> None:
        """Begin to wait now: the pause before says nothing about the sender (it was ours), so it is not learnt."""
        self._last_s = now_s

    @property
    def mean_s(self) -> float:
        """Mean interval."""
        return self._sum / len(self._intervals) if self._intervals else self._settings.expected_s

    @property
    def deviation_s(self) -> float:
        """Standard deviation of the intervals, at least the floor."""
        count = len(self._intervals)
        if not count:
            return self._settings.least_deviation_s
        mean = self._sum / count
        variance = max(0.0, self._squares / count - mean * mean)
        return max(self._settings.least_deviation_s, math.sqrt(variance))

    def phi(self, now_s: float) -> float:
        """How surprising the present silence is: -log10 of the chance of one that lasts longer."""
        return tail_phi((now_s - self._last_s - self.mean_s) / self.deviation_s)

    def due_s(self, threshold: float) -> float:
        """When φ will reach the threshold unless a heartbeat comes: so nobody need ask φ again and again."""
        return self._last_s + self.mean_s + deviations(threshold) * self.deviation_s


def tail_phi(deviations: float) -> float:
    """φ of a silence that is so many standard deviations longer than the mean interval."""
    exponent = deviations * (_LINEAR + _CUBIC * deviations * deviations)
    if exponent > 0:  # log10(1 + e^x) without overflow
        return (exponent + math.log1p(math.exp(-exponent))) / math.log(10)
    return math.log1p(math.exp(exponent)) / math.log(10)


@lru_cache(maxsize=64)
def deviations(threshold: float) -> float:
    """How many standard deviations beyond the mean φ reaches the threshold (more than 0)."""
    low, high = -_FARTHEST, _FARTHEST
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if tail_phi(middle) < threshold else (low, middle)
    return high


__all__ = ["PhiDetector", "PhiSettings", "deviations", "tail_phi"]
