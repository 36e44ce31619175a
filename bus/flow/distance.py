"""Whether the store is near or far. Near, groups make it fast; far, only keeping the line filled does."""

from __future__ import annotations

from collections import deque
from typing import Final

LONG_S: Final = 0.008
"""A round trip from here on is a long one: an atomic batch (about 10 ms on the server) no longer hides it."""
_PROBES: Final = 3
_EVERY_S: Final = 30.0


class Distance:
    """Judges by the shortest of the last few probes: load makes a near store slow, but nothing makes a far one fast."""

    def __init__(self, long_s: float = LONG_S) -> None:
        self.long_s = long_s
        """A round trip from here on is a long one."""
        self._probes: deque[float] = deque(maxlen=_PROBES)
        self._probed_s: float | None = None
        self._is_doubted = False

    @property
    def is_long(self) -> bool:
        """Whether the way is a long one; False while nothing is known."""
        return bool(self._probes) and min(self._probes) >= self.long_s

    @property
    def rtt_s(self) -> float:
        """The shortest probe that still counts, in seconds; 0 while nothing is known."""
        return min(self._probes, default=0.0)

    def is_due(self, now_s: float) -> bool:
        """Whether another probe is worth its packet."""
        return self._probed_s is None or now_s - self._probed_s >= _EVERY_S

    def begun(self, now_s: float) -> None:
        """A probe is on its way, or one failed: none is due for a while."""
        self._probed_s = now_s

    def probed(self, rtt_s: float) -> None:
        """A probe came back; an answer of the store that came sooner than any probe counts as one, too."""
        if self._is_doubted:
            self._probes.clear()
            self._is_doubted = False
        self._probes.append(rtt_s)

    def doubt(self) -> None:
        """The connection may lead elsewhere now: what was known holds until the next probe, which is due at once."""
        self._is_doubted = True
        self._probed_s = None


__all__ = ["LONG_S", "Distance"]
