"""Many deadlines on few timers: those that end within the same moment share one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Generic, TypeVar

_TICK_S: Final = 0.01
"""How late a deadline may be seen; never early."""

K = TypeVar("K")


class Deadlines(Generic[K]):
    """Calls `expired` for each key whose time ends. Whose answer came takes its key out of its bucket."""

    def __init__(self, expired: Callable[[K], None]) -> None:
        self._expired = expired
        self._loop = asyncio.get_running_loop()
        self._buckets: dict[int, dict[K, None]] = {}
        self._timers: dict[int, asyncio.TimerHandle] = {}

    def add(self, key: K, timeout_s: float) -> dict[K, None]:
        """Begin the time of a key; returns its bucket. `bucket.pop(key, None)` ends it."""
        tick = int((self._loop.time() + timeout_s) / _TICK_S) + 1
        bucket = self._buckets.get(tick)
        if bucket is None:
            bucket = self._buckets[tick] = {}
            self._timers[tick] = self._loop.call_at(tick * _TICK_S, self._ring, tick)
        bucket[key] = None
        return bucket

    def _ring(self, tick: int) -> None:
        del self._timers[tick]
        for key in tuple(self._buckets.pop(tick)):
            self._expired(key)

    def clear(self) -> None:
        """Let go of every key and timer."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._buckets.clear()


__all__ = ["Deadlines"]
