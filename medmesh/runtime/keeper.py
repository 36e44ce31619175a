"""The retention keeper: the only one that deletes events, and only what everyone has and what is old (ADR 0005)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from bus.transport.protocol import (
    ConsumerState,
    EventStore,
    NotFound,
    StreamAdministration,
    StreamState,
)
from schemas.clock import Clock

_LOOK_AHEAD: Final = 64
"""How far past a deleted message the next one is looked for; then the place counts as young, and is kept."""


class RetentionKeeper:
    """Purges one stream from its old end."""

    def __init__(
        self,
        *,
        store: EventStore,
        administration: StreamAdministration,
        stream: str,
        keep_s: float,
        clock: Clock,
    ) -> None:
        self._store = store
        self._administration = administration
        self._stream = stream
        self._keep_ms = round(keep_s * 1000)
        self._clock = clock

    async def round(self) -> int:
        """Purge what is older than the retention and acknowledged by every durable consumer; how many went.

        Raises `MeshError`.
        """
        state = await self._store.stream_state(self._stream)
        if state.messages == 0:
            return 0
        floor = lowest_floor(await self._administration.consumers(self._stream))
        first_needed = state.last_seq + 1 if floor is None else min(floor, state.last_seq) + 1
        first_kept = await self._first_young(state, first_needed)
        if first_kept <= state.first_seq:
            return 0
        return await self._administration.purge(self._stream, up_to_seq=first_kept)

    async def _first_young(self, state: StreamState, end: int) -> int:
        """The lowest sequence from the stream's first on, at most `end`, that is not old enough to go."""
        oldest_kept_ms = self._clock.now_ms() - self._keep_ms
        low, high = state.first_seq, end
        while low < high:
            middle = (low + high) // 2
            stored_ms = await self._stored_ms(middle, high)
            if stored_ms is not None and stored_ms < oldest_kept_ms:
                low = middle + 1
            else:
                high = middle
        return low

    async def _stored_ms(self, seq: int, end: int) -> int | None:
        """When the message at `seq`, or the next one after it, was stored; None when there is none nearby."""
        for candidate in range(seq, min(end, seq + _LOOK_AHEAD)):
            try:
                return (await self._store.read(self._stream, candidate)).stored_ms
            except NotFound:
                continue
        return None


def lowest_floor(consumers: Mapping[str, ConsumerState]) -> int | None:
    """Everything up to this sequence is acknowledged by every durable consumer; None when there is no consumer."""
    return min((state.ack_floor for state in consumers.values()), default=None)


__all__ = ["RetentionKeeper", "lowest_floor"]
