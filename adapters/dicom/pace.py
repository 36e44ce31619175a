"""How fast a peer must be: deadlines between and inside messages. Pure but for the clock it is given."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from schemas.clock import Clock

_GRACE_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """How long a peer may take. Seconds."""

    artim_s: float = 10.0
    """From the connection to its whole A-ASSOCIATE-RQ, and from our last PDU to the end of the connection."""
    idle_s: float = 600.0
    """Between messages."""
    message_idle_s: float = 30.0
    """Without a byte inside a message."""
    min_bytes_per_s: int = 1_024
    """Of a message that has lasted for more than 30 s."""
    response_s: float = 60.0
    """From a request of ours to each of its responses."""


class Pace:
    """The progress of what comes in. Time in which we were not ready to read is not the peer's."""

    def __init__(self, deadlines: Deadlines, clock: Clock) -> None:
        self._deadlines = deadlines
        self._clock = clock
        self._began_s = clock.monotonic_s()
        """Of the present message, or of the pause between two."""
        self._bytes = 0

    def begin(self) -> None:
        """A message begins."""
        self._began_s, self._bytes = self._clock.monotonic_s(), 0

    end = begin

    def add(self, count: int) -> None:
        """So many bytes of the present message came."""
        self._bytes += count

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """While we wait for ourselves."""
        from_s = self._clock.monotonic_s()
        try:
            yield
        finally:
            self._began_s += self._clock.monotonic_s() - from_s

    def left_s(self, *, is_between: bool, is_working: bool) -> float:
        """How long the next bytes may take; 0.0 when a message is too slow already.

        `is_working`: requests are being performed or await their responses, so that silence is no idleness.
        """
        deadlines = self._deadlines
        lasted_s = self._clock.monotonic_s() - self._began_s
        if is_between:
            return deadlines.idle_s if is_working else max(0.0, deadlines.idle_s - lasted_s)
        over_s = lasted_s - _GRACE_S
        if over_s > 0 and self._bytes < deadlines.min_bytes_per_s * over_s:
            return 0.0
        return deadlines.message_idle_s

    @property
    def words(self) -> str:
        """The deadlines, with the names of their settings."""
        deadlines = self._deadlines
        return (
            f"idle_timeout_s {deadlines.idle_s:g}, message_timeout_s {deadlines.message_idle_s:g},"
            f" min_bytes_per_s {deadlines.min_bytes_per_s} after {_GRACE_S:g} s"
        )


__all__ = ["Deadlines", "Pace"]
