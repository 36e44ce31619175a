"""What gathers while a commit is under way: bounded, first come first served. No task of its own."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

from bus.events.protocol import NewEvent, StoredEvent


@dataclass(eq=False, slots=True)
class Entry:
    """One caller's event on its way into a stream."""

    event: NewEvent
    message_id: bytes
    deadline_s: float
    """In the event loop's time."""
    result: asyncio.Future[StoredEvent] = field(repr=False)

    @property
    def size(self) -> int:
        """What it counts against the bounds, in bytes."""
        return len(self.event.body)

    @property
    def gone(self) -> bool:
        """Whether its caller has stopped waiting."""
        return self.result.done()


class Group:
    """Events in the order of their publish calls: admitted up to the bounds, the rest in line behind them."""

    def __init__(self, *, max_messages: int, max_bytes: int) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._entries: deque[Entry] = deque()
        self._line: deque[tuple[Entry, asyncio.Future[None]]] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        """Events admitted and not taken yet."""
        return len(self._entries)

    def _fits(self, entry: Entry) -> bool:
        # one event always fits into an empty group, however large it is
        return not self._entries or (
            len(self._entries) < self._max_messages and self._bytes + entry.size <= self._max_bytes
        )

    def offer(self, entry: Entry) -> asyncio.Future[None] | None:
        """Admit an event now (None), or return what resolves when it was admitted in its turn or has its result."""
        if not self._line and self._fits(entry):
            self._admit(entry)
            return None
        place: asyncio.Future[None] = entry.result.get_loop().create_future()
        self._line.append((entry, place))
        # whose time runs out in line is not left standing there
        entry.result.add_done_callback(lambda _: _leave(place))
        return place

    def _admit(self, entry: Entry) -> None:
        self._entries.append(entry)
        self._bytes += entry.size

    def take(self, *, max_messages: int, max_bytes: int) -> list[Entry]:
        """The next events for one commit, without those whose callers left; makes room for who waits in line."""
        taken: list[Entry] = []
        size = 0
        while self._entries and len(taken) < max_messages:
            entry = self._entries[0]
            if taken and not entry.gone and size + entry.size > max_bytes:
                break
            self._entries.popleft()
            self._bytes -= entry.size
            if not entry.gone:
                taken.append(entry)
                size += entry.size
            self._advance()
        return taken

    def _advance(self) -> None:
        while self._line:
            entry, place = self._line[0]
            if not entry.gone:
                if not self._fits(entry):
                    return
                self._admit(entry)
            self._line.popleft()
            _leave(place)


def _leave(place: asyncio.Future[None]) -> None:
    if not place.done():
        place.set_result(None)


__all__ = ["Entry", "Group"]
