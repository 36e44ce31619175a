"""The events that were read last, for all who follow the same patterns. No input or output."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from dataclasses import dataclass, field

from bus.events.protocol import ReceivedEvent


@dataclass(frozen=True, slots=True)
class Followed:
    """One step: an event, or only how far the events were looked through."""

    seq: int
    event: ReceivedEvent | None = None
    rendered: dict[str, bytes] = field(default_factory=dict, compare=False, repr=False)
    """What followers have made of it, by form: made once for all of them."""


class Ring:
    """The end of the stream as far as it was read, bounded in events and bytes."""

    def __init__(self, after_seq: int, *, max_events: int, max_bytes: int) -> None:
        self.floor = after_seq
        """Whoever stands at this position or behind it finds here what comes next."""
        self.covered = after_seq
        """Every event up to this position was read."""
        self.failure: Exception | None = None
        """Why nothing more will come."""
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._seqs: list[int] = []
        self._steps: list[Followed] = []
        self._bytes = 0
        self._changed = asyncio.Event()

    def add(self, step: Followed) -> None:
        """The next event that was read."""
        self._seqs.append(step.seq)
        self._steps.append(step)
        self._bytes += _size(step)
        if len(self._seqs) > 2 * self._max_events or self._bytes > 2 * self._max_bytes:
            self._shrink()
        self.cover(step.seq)

    def cover(self, seq: int) -> None:
        """Everything up to there was looked through."""
        self.covered = max(self.covered, seq)
        self._tell()

    def fail(self, error: Exception) -> None:
        """Nothing more will come."""
        self.failure = error
        self._tell()

    def after(self, position: int) -> Followed | None:
        """The first event behind a position that is not below `floor`; None when it has not come yet."""
        at = bisect_right(self._seqs, position)
        return self._steps[at] if at < len(self._steps) else None

    async def changed(self) -> None:
        """Wait for the next change."""
        await self._changed.wait()

    def _tell(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _shrink(self) -> None:
        """Let go of the older half: rarely much instead of always one."""
        gone = 0
        while gone < len(self._seqs) - 1 and (
            len(self._seqs) - gone > self._max_events or self._bytes > self._max_bytes
        ):
            self._bytes -= _size(self._steps[gone])
            gone += 1
        self.floor = self._seqs[gone - 1]
        del self._seqs[:gone], self._steps[:gone]


def _size(step: Followed) -> int:
    return len(step.event.body) + 512 if step.event is not None else 64


__all__ = ["Followed", "Ring"]
