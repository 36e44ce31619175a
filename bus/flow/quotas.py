"""How much one service may publish: so many events and bytes a second, waiting a while, then refused.

Virtual scheduling (ITU-T I.371, GCRA): each event books the time that it takes at the allowed rate, so what waits is
let go in the order of arrival, and one event larger than a second's worth passes, at the expense of those behind it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from bus.flow.priority import Priority

EVENTS: Final = "events_per_s"
BYTES: Final = "bytes_per_s"
_BURST_S: Final = 1.0
"""What may come at once: the worth of one second."""
_ROUNDING_S: Final = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaLimits:
    """Rates of one service; 0 does not limit."""

    events_per_s: float = 0.0
    bytes_per_s: float = 0.0
    wait_s: float = 5.0
    """Who would wait longer than that is refused."""
    stat_share: float = 0.25
    """Stat events pass beyond the rates, up to this share of them; then they wait as all others."""

    @property
    def is_unlimited(self) -> bool:
        """Whether nothing is limited."""
        return not self.events_per_s and not self.bytes_per_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a quota says to one event: go after `wait_s`, or `exceeded` names the rate that refuses it."""

    wait_s: float = 0.0
    exceeded: str = ""


class _Schedule:
    """One rate: when the next event conforms."""

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._booked_s = 0.0
        """Until when the rate is booked out."""

    def wait_s(self, now_s: float) -> float:
        """Seconds until an event conforms."""
        if not self._per_s:
            return 0.0
        return max(0.0, self._booked_s - _BURST_S - now_s)

    def fits(self, now_s: float, amount: float) -> bool:
        """Whether `amount` passes now without exceeding the burst; more than a burst passes when nothing is booked."""
        if not self._per_s:
            return True
        ahead_s = max(0.0, self._booked_s - now_s)
        return ahead_s == 0.0 or ahead_s + amount / self._per_s <= _BURST_S

    def book(self, now_s: float, amount: float) -> None:
        """Take `amount` of the rate."""
        if self._per_s:
            self._booked_s = max(self._booked_s, now_s) + amount / self._per_s


class Quota:
    """The rates of one service. Times are the caller's monotonic seconds."""

    def __init__(self, limits: QuotaLimits) -> None:
        self._limits = limits
        self._events = _Schedule(limits.events_per_s)
        self._bytes = _Schedule(limits.bytes_per_s)
        self._stat_events = _Schedule(limits.events_per_s * limits.stat_share)
        self._stat_bytes = _Schedule(limits.bytes_per_s * limits.stat_share)

    def ask(
        self, size: int, priority: Priority, now_s: float, patience_s: float = math.inf
    ) -> Verdict:
        """Book one event of `size` bytes; a refused one, or one that cannot wait so long, books nothing."""
        if self._limits.is_unlimited or (
            priority is Priority.STAT and self._is_exempt(size, now_s)
        ):
            return Verdict()
        events_s, bytes_s = self._events.wait_s(now_s), self._bytes.wait_s(now_s)
        wait_s = max(events_s, bytes_s)
        if wait_s > min(patience_s, self._limits.wait_s) + _ROUNDING_S:
            return Verdict(wait_s=wait_s, exceeded=EVENTS if events_s >= bytes_s else BYTES)
        self._events.book(now_s, 1)
        self._bytes.book(now_s, size)
        return Verdict(wait_s=wait_s)

    def _is_exempt(self, size: int, now_s: float) -> bool:
        if not self._limits.stat_share:
            return False
        if not self._stat_events.fits(now_s, 1) or not self._stat_bytes.fits(now_s, size):
            return False
        self._stat_events.book(now_s, 1)
        self._stat_bytes.book(now_s, size)
        return True


__all__ = ["BYTES", "EVENTS", "Quota", "QuotaLimits", "Verdict"]
