"""The way to the store as publishers see it: near or far, and what is under way over it.

Near, nothing is bounded here: groups grow as the store is slow, which is what makes it fast. Far, a window keeps the
line filled and its buffers empty, so that a stat event never stands behind seconds of bulk. Which of the two holds is
measured, not configured. Publishers that share a connection share its path.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from bus.flow import DelayWindow, Distance, Window
from schemas.clock import Clock

_CHUNKS: Final = 8
"""A commit over a long way takes an eighth of the window: one signature for many, without leaving the line idle."""


class StorePath:
    """One connection's way to the store."""

    def __init__(
        self, clock: Clock, *, window: Window | None = None, distance: Distance | None = None
    ) -> None:
        self._clock = clock
        self._window = window or DelayWindow()
        self._distance = distance or Distance()
        self._wakes: deque[Callable[[], None]] = deque()

    @property
    def is_long(self) -> bool:
        """Whether the window bounds what is under way."""
        return self._distance.is_long

    @property
    def window_bytes(self) -> int:
        """How much may be under way when the way is long."""
        return self._window.limit

    @property
    def in_flight(self) -> int:
        """Bytes under way."""
        return self._window.in_flight

    @property
    def rtt_s(self) -> float:
        """The shortest round trip that is known, in seconds; 0 while nothing is."""
        return self._distance.rtt_s

    def join(self, wake: Callable[[], None]) -> None:
        """Call back when there may be room again."""
        self._wakes.append(wake)

    def leave(self, wake: Callable[[], None]) -> None:
        """Stop calling back."""
        if wake in self._wakes:
            self._wakes.remove(wake)

    def took_turn(self, wake: Callable[[], None]) -> None:
        """Whoever took the room that there was is asked last when there is room again."""
        if self._wakes[-1] is not wake:
            self.leave(wake)
            self.join(wake)

    # how far it is

    def probe_begins(self) -> bool:
        """Whether a probe should be sent now; then it counts as begun."""
        now_s = self._clock.monotonic_s()
        if not self._distance.is_due(now_s):
            return False
        self._distance.begun(now_s)
        return True

    def probed(self, rtt_s: float) -> None:
        """A probe came back after `rtt_s`."""
        was_long = self.is_long
        self._distance.probed(rtt_s)
        if was_long and not self.is_long:
            self._wake()

    # what is under way

    def room(self, first: int, waiting: int, *, is_urgent: bool) -> int:
        """Bytes that the next commit may take, 0 for none: `first` of `waiting` in all goes next."""
        if not self._window.may_send(first):
            return 0
        room = self._window.limit - self._window.in_flight
        is_worth_it = is_urgent or room >= min(waiting, self._window.limit // _CHUNKS)
        if not is_worth_it and self._window.in_flight:
            return 0
        return max(first, min(room, self._window.limit // _CHUNKS))

    def sent(self, size: int) -> None:
        """`size` bytes are under way."""
        self._window.sent(size, self._clock.monotonic_s())

    def acknowledged(self, size: int, rtt_s: float | None) -> None:
        """They were answered after `rtt_s`; None where the answer says nothing about the way."""
        self._window.acknowledged(size, self._clock.monotonic_s(), rtt_s)
        if rtt_s is not None and self.is_long and rtt_s < self._distance.long_s:
            self.probed(rtt_s)
        self._wake()

    def lost(self, size: int) -> None:
        """What became of them is not known: the line was away, and may lead elsewhere when it is back."""
        self._window.lost(size, self._clock.monotonic_s())
        self._distance.doubt()
        self._wake()

    def _wake(self) -> None:
        if self.is_long or not self._window.in_flight:
            for wake in tuple(self._wakes):
                wake()


__all__ = ["StorePath"]
