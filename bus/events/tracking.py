"""Which deliveries are new: a reader's memory of what it holds, what is finished and how far it has read. Pure."""

from __future__ import annotations

from enum import Enum, auto
from typing import Protocol


class Finished(Protocol):
    """What is finished; `bus.events.ledger.Ledger` has it."""

    def is_finished(self, seq: int) -> bool:
        """Whether the sequence needs no more work."""
        ...


class Arrival(Enum):
    """What a delivery is to its reader."""

    NEW = auto()
    """The next one in stream order."""
    HELD = auto()
    """Given again while we still work on it."""
    FINISHED = auto()
    """Given again after it was finished: its acknowledgement was lost."""
    BEHIND = auto()
    """Never seen, yet below what was read: deliveries were lost, and the reader must go back."""


class Tracker:
    """Sequences in hand and the reading position."""

    def __init__(self, finished: Finished, *, start: int) -> None:
        self._finished = finished
        self._high = start - 1
        self._held: dict[int, None] = {}
        self._lost: int | None = None

    @property
    def held(self) -> int:
        """How many messages are held."""
        return len(self._held)

    def arrive(self, seq: int) -> Arrival:
        """Say what a delivery is; a new one is held from now on."""
        if seq in self._held:
            self._high = max(self._high, seq)
            return Arrival.HELD
        if self._finished.is_finished(seq):
            self._high = max(self._high, seq)
            return Arrival.FINISHED
        if seq < self._high:
            self._lost = seq if self._lost is None else min(self._lost, seq)
            return Arrival.BEHIND
        self._high = seq
        self._held[seq] = None
        return Arrival.NEW

    def finish(self, seq: int) -> None:
        """Let a message go: it is finished."""
        del self._held[seq]

    def lowest_unfinished(self) -> int:
        """Where reading must begin again after an interruption: nothing below it needs work."""
        lowest = min(self._held, default=self._high + 1)
        return lowest if self._lost is None else min(lowest, self._lost)

    def rewound(self, seq: int) -> None:
        """Deliveries come again from `seq` on, in order."""
        self._high = seq - 1
        self._lost = None


__all__ = ["Arrival", "Finished", "Tracker"]
