"""The order of concurrent `store` calls: several may be under way, and what they store keeps the order of the calls.

Over one connection the server works messages in the order sent, so a call may send as soon as every earlier one has
sent on the same connection. A call in doubt holds later ones back, and mends only when every earlier call has ended.
Where a later call's message is stored already, its own doubtful messages are not sent again: their callers are told.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter, deque
from collections.abc import Callable


class Turn:
    """One call of `store`."""

    __slots__ = ("generation", "in_doubt", "left", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.generation = 0
        """Which connection carried its messages; 0 while they are not sent."""
        self.in_doubt = False
        self.left = False


class Turns:
    """All calls that have not returned, in the order in which they began."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._line: dict[int, Turn] = {}
        self._unsent: deque[Turn] = deque()
        """Calls that have not sent, in their order; those that left without sending are passed over."""
        self._sent: Counter[int] = Counter()
        """How many calls in the line have sent, by connection."""
        self._doubts = 0
        self._waiting: list[asyncio.Future[None]] = []
        self._last_stored = 0

    def take(self) -> Turn:
        """Join the line."""
        turn = Turn(next(self._numbers))
        self._line[turn.number] = turn
        self._unsent.append(turn)
        return turn

    def leave(self, turn: Turn) -> None:
        """The call has returned."""
        if turn.left:
            return
        turn.left = True
        self._doubts -= turn.in_doubt
        self._forget_sent(turn)
        del self._line[turn.number]
        if self._waiting:
            self._tell()

    def _forget_sent(self, turn: Turn) -> None:
        if turn.generation:
            self._sent[turn.generation] -= 1
            if not self._sent[turn.generation]:
                del self._sent[turn.generation]

    def may_send(self, turn: Turn, generation: int) -> bool:
        """Whether every earlier call has sent on this connection, and none is in doubt.

        What is in doubt, or went by an earlier connection, is always earlier than a call that has not sent.
        """
        unsent = self._unsent
        while unsent and (unsent[0].left or unsent[0].generation):
            unsent.popleft()
        return (
            not self._doubts
            and bool(unsent)
            and unsent[0] is turn
            and (not self._sent or (len(self._sent) == 1 and generation in self._sent))
        )

    async def to_send(self, turn: Turn, generation: Callable[[], int]) -> None:
        """Return when this call may send on the present connection."""
        while not self.may_send(turn, generation()):
            await self._change()

    def sent(self, turn: Turn, generation: int) -> None:
        """Everything of this call is on its way: the next may send."""
        self._forget_sent(turn)
        turn.generation = generation
        self._sent[generation] += 1
        if self._waiting:
            self._tell()

    def stored(self, turn: Turn) -> None:
        """A message of this call is stored."""
        self._last_stored = max(self._last_stored, turn.number)

    async def to_mend(self, turn: Turn) -> bool:
        """Hold later calls back, and return when the earlier ones have ended: whether sending again keeps the order."""
        if not turn.in_doubt:
            turn.in_doubt = True
            self._doubts += 1
        while next(iter(self._line)) != turn.number:
            await self._change()
        return self._last_stored <= turn.number

    async def _change(self) -> None:
        change: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(change)
        await change

    def _tell(self) -> None:
        waiting, self._waiting = self._waiting, []
        for change in waiting:
            if not change.done():
                change.set_result(None)


__all__ = ["Turn", "Turns"]
