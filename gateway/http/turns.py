"""Work that all has the same time: one timer for everything in hand, where each piece would have set one of its own."""

from __future__ import annotations

import asyncio
from typing import Protocol


class Waits(Protocol):
    """What is told when its time is over. It is known by its identity."""

    def late(self) -> None:
        """Its time is over; it is waited for no more."""
        ...


class Turns:
    """Tells what is still there `after_s` after it was added, oldest first. It serves one event loop.

    Adding and removing cost a look-up each.
    """

    __slots__ = ("_timer", "_waiting", "after_s")

    def __init__(self, after_s: float) -> None:
        self.after_s = after_s
        """Seconds."""
        self._waiting: dict[Waits, float] = {}
        """When each is due; their time is the same, so they stand in the order in which they are."""
        self._timer: asyncio.TimerHandle | None = None

    def add(self, one: Waits) -> None:
        """Tell it when its time is over."""
        loop = asyncio.get_running_loop()
        self._waiting[one] = due_s = loop.time() + self.after_s
        if self._timer is None:
            self._timer = loop.call_at(due_s, self._look)

    def remove(self, one: Waits) -> None:
        """Do not tell it; nothing where it was told."""
        self._waiting.pop(one, None)

    def _look(self) -> None:
        """Tell those whose time is over; come again for the next, if there is one."""
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        due: list[Waits] = []
        self._timer = None
        for one, due_s in self._waiting.items():
            if due_s > now_s:
                self._timer = loop.call_at(due_s, self._look)
                break
            due.append(one)
        for one in due:
            del self._waiting[one]
        for one in due:
            one.late()


__all__ = ["Turns", "Waits"]
