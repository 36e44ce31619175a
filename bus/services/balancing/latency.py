"""How long answers take: a peak-sensitive mean for choosing, a histogram for "unusually late"."""

from __future__ import annotations

import math
from typing import Final


class PeakEwma:
    """A mean that jumps to a peak at once and forgets it over `decay_s`; without answers it falls towards zero.

    The cost of Finagle's "peak EWMA": a slow answer counts at once, and an instance that was avoided is tried again.
    """

    __slots__ = ("_at_s", "_cost_s", "_decay_s")

    def __init__(self, decay_s: float, now_s: float, *, first_s: float = 0.0) -> None:
        self._decay_s = decay_s
        self._at_s = now_s
        self._cost_s = first_s

    def observe(self, took_s: float, now_s: float) -> None:
        """Take in one answer."""
        cost_s = self.at(now_s)
        if took_s >= cost_s:
            self._cost_s = took_s
        else:
            kept = math.exp((self._at_s - now_s) / self._decay_s)
            self._cost_s = self._cost_s * kept + took_s * (1.0 - kept)
        self._at_s = now_s

    def at(self, now_s: float) -> float:
        """Seconds that an answer is thought to take now; 0 when nothing is known."""
        if self._cost_s == 0.0:
            return 0.0
        return self._cost_s * math.exp((self._at_s - now_s) / self._decay_s)


_STEPS: Final = 8
"""Buckets for each doubling: a quantile is at most 9 % too high."""
_LEAST_S: Final = 1e-5
_BUCKETS: Final = 200
_HALVE_AT: Final = 4096
_LOOK_EVERY: Final = 32


class LatencyHistogram:
    """Recent latencies of one method in logarithmic buckets; old ones fade as new ones come."""

    __slots__ = ("_counts", "_quantile", "_seen", "_total", "_value_s")

    def __init__(self, quantile: float) -> None:
        self._quantile = quantile
        self._counts = [0] * _BUCKETS
        self._total = 0
        self._seen = 0
        self._value_s = 0.0

    def observe(self, took_s: float) -> None:
        """Take in one latency."""
        place = int(math.log2(took_s / _LEAST_S) * _STEPS) + 1 if took_s > _LEAST_S else 0
        self._counts[min(place, _BUCKETS - 1)] += 1
        self._total += 1
        self._seen += 1
        if self._total >= _HALVE_AT:
            self._counts = [count // 2 for count in self._counts]
            self._total = sum(self._counts)
        if self._seen % _LOOK_EVERY == 0:
            self._value_s = self._look()

    @property
    def value_s(self) -> float:
        """The quantile, rounded up to its bucket; 0 until 32 latencies were seen. At most 32 answers old."""
        return self._value_s

    def _look(self) -> float:
        left = self._total * (1.0 - self._quantile)
        for place in range(_BUCKETS - 1, -1, -1):
            left -= self._counts[place]
            if left < 0:
                return _LEAST_S * float(2.0 ** (place / _STEPS))
        return _LEAST_S


__all__ = ["LatencyHistogram", "PeakEwma"]
