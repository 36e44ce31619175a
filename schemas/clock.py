"""Time as an argument. Tests own a clock; the program passes `bus.clock.SystemClock`."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Two readings, two purposes: dates for the wire, intervals for waiting."""

    def now_ms(self) -> int:
        """Wall-clock time in milliseconds since 1970-01-01T00:00:00Z."""
        ...

    def monotonic_s(self) -> float:
        """Seconds from an arbitrary start; never goes back."""
        ...


class FakeClock:
    """A clock that a test moves by hand."""

    def __init__(self, now_ms: int = 1_800_000_000_000) -> None:
        self._now_ms = now_ms
        self._monotonic_s = 0.0

    def now_ms(self) -> int:
        """Return the time set so far, in milliseconds since the epoch."""
        return self._now_ms

    def monotonic_s(self) -> float:
        """Return the seconds advanced so far."""
        return self._monotonic_s

    def advance(self, seconds: float) -> None:
        """Move both readings forward by `seconds`."""
        self._now_ms += round(seconds * 1000)
        self._monotonic_s += seconds


__all__ = ["Clock", "FakeClock"]
