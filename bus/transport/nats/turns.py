"""The order of concurrent `store` calls: several may be under way, and what they store keeps the order of the calls.

Over one connection the server works messages in the order sent, so a call may send as soon as every earlier one has
sent on the same connection. A call in doubt holds later ones back, and mends only when every earlier call has ended.
Where a later call's message is stored already, its own doubtful messages are not sent again: their callers are told.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable


class Turn:
    """One call of `store`."""

    __slots__ = ("generation", "in_doubt", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.generation = 0
        """Which connection carried its messages; 0 while they are not sent."""
        self.in_doubt = False


class Turns:
    """All calls that have not returned, in the order in which they began."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._line: dict[int, Turn] = {}
        self._changed = asyncio.Event()
        self._last_stored = 0

    def take(self) -> Turn:
        """Join the line."""
        turn = Turn(next(self._numbers))
        self._line[turn.number] = turn
        return turn

    def leave(self, turn: Turn) -> None:
        """The call has returned."""
        self._line.pop(turn.number, None)
        self._tell()

    async def to_send(self, turn: Turn, generation: Callable[[], int]) -> None:
        """Return when this call may send on the present connection."""
        while any(
            earlier.in_doubt or earlier.generation != generation() for earlier in self._before(turn)
        ):
            await self._changed.wait()

    def sent(self, turn: Turn, generation: int) -> None:
        """Everything of this call is on its way: the next may send."""
        turn.generation = generation
        self._tell()

    def stored(self, turn: Turn) -> None:
        """A message of this call is stored."""
        self._last_stored = max(self._last_stored, turn.number)

    async def to_mend(self, turn: Turn) -> bool:
        """Hold later calls back, and return when the earlier ones have ended: whether sending again keeps the order."""
        turn.in_doubt = True
        while self._before(turn):
            await self._changed.wait()
        return self._last_stored <= turn.number

    def _before(self, turn: Turn) -> list[Turn]:
        return [earlier for number, earlier in self._line.items() if number < turn.number]

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


__all__ = ["Turn", "Turns"]
