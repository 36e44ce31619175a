"""The clock of the running program; the only place that asks the operating system for the time."""

from __future__ import annotations

import time


class SystemClock:
    """`schemas.clock.Clock` read from the operating system."""

    def now_ms(self) -> int:
        """Wall-clock time in milliseconds since 1970-01-01T00:00:00Z."""
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        """Seconds from an arbitrary start; never goes back."""
        return time.monotonic()


__all__ = ["SystemClock"]
