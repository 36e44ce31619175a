"""How many calls an instance works at a time: found by measuring, not by configuration.

A gradient on latency against a windowed minimum, as in Netflix' concurrency-limits and Envoy's adaptive concurrency:
while calls take as long as without a queue the limit grows by its square root; as they take longer it shrinks by the
ratio. The minimum must be measured anew from time to time, or a lasting overload would make a long queue look normal.
Envoy lets in next to nothing meanwhile; here the limit goes for one window to what, by Little's law, has no queue.

Chosen by simulation (tests/unit/bus/services/balancing/test_limit_choice.py): at 3 times the capacity for 40 s, answers
within 100 ms as a share of capacity, and p99 of what was admitted. This one: 0.99 to 1.00, 105 to 121 ms (71 ms
without `brief_s`). Gradient2 against a long-term mean: 0.96 to 0.99, 101 to 115 ms. AIMD: 0.90, 122 ms with a latency
bound that fits the method, 0.05 with one that does not; and there is one bound for all methods.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Final

_LEAST_GRADIENT: Final = 0.5
_MEAN_SHARE: Final = 0.3
"""How much a window counts in the mean: one lucky window must not become the minimum."""


_SHORTEST_S: Final = 1e-5
"""A call that began and ended within one reading of the clock took some time all the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSettings:
    """Bounds and pace of an adaptive limit."""

    least: int = 4
    """Never fewer; also what a wrong measurement cannot take away."""
    most: int = 1024
    first: int = 100
    brief_s: float = 0.04
    """As many calls as are answered in this time, at the pace of late, are let in whatever the gradient says: a wait
    that short harms nobody, and where all work shares one processor every second call in work looks like a queue."""
    tolerance: float = 2.0
    """The limit shrinks when calls take longer than the minimum by this factor."""
    smoothing: float = 0.5
    """Share of each step that is taken."""
    window_s: float = 0.1
    window_calls: int = 20
    """A window ends after both, or after ten times its length."""
    measure_every_s: float = 15.0
    """The minimum is measured anew when it is older than this and the limit is in use."""


class GradientLimit:
    """The limit as a value: tell it latencies, read `limit`."""

    __slots__ = (
        "_base_at_s",
        "_calls",
        "_ends_s",
        "_is_measuring",
        "_limit",
        "_pace_per_s",
        "_peak",
        "_settings",
        "_sum_s",
        "_was_short",
        "base_s",
        "mean_s",
    )

    def __init__(self, settings: LimitSettings, now_s: float) -> None:
        self._settings = settings
        self._limit = float(min(settings.most, max(settings.least, settings.first)))
        self.base_s = 0.0
        """Mean latency of the fastest recent window; 0 until one was measured."""
        self.mean_s = 0.0
        """Mean latency of the last windows."""
        self._base_at_s = now_s
        self._is_measuring = False
        self._pace_per_s = 0.0
        self._sum_s = 0.0
        self._calls = 0
        self._peak = 0
        self._was_short = False
        self._ends_s = now_s + settings.window_s

    @property
    def limit(self) -> int:
        """How many calls may be in work now."""
        settings = self._settings
        share = self._unqueued if self._is_measuring else 1.0
        at_least = max(settings.least, min(settings.most, int(self._pace_per_s * settings.brief_s)))
        return max(at_least, int(self._limit * share))

    def refused(self) -> None:
        """A call was turned away: the limit is too small for what comes."""
        self._was_short = True

    def observe(self, took_s: float, in_flight: int, now_s: float) -> None:
        """Take in one latency and how many were in work."""
        settings = self._settings
        if self._is_measuring and in_flight > self.limit:
            self._begin(now_s)  # what began under the old limit still waits for one another
            return
        self._sum_s += max(took_s, _SHORTEST_S)
        self._calls += 1
        self._peak = max(self._peak, in_flight)
        if now_s < self._ends_s:
            return
        if self._calls >= settings.window_calls or now_s >= self._ends_s + 9 * settings.window_s:
            self._step(now_s)
            self._begin(now_s)

    @property
    def _unqueued(self) -> float:
        """The share of the limit that is in work and not in a queue, by Little's law."""
        return min(1.0, self.base_s / self.mean_s) if self.mean_s else 1.0

    def _begin(self, now_s: float) -> None:
        self._ends_s = now_s + self._settings.window_s
        self._sum_s = 0.0
        self._calls = 0
        self._peak = 0
        self._was_short = False

    def _step(self, now_s: float) -> None:
        settings = self._settings
        pace_per_s = self._calls / (now_s - self._ends_s + settings.window_s)
        self._pace_per_s += (pace_per_s - self._pace_per_s) * (
            _MEAN_SHARE if self._pace_per_s else 1.0
        )
        mean_s = self._sum_s / self._calls
        if self._is_measuring:
            self._is_measuring = False
            self.base_s, self._base_at_s = mean_s, now_s
            return
        self.mean_s += (mean_s - self.mean_s) * (_MEAN_SHARE if self.mean_s else 1.0)
        mean_s = self.mean_s
        is_at_floor = self._limit <= settings.least
        if not self.base_s or mean_s <= self.base_s or is_at_floor:
            self.base_s, self._base_at_s = mean_s, now_s
        is_used = self._was_short or self._peak >= 0.8 * self._limit
        gradient = min(1.0, max(_LEAST_GRADIENT, settings.tolerance * self.base_s / mean_s))
        if is_used:
            wanted = self._limit * gradient + sqrt(self._limit)
            step = settings.smoothing * (wanted - self._limit)
            self._limit = min(settings.most, max(settings.least, self._limit + step))
            self._is_measuring = now_s - self._base_at_s > settings.measure_every_s


__all__ = ["GradientLimit", "LimitSettings"]
