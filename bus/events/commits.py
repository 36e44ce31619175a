"""Group commit into one stream: what gathered is sealed as one batch and stored with one call.

Groups grow exactly as much as the store is slow; no timer decides. A server answers a group only when all of it is on
disk, so what waits is divided into two commits under way, and one half is read, sealed and answered while the other is
written. From `large_group` events on, one commit takes everything: the store takes many at once for the price of few.
`EventStore.store` keeps the order of calls through doubt and resend.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from bus.envelope.types import Plain, SealedEnvelope
from bus.events.group import Entry, Group
from bus.events.protocol import StoredEvent
from bus.telemetry.counters import Counters
from bus.telemetry.failures import failure_fields
from bus.telemetry.log import logger
from bus.transport.protocol import EventStore, Outgoing, Stored
from schemas.errors import MeshError, Unavailable

_log = logger(__name__)
_COMMITS_UNDER_WAY: Final = 2
_WORTH_A_COMMIT: Final = 4
"""Fewer events wait for the commit under way instead of taking a signature of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitLimits:
    """How much gathers, and how much one commit takes."""

    gathered_messages: int = 4096
    """Publish calls beyond it wait in line."""
    gathered_bytes: int = 32 * 1024 * 1024
    commit_messages: int = 256
    """Leaves under one signature: larger costs a longer proof in each envelope."""
    commit_bytes: int = 4 * 1024 * 1024
    large_group: int = 48
    """From so many events on they go as one commit, alone: twice the size at which the store makes a batch of them."""


Seal = Callable[[Sequence[Plain]], Awaitable[Sequence[SealedEnvelope | MeshError]]]
"""Seal messages with their key packages published; one result each."""


class Commits:
    """The commits into one stream."""

    def __init__(
        self,
        *,
        stream: str,
        store: EventStore,
        seal: Seal,
        plain: Callable[[Entry], Plain],
        counters: Counters,
        limits: CommitLimits,
    ) -> None:
        self._stream = stream
        self._store = store
        self._seal = seal
        self._plain = plain
        self._counters = counters
        self._limits = limits
        self._group = Group(max_messages=limits.gathered_messages, max_bytes=limits.gathered_bytes)
        self._running: set[asyncio.Task[None]] = set()
        self._under_way = 0
        """Events of the running commits without an answer yet."""
        self._begin_planned = False
        self._stopped = False

    async def add(self, entry: Entry) -> None:
        """Let an event join the next commit; returns when it was admitted."""
        place = self._group.offer(entry)
        self._plan()
        if place is not None:
            self._counters.add("publish_waited", who=self._stream, reason="gathered_full")
            await place

    def _plan(self) -> None:
        if self._begin_planned or not len(self._group) or not self._may_begin():
            return
        self._begin_planned = True
        # everything published in this turn of the loop joins the same commit
        asyncio.get_running_loop().call_soon(self._begin)

    def _may_begin(self) -> bool:
        if self._stopped:
            return False
        return not self._running or (
            len(self._running) < _COMMITS_UNDER_WAY
            and len(self._group) >= _WORTH_A_COMMIT
            and not self._is_large()
        )

    def _is_large(self) -> bool:
        return len(self._group) + self._under_way >= self._limits.large_group

    def _begin(self) -> None:
        self._begin_planned = False
        if not self._may_begin():
            return
        waiting = len(self._group) + self._under_way
        share = max(_WORTH_A_COMMIT, -(-waiting // _COMMITS_UNDER_WAY))
        entries = self._take(waiting if self._is_large() else share)
        if entries:
            self._under_way += len(entries)
            task = asyncio.create_task(self._run(entries), name=f"commit into {self._stream}")
            self._running.add(task)
        self._plan()

    async def settled(self) -> None:
        """Return when nothing is gathered or under way."""
        while self._begin_planned or self._running:
            if self._running:
                await asyncio.wait(self._running)
            else:
                await asyncio.sleep(0)

    async def stop(self) -> None:
        """Stop at once: callers get `Unavailable`, and what was under way has an unknown fate."""
        self._stopped = True
        running = tuple(self._running)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
        error = Unavailable("publishing stopped before the event was known to be stored")
        while entries := self._take(len(self._group)):
            for entry in entries:
                _fail(entry, error)

    def _take(self, most: int) -> list[Entry]:
        return self._group.take(
            max_messages=max(1, min(most, self._limits.commit_messages)),
            max_bytes=self._limits.commit_bytes,
        )

    async def _run(self, entries: list[Entry]) -> None:
        try:
            await self._commit_or_fail(entries)
        finally:
            task = asyncio.current_task()
            if task is not None:
                self._running.discard(task)
            self._under_way -= len(entries)
            self._plan()

    async def _commit_or_fail(self, entries: list[Entry]) -> None:
        try:
            await self._commit(entries)
        except MeshError as error:
            self._counters.add("publish_failed", who=self._stream, reason=error.code)
            for entry in entries:
                _fail(entry, error)
        except Exception as error:  # noqa: BLE001 - the task's outermost edge: later groups must go on
            self._counters.add("publish_failed", who=self._stream, reason="internal")
            _log.error("commit_broke", stream=self._stream, **failure_fields(error))
        finally:
            # a cancelled or broken commit must leave no caller without an answer
            for entry in entries:
                _fail(entry, Unavailable("the commit ended without an answer of the store"))

    async def _commit(self, entries: list[Entry]) -> None:
        sealed = await self._seal([self._plain(entry) for entry in entries])
        ready: list[Entry] = []
        batch: list[Outgoing] = []
        for entry, envelope in zip(entries, sealed, strict=True):
            if isinstance(envelope, MeshError):
                self._counters.add("publish_failed", who=self._stream, reason=envelope.code)
                _fail(entry, envelope)
                continue
            ready.append(entry)
            batch.append(
                Outgoing(
                    subject=entry.event.subject,
                    payload=envelope,
                    message_id=entry.message_id.hex(),
                )
            )
        if batch:
            now_s = asyncio.get_running_loop().time()
            longest_s = max(entry.deadline_s for entry in ready) - now_s
            await self._store.store(
                batch,
                timeout_s=max(0.001, longest_s),
                settled=lambda place, result: self._answer(ready[place], result),
            )
            self._counters.add("commit_made", who=self._stream)

    def _answer(self, entry: Entry, result: Stored | MeshError) -> None:
        if isinstance(result, MeshError):
            self._counters.add("publish_failed", who=self._stream, reason=result.code)
            _fail(entry, result)
            return
        kind = "message_stored_before" if result.duplicate else "message_stored"
        self._counters.add(kind, who=self._stream)
        if not entry.result.done():
            entry.result.set_result(
                StoredEvent(
                    message_id=entry.message_id,
                    stream=result.stream,
                    seq=result.seq,
                    duplicate=result.duplicate,
                )
            )


def _fail(entry: Entry, error: MeshError) -> None:
    if not entry.result.done():
        entry.result.set_exception(error)


__all__ = ["CommitLimits", "Commits", "Seal"]
