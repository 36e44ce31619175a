"""A window that grows by a constant each round trip and shrinks by a factor at each loss.

It fills every buffer on the way until something breaks. It stands here as the measure for `DelayWindow`, which does
not (benchmarks/congestion.py), and as the fall-back where round-trip times say nothing.
"""

from __future__ import annotations

from typing import Final

from bus.flow.windows import KIBIBYTE, RoundTrips, WindowLimits

_STEP_BYTES: Final = 4 * KIBIBYTE
_FACTOR: Final = 0.7


class AimdWindow:
    """Additive increase, multiplicative decrease; slow start at first, and below half of what failed last."""

    def __init__(self, limits: WindowLimits | None = None) -> None:
        self._limits = limits or WindowLimits()
        self._limit = float(self._limits.first_bytes)
        self._threshold = float(self._limits.largest_bytes)
        self._in_flight = 0
        self._trips = RoundTrips()
        self._last_sent_s = 0.0
        self._deaf_until_s = 0.0
        """Losses of the same round trip count once."""

    @property
    def limit(self) -> int:
        """Bytes that may be under way now."""
        return int(self._limit)

    @property
    def in_flight(self) -> int:
        """Bytes that are under way now."""
        return self._in_flight

    def may_send(self, size: int) -> bool:
        """Whether `size` bytes more fit."""
        return self._in_flight == 0 or self._in_flight + size <= self.limit

    def sent(self, size: int, now_s: float) -> None:
        """`size` bytes are under way."""
        if not self._in_flight and now_s - self._last_sent_s > self._limits.idle_s:
            self._threshold = self._limit
            self._limit = min(self._limit, float(self._limits.first_bytes))
        self._in_flight += size
        self._last_sent_s = now_s

    def acknowledged(self, size: int, now_s: float, rtt_s: float | None) -> None:
        """Grow while the window is used."""
        was_full = 4 * self._in_flight >= 3 * self._limit
        self._in_flight = max(0, self._in_flight - size)
        if rtt_s is None:
            return
        if not self._trips.seen(rtt_s):
            self._shrink(now_s)
        elif was_full:
            step = size if self._limit < self._threshold else _STEP_BYTES * size / self._limit
            self._limit = self._limits.within(self._limit + step)

    def lost(self, size: int, now_s: float) -> None:
        """Shrink, once a round trip."""
        self._in_flight = max(0, self._in_flight - size)
        self._shrink(now_s)

    def _shrink(self, now_s: float) -> None:
        if now_s < self._deaf_until_s:
            return
        self._limit = self._limits.within(self._limit * _FACTOR)
        self._threshold = self._limit
        self._deaf_until_s = now_s + self._trips.smoothed_s


__all__ = ["AimdWindow"]
