"""What gathers while commits are under way, in three classes; events of one subject keep their order. No task."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final

from bus.events.protocol import NewEvent, StoredEvent
from bus.flow import FairQueue, Priority

ENVELOPE_BYTES: Final = 512
"""What seal, headers and answer add to a body on the wire, roughly."""


@dataclass(eq=False, slots=True)
class Entry:
    """One caller's event on its way into a stream."""

    event: NewEvent
    message_id: bytes
    deadline_s: float
    """In the event loop's time."""
    result: asyncio.Future[StoredEvent] = field(repr=False)
    schema_id: bytes = b""
    """Of the schema that its subject is bound to."""

    @property
    def size(self) -> int:
        """What it counts against the bounds, in bytes."""
        return len(self.event.body)

    @property
    def cost(self) -> int:
        """What it counts on the wire, in bytes."""
        return len(self.event.body) + ENVELOPE_BYTES

    @property
    def gone(self) -> bool:
        """Whether its caller has stopped waiting."""
        return self.result.done()


class Group:
    """Events that wait for a commit: those of a class in the order of their publish calls, the urgent ones first.

    See `bus.flow.fair_queue` for what "first" means: nobody starves, and no event passes one of its own subject.
    """

    def __init__(self) -> None:
        self._queue: FairQueue[Entry] = FairQueue()
        self._bytes = 0
        self._cost = 0

    def __len__(self) -> int:
        """How many wait, those whose callers left included."""
        return len(self._queue)

    @property
    def bytes(self) -> int:
        """Their bodies together."""
        return self._bytes

    @property
    def cost(self) -> int:
        """What they count on the wire together."""
        return self._cost

    @property
    def is_urgent(self) -> bool:
        """Whether a stat event waits."""
        return self._queue.is_waiting(Priority.STAT)

    def put(self, entry: Entry) -> None:
        """Append an event to its class."""
        self._queue.put(
            entry, priority=entry.event.priority, key=entry.event.subject, cost=entry.cost
        )
        self._bytes += entry.size
        self._cost += entry.cost

    def head(self) -> Entry | None:
        """What goes next; drops those whose callers left."""
        while (entry := self._queue.peek()) is not None and entry.gone:
            self._take(entry)
        return entry

    def take(self, *, max_messages: int, max_bytes: int) -> list[Entry]:
        """The next events for one commit: at least one, and no more than fit."""
        taken: list[Entry] = []
        size = 0
        while len(taken) < max_messages and (entry := self.head()) is not None:
            size += entry.cost
            if taken and size > max_bytes:
                break
            self._take(entry)
            taken.append(entry)
        return taken

    def _take(self, entry: Entry) -> None:
        self._queue.take(is_free=entry.gone)
        self._bytes -= entry.size
        self._cost -= entry.cost


__all__ = ["ENVELOPE_BYTES", "Entry", "Group"]
