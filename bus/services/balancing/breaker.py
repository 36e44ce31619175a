"""A circuit breaker: closed, open for a while, half-open for one probe; open longer at each repeat."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Gate(Enum):
    """Whether calls pass."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    """Its time is over: one call at a time finds out whether the instance works again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenTimes:
    """How long a breaker stays open."""

    first_s: float = 1.0
    longest_s: float = 30.0
    """Each opening soon after the last doubles the time, up to this."""
    forget_s: float = 60.0
    """Closed for so long, the next opening counts as the first."""


class Breaker:
    """One instance's breaker, for its own failures and for ejection in comparison with its peers alike."""

    __slots__ = ("_closed_s", "_is_probing", "_times", "openings", "reason", "state", "until_s")

    def __init__(self) -> None:
        self.state = Gate.CLOSED
        self.reason = ""
        """Why it opened: a stable code."""
        self.until_s = 0.0
        self.openings = 0
        """Openings in a row, for the operator and for the length of the next."""
        self._times = OpenTimes()
        self._closed_s = 0.0
        self._is_probing = False

    def open(self, now_s: float, reason: str, times: OpenTimes) -> None:
        """Let nothing pass for a while."""
        if self.state is Gate.CLOSED and now_s - self._closed_s > times.forget_s:
            self.openings = 0
        length_s = min(times.longest_s, times.first_s * 2.0 ** min(self.openings, 30))
        self.openings += 1
        self.state, self.reason, self._times = Gate.OPEN, reason, times
        self.until_s = now_s + length_s
        self._is_probing = False

    def is_due(self, now_s: float) -> bool:
        """Whether a probe may begin now."""
        return self.state is not Gate.CLOSED and now_s >= self.until_s and not self._is_probing

    def begin_probe(self) -> None:
        """One call passes; no other until it has ended."""
        self.state = Gate.HALF_OPEN
        self._is_probing = True

    def drop_probe(self) -> None:
        """The probe ended without telling anything."""
        self._is_probing = False

    def fail_probe(self, now_s: float) -> None:
        """The instance is as it was: open for longer."""
        self.open(now_s, self.reason, self._times)

    def close(self, now_s: float) -> None:
        """It works again."""
        self.state = Gate.CLOSED
        self.reason = ""
        self._closed_s = now_s
        self._is_probing = False


__all__ = ["Breaker", "Gate", "OpenTimes"]
