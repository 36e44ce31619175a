"""How much may be under way to a store that is far away: the seam, its bounds, and what both windows share.

A window counts bytes that were sent and have no answer yet. Whoever sends asks `may_send`, tells `sent`, and for each
of these bytes later exactly one of `acknowledged` and `lost`. Times are the caller's monotonic seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

KIBIBYTE: Final = 1024


class Window(Protocol):
    """Bounds what is under way; never so tightly that nothing could be sent for ever."""

    @property
    def limit(self) -> int:
        """Bytes that may be under way now."""
        ...

    @property
    def in_flight(self) -> int:
        """Bytes that are under way now; above `limit` only while it shrinks, or for one event larger than it."""
        ...

    def may_send(self, size: int) -> bool:
        """Whether `size` bytes more fit. One event always may when nothing is under way, however large it is."""
        ...

    def sent(self, size: int, now_s: float) -> None:
        """`size` bytes are under way."""
        ...

    def acknowledged(self, size: int, now_s: float, rtt_s: float | None) -> None:
        """They were answered after `rtt_s`; None when the answer says nothing about the link."""
        ...

    def lost(self, size: int, now_s: float) -> None:
        """No answer came in time, or the connection broke: what became of them is not known."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowLimits:
    """Bounds of a window. The defaults fit links from 1 Mbit/s to 600 Mbit/s at 100 ms without a setting."""

    smallest_bytes: int = 16 * KIBIBYTE
    """Left after any number of losses: enough to go on, and 130 ms of a line of 1 Mbit/s."""
    first_bytes: int = 64 * KIBIBYTE
    """At the start and after a long pause; doubled each round trip until a queue builds up."""
    largest_bytes: int = 8 * KIBIBYTE * KIBIBYTE
    """What socket buffers hold; more would only wait in this process."""
    idle_s: float = 5.0
    """After so long without sending, what was learned about the free rate is not trusted any more."""

    def __post_init__(self) -> None:
        if not 0 < self.smallest_bytes <= self.first_bytes <= self.largest_bytes:
            raise ValueError(
                f"window bounds {self.smallest_bytes}, {self.first_bytes}, {self.largest_bytes}: smallest, first and "
                "largest must be above 0 and in this order"
            )

    def within(self, size: float) -> float:
        """`size`, brought between the smallest and the largest window."""
        return min(float(self.largest_bytes), max(float(self.smallest_bytes), size))


class RoundTrips:
    """Smoothed round-trip time, and what counts as an answer that came too late to be one (RFC 6298 §2)."""

    def __init__(self) -> None:
        self.smoothed_s = 0.0
        """0 before the first sample."""

    def seen(self, rtt_s: float) -> bool:
        """Take a sample; False when it is so late that it must count as a loss instead, and is left out."""
        if self.smoothed_s == 0.0:
            self.smoothed_s = rtt_s
            return True
        if rtt_s > self.patience_s:
            return False
        self.smoothed_s += (rtt_s - self.smoothed_s) / 8
        return True

    @property
    def patience_s(self) -> float:
        """Answers that took longer came over a link that was away."""
        return max(_SHORTEST_PATIENCE_S, 4 * self.smoothed_s)


_SHORTEST_PATIENCE_S: Final = 1.0

__all__ = ["KIBIBYTE", "RoundTrips", "Window", "WindowLimits"]
