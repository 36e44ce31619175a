"""The other side of a saga's step: act once for each key, undo once, and never act after the undo.

A request can be delayed on its way while its caller has given up and sent the compensation, which then arrives first.
The compensation therefore leaves a mark under the action's key: the late action finds it and is refused.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ClassVar, Final

from bus.services.protocol import CallFailed
from bus.telemetry.counters import Counters
from bus.transactions.database import Transaction, octets, spelled, text
from bus.transactions.outbox import Outbox, OutboxTransaction
from schemas import subjects
from schemas.clock import Clock

_DONE: Final = "done"
_REFUSED: Final = "refused"
_UNDONE: Final = "undone"

_RECORD: Final = (
    "insert into medmesh_action (participant, action_key, seen_ms, outcome, answer, reason)"
    " values (?, ?, ?, ?, ?, ?) on conflict (participant, action_key) do nothing"
)
_ANSWER: Final = "update medmesh_action set answer = ? where participant = ? and action_key = ?"
_FIND: Final = (
    "select outcome, answer, reason from medmesh_action where participant = ? and action_key = ?"
)
_FORGET: Final = "delete from medmesh_action where participant = ? and seen_ms < ?"


class Undone(CallFailed):
    """The action was undone before it arrived: it is not done any more."""

    code: ClassVar[str] = "undone"


Effect = Callable[[OutboxTransaction], Awaitable[bytes]]
"""The action's statements and events in the given transaction; returns the encoded answer, which is kept."""

Undoing = Callable[[OutboxTransaction, bytes], Awaitable[None]]
"""The compensation's statements; gets the answer that the action gave."""


class Participant:
    """Works the requests of sagas on a database, in the name of one service."""

    def __init__(self, outbox: Outbox, name: str, *, clock: Clock, counters: Counters) -> None:
        self._outbox = outbox
        self._name = subjects.token(name, what="participant")
        self._dialect = outbox.database.dialect
        self._clock = clock
        self._counters = counters

    async def act(self, key: bytes, effect: Effect) -> bytes:
        """Run `effect` once for `key` (`CallContext.id`) and return its answer, now and at each repeat.

        A `CallFailed` that it raises is kept as well, after its statements were rolled back: a repeat is refused in
        the same way, even if it could succeed by then. Any other error keeps nothing: the caller tries again. Raises
        `Undone` when the compensation came first, `Unavailable`.
        """
        try:
            async with self._outbox.transaction() as transaction:
                if not await self._record(transaction.inner, key, _DONE):
                    return await self._repeat(transaction.inner, key)
                answer = await effect(transaction)
                sql = spelled(self._dialect, _ANSWER)
                await transaction.execute(sql, (answer, self._name, key))
                return answer
        except Undone:
            raise
        except CallFailed as refusal:
            return await self._refuse(key, refusal)

    async def undo(self, key: bytes, *, of: bytes, undoing: Undoing) -> None:
        """Undo the action of the key `of`, once for `key`; where it never happened, see to it that it never will."""
        async with self._outbox.transaction() as transaction:
            if await self._record(transaction.inner, of, _UNDONE):
                self._counters.add("action_forestalled", who=self._name)
                return
            outcome, answer, _ = await self._find(transaction.inner, of)
            if outcome != _DONE or not await self._record(transaction.inner, key, _DONE):
                return
            await undoing(transaction, answer)
            self._counters.add("action_undone", who=self._name)

    async def forget(self, *, older_than_s: float) -> int:
        """Delete keys older than that; how many went.

        No saga that knows them may still be running, stuck ones included: a compensation that finds no key takes its
        action for one that never happened.
        """
        limit_ms = self._clock.now_ms() - round(older_than_s * 1000)
        async with self._outbox.database.transaction() as transaction:
            return await transaction.execute(
                spelled(self._dialect, _FORGET), (self._name, limit_ms)
            )

    async def _refuse(self, key: bytes, refusal: CallFailed) -> bytes:
        async with self._outbox.transaction() as transaction:
            inner = transaction.inner
            if not await self._record(inner, key, _REFUSED, reason=refusal.reason):
                return await self._repeat(inner, key)
        raise refusal

    async def _repeat(self, transaction: Transaction, key: bytes) -> bytes:
        """Answer as before."""
        self._counters.add("action_repeated", who=self._name)
        outcome, answer, reason = await self._find(transaction, key)
        if outcome == _UNDONE:
            raise Undone(Undone.code, "its compensation came first")
        if outcome == _REFUSED:
            raise CallFailed(reason, "refused before")
        return answer

    async def _record(
        self, transaction: Transaction, key: bytes, outcome: str, *, reason: str = ""
    ) -> bool:
        row = (self._name, key, self._clock.now_ms(), outcome, b"", reason)
        return await transaction.execute(spelled(self._dialect, _RECORD), row) > 0

    async def _find(self, transaction: Transaction, key: bytes) -> tuple[str, bytes, str]:
        rows = await transaction.fetch(spelled(self._dialect, _FIND), (self._name, key))
        if not rows:
            raise LookupError("a key that was in the way is gone: it was deleted meanwhile")
        outcome, answer, reason = rows[0]
        return text(outcome), octets(answer), text(reason)


__all__ = ["Effect", "Participant", "Undoing", "Undone"]
