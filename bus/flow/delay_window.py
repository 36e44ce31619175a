"""A window that fills the line and not the buffers before it, from round-trip times alone.

What exceeds the shortest round trip is waiting time, so `limit * (1 - base / rtt)` bytes of ours stand in a queue. Each
round trip moves the window half-way to where that would be `queue_bytes` and a little more (FAST TCP: Jin, Wei, Low,
INFOCOM 2004). Senders that share a line meet at the same window, since each wants the same queue of its own.

The shortest round trip is measured anew every ten seconds, with a quarter of the window for two round trips: otherwise
our own queue would become part of it. The same is done at once when the window shrinks and the waiting does not: then
the path has become longer, or someone else fills the queue, and holding back would only starve us.
"""

from __future__ import annotations

import math
from typing import Final

from bus.flow.windows import KIBIBYTE, RoundTrips, WindowLimits

_NOISE_S: Final = 0.001
"""Waiting below it is the scheduler's or the disk's, not the line's ..."""
_SHORTEST_S: Final = 1e-6
"""No round trip is shorter, whatever a coarse clock says."""
_NOISE_SHARE: Final = 1 / 16
"""... and so is this share of the shortest round trip."""
_GROWTH_SHARE: Final = 1 / 16
"""Share of the window that may stand in the queue besides `queue_bytes`: large windows grow faster."""
_MEASURE_EVERY_S: Final = 10.0
"""Without a round trip as short as the shortest known for so long, it is measured anew ..."""
_SAME_SHARE: Final = 1 / 32
"""... where so much longer is as short: senders that share a line see each other measure, and measure together."""
_MEASURE_ROUNDS: Final = 2
_MEASURE_WITH: Final = 1 / 4
"""Share of the window that is used while measuring."""
_FUTILE_ROUNDS: Final = 2
"""The window shrank below `_MUCH_SMALLER` of itself, and for so many rounds the waiting stayed above `_SAME_WAIT`."""
_MUCH_SMALLER: Final = 0.6
_SAME_WAIT: Final = 0.9


class DelayWindow:
    """Slow start, then as much as keeps a short queue; halved by losses, never grown while it is not used."""

    def __init__(
        self, limits: WindowLimits | None = None, *, queue_bytes: int = 16 * KIBIBYTE
    ) -> None:
        self._limits = limits or WindowLimits()
        self._queue_bytes = queue_bytes
        self._limit = float(self._limits.first_bytes)
        self._threshold = math.inf
        """Slow start ends here at the latest."""
        self._starting = True
        self._in_flight = 0
        self._trips = RoundTrips()
        self._base_s = math.inf
        self._round_end_s = -math.inf
        self._round_min_s = math.inf
        self._round_was_full = False
        self._pace = 1.0
        """Doubles with each round without waiting, so that a line that became free is soon used."""
        self._last_sent_s = 0.0
        self._deaf_until_s = 0.0
        self._measured_s = 0.0
        """When a round trip as short as the shortest was last seen."""
        self._measuring = 0
        """Rounds of the measurement left."""
        self._futile = 0
        self._before_shrinking = 0.0
        self._wait_before_s = 0.0

    @property
    def limit(self) -> int:
        """Bytes that may be under way now."""
        share = _MEASURE_WITH if self._measuring else 1.0
        return int(self._limits.within(self._limit * share))

    @property
    def in_flight(self) -> int:
        """Bytes that are under way now."""
        return self._in_flight

    @property
    def base_s(self) -> float:
        """The shortest round trip known, in seconds; infinite before the first answer."""
        return self._base_s

    def may_send(self, size: int) -> bool:
        """Whether `size` bytes more fit."""
        return self._in_flight == 0 or self._in_flight + size <= self.limit

    def sent(self, size: int, now_s: float) -> None:
        """`size` bytes are under way."""
        if not self._in_flight and now_s - self._last_sent_s > self._limits.idle_s:
            self._restart()
        self._in_flight += size
        self._last_sent_s = now_s
        self._round_was_full |= 4 * self._in_flight >= 3 * self.limit

    def _restart(self) -> None:
        """After a pause: begin small, but find back quickly to what was known."""
        self._threshold = max(self._limit, float(self._limits.first_bytes))
        self._limit = min(self._limit, float(self._limits.first_bytes))
        self._starting = True
        self._round_end_s = -math.inf
        self._round_min_s = math.inf

    def acknowledged(self, size: int, now_s: float, rtt_s: float | None) -> None:
        """Learn from an answer; once a round trip the window is set anew."""
        self._in_flight = max(0, self._in_flight - size)
        if rtt_s is None:
            return
        if not self._trips.seen(rtt_s):
            self._shrink(now_s)
            return
        rtt_s = max(rtt_s, _SHORTEST_S)
        self._round_min_s = min(self._round_min_s, rtt_s)
        if rtt_s <= self._base_s * (1 + _SAME_SHARE):
            self._base_s = min(self._base_s, rtt_s)
            self._measured_s = now_s
        if self._starting and self._round_was_full:
            self._limit = self._limits.within(self._limit + size)
        if now_s >= self._round_end_s:
            self._end_round(now_s)

    def lost(self, size: int, now_s: float) -> None:
        """Halve, once a round trip."""
        self._in_flight = max(0, self._in_flight - size)
        self._shrink(now_s)

    def _shrink(self, now_s: float) -> None:
        if now_s < self._deaf_until_s:
            return
        self._threshold = self._limits.within(self._limit / 2)
        self._limit = self._threshold
        self._starting = False
        self._pace = 1.0
        self._deaf_until_s = now_s + self._trips.smoothed_s

    # once a round trip

    def _end_round(self, now_s: float) -> None:
        rtt_s = self._round_min_s
        if self._measuring:
            self._measure(rtt_s, now_s)
        else:
            self._adjust(self._wait_s(rtt_s))
            if self._futile >= _FUTILE_ROUNDS or now_s - self._measured_s >= _MEASURE_EVERY_S:
                self._measuring = _MEASURE_ROUNDS
        self._round_end_s = now_s + rtt_s
        self._round_min_s = math.inf
        self._round_was_full = 4 * self._in_flight >= 3 * self.limit

    def _wait_s(self, rtt_s: float) -> float:
        return max(0.0, rtt_s - self._base_s * (1 + _NOISE_SHARE) - _NOISE_S)

    def _measure(self, rtt_s: float, now_s: float) -> None:
        self._measuring -= 1
        if self._measuring:
            return  # answers to what was sent before the pause
        if self._futile >= _FUTILE_ROUNDS and self._wait_s(rtt_s) > self._wait_before_s / 2:
            self._limit = self._before_shrinking
        self._base_s = rtt_s
        self._measured_s = now_s
        self._futile = 0

    def _adjust(self, wait_s: float) -> None:
        if self._starting:
            if wait_s == 0.0 and self._limit < self._threshold:
                return
            self._starting = False
        growth = _GROWTH_SHARE * self._limit + self._queue_bytes * self._pace
        fitting = self._limit * self._base_s / (self._base_s + wait_s) + growth
        target = min(fitting, 2 * self._limit)
        if target > self._limit and not self._round_was_full:
            return
        self._pace = self._pace * 2 if wait_s == 0.0 and fitting < 2 * self._limit else 1.0
        self._note_futility(wait_s, is_shrinking=target < self._limit)
        self._limit = self._limits.within((self._limit + target) / 2)

    def _note_futility(self, wait_s: float, *, is_shrinking: bool) -> None:
        if not is_shrinking or wait_s < _SAME_WAIT * self._wait_before_s:
            self._futile = 0
            self._before_shrinking = self._limit
            self._wait_before_s = wait_s
        elif self._limit < _MUCH_SMALLER * self._before_shrinking:
            self._futile += 1


__all__ = ["DelayWindow"]
