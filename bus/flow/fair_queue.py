"""Three classes share one way out: stat first, but nobody starves, and one subject's events never overtake each other.

Deficit round robin (Shreedhar, Varghese 1995) in its surplus form: in each round a class may spend its quantum, and the
last event of a round may exceed it, which the next rounds pay for. Stat is always asked first, so it waits only when
it has spent its own quantum in this round.

Order within a key wins over priority: when the turn falls on an event whose key has earlier ones in the queue, the
earliest of them goes first, in the turn and at the cost of the class that was chosen. So a stat event pulls forward
what stands before it under the same key, and a bulk event never passes a stat event of its own.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Generic, TypeVar

from bus.flow.priority import Priority
from bus.flow.windows import KIBIBYTE

T = TypeVar("T")

QUANTA: Final[Mapping[Priority, int]] = MappingProxyType(
    {
        Priority.STAT: 128 * KIBIBYTE,
        Priority.ROUTINE: 32 * KIBIBYTE,
        Priority.BULK: 8 * KIBIBYTE,
    }
)
"""Cost that each class may spend in a round: 16 to 4 to 1 while all of them wait."""
_ORDER: Final = (Priority.STAT, Priority.ROUTINE, Priority.BULK)


@dataclass(eq=False, slots=True)
class _Ticket(Generic[T]):
    item: T
    key: Hashable
    cost: int
    is_taken: bool = False


@dataclass(eq=False, slots=True)
class _Class(Generic[T]):
    quantum: int
    balance: int
    tickets: deque[_Ticket[T]] = field(default_factory=deque)

    def head(self) -> _Ticket[T] | None:
        """The first that is still waiting."""
        while self.tickets and self.tickets[0].is_taken:
            self.tickets.popleft()
        return self.tickets[0] if self.tickets else None


class FairQueue(Generic[T]):
    """A queue with three classes. `peek` and `take` agree as long as nothing is put in between."""

    def __init__(self, quanta: Mapping[Priority, int] = QUANTA) -> None:
        if any(quanta.get(one, 0) < 1 for one in _ORDER):
            raise ValueError("each class needs a quantum of at least 1")
        self._classes = [_Class[T](quanta[one], quanta[one]) for one in _ORDER]
        self._of = dict(zip(_ORDER, self._classes, strict=True))
        self._keys: dict[Hashable, deque[_Ticket[T]]] = {}
        self._waiting = 0

    def __len__(self) -> int:
        """How many wait."""
        return self._waiting

    def put(self, item: T, *, priority: Priority, key: Hashable, cost: int) -> None:
        """Append to a class. `cost` is at least 1."""
        ticket = _Ticket(item, key, max(1, cost))
        self._of[priority].tickets.append(ticket)
        line = self._keys.get(key)
        if line is None:
            line = self._keys[key] = deque()
        line.append(ticket)
        self._waiting += 1

    def is_waiting(self, priority: Priority) -> bool:
        """Whether an event of this class waits."""
        return self._of[priority].head() is not None

    def peek(self) -> T | None:
        """What goes next; None when nothing waits."""
        chosen = self._choose()
        return None if chosen is None else self._first(chosen).item

    def take(self, *, is_free: bool = False) -> T | None:
        """Remove what goes next; None when nothing waits. `is_free`: it is not worked, so nobody pays for it."""
        chosen = self._choose()
        if chosen is None:
            return None
        ticket = self._first(chosen)
        ticket.is_taken = True
        line = self._keys[ticket.key]
        line.popleft()
        if not line:
            del self._keys[ticket.key]
        self._waiting -= 1
        if not is_free:
            chosen.balance -= ticket.cost
        return ticket.item

    def _first(self, chosen: _Class[T]) -> _Ticket[T]:
        return self._keys[chosen.tickets[0].key][0]

    def _choose(self) -> _Class[T] | None:
        """The first class in the order that waits and may still spend; a new round begins when none may."""
        waiting = [one for one in self._classes if one.head() is not None]
        if not waiting:
            return None
        for one in waiting:
            if one.balance > 0:
                return one
        rounds = min(math.ceil((1 - one.balance) / one.quantum) for one in waiting)
        for one in self._classes:
            # who waits is paid for every round; nobody saves up
            one.balance = min(one.quantum, one.balance + rounds * one.quantum)
        return next(one for one in waiting if one.balance > 0)


__all__ = ["QUANTA", "FairQueue"]
