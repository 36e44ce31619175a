"""Group commit into one stream: what gathered is sealed as one batch and stored with one call.

Near the store, groups grow exactly as much as it is slow; no timer decides. A server answers a group only when all of
it is on disk, so what waits is divided into two commits under way, and one half is read, sealed and answered while the
other is written. From `large_group` events on, one commit takes everything: the store takes many at once for the price
of few. Far from it, the path's window decides: small commits, as many under way as fill the line.

`EventStore.store` keeps the order of calls through doubt and resend.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from bus.envelope.types import Plain, SealedEnvelope
from bus.events.group import Entry, Group
from bus.events.path import StorePath
from bus.events.protocol import StoredEvent
from bus.flow import Priority
from bus.telemetry.counters import Counters
from bus.telemetry.failures import failure_fields
from bus.telemetry.log import logger
from bus.transport.protocol import EventStore, Outgoing, Stored
from schemas.errors import Closed, DeadlineExceeded, MeshError, ResourceExhausted, Unavailable

_log = logger(__name__)
_COMMITS_UNDER_WAY: Final = 2
_WORTH_A_COMMIT: Final = 4
"""Fewer events wait for the commit under way instead of taking a signature of their own."""
_STAT_BEYOND: Final = 1.125
"""By how much stat events may exceed the bounds of what waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitLimits:
    """How much gathers, and how much one commit takes."""

    gathered_messages: int = 4096
    """From so many waiting events on, publish calls count as held up (`publish_waited`)."""
    waiting_messages: int = 65_536
    """Beyond it publish calls are refused with `ResourceExhausted`; each one that waits is a caller with a deadline."""
    waiting_bytes: int = 256 * 1024 * 1024
    """The same for the bodies of waiting events: the memory that a store which is away may cost."""
    commit_messages: int = 256
    """Leaves under one signature: larger costs a longer proof in each envelope."""
    commit_bytes: int = 4 * 1024 * 1024
    large_group: int = 24
    """From so many events on they go as one commit, alone: the size at which the store makes a batch of them."""
    far_commit_messages: int = 16
    """Events of a commit over a long way: below the size of a batch, since a batch has the line for itself until it
    is answered, while small commits follow each other without waiting."""


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
        path: StorePath,
    ) -> None:
        self._stream = stream
        self._store = store
        self._seal = seal
        self._plain = plain
        self._counters = counters
        self._limits = limits
        self._path = path
        self._group = Group()
        self._running: set[asyncio.Task[None]] = set()
        self._under_way = 0
        """Events of the running commits without an answer yet."""
        self._begin_planned = False
        self._stopped = False
        self._wake = self._plan  # one object, by which the path knows these commits
        path.join(self._wake)

    def add(self, entry: Entry) -> None:
        """Let an event join the next commit. Raises `ResourceExhausted` when too much waits."""
        self._check_bounds(entry)
        self._group.put(entry)
        self._plan()

    def _check_bounds(self, entry: Entry) -> None:
        limits, count, size = self._limits, len(self._group), self._group.bytes
        if count < limits.gathered_messages and size + entry.size <= limits.waiting_bytes:
            return
        beyond = _STAT_BEYOND if entry.event.priority is Priority.STAT else 1.0
        if count >= limits.waiting_messages * beyond or (
            count and size + entry.size > limits.waiting_bytes * beyond
        ):
            self._counters.add("publish_refused", who=self._stream, reason="waiting_full")
            raise ResourceExhausted(
                f"{count} events of {size} bytes wait for {self._stream} already; at most {limits.waiting_messages} "
                f"and {limits.waiting_bytes} may (CommitLimits.waiting_messages, waiting_bytes): the store is too slow "
                "or away"
            )
        self._counters.add("publish_waited", who=self._stream, reason="gathered_full")

    def _plan(self) -> None:
        if self._begin_planned or not len(self._group) or not self._next_commit()[0]:
            return
        self._begin_planned = True
        # everything published in this turn of the loop joins the same commit
        asyncio.get_running_loop().call_soon(self._begin)

    def _next_commit(self) -> tuple[int, int]:
        """How many events and bytes the next commit may take now; no events when none may begin."""
        if self._stopped:
            return 0, 0
        if self._path.is_long:
            return self._next_far()
        return self._next_near()

    def _next_near(self) -> tuple[int, int]:
        waiting = len(self._group) + self._under_way
        is_large = waiting >= self._limits.large_group
        if self._running and (
            is_large
            or len(self._running) >= _COMMITS_UNDER_WAY
            or len(self._group) < _WORTH_A_COMMIT
        ):
            return 0, 0
        share = waiting if is_large else max(_WORTH_A_COMMIT, -(-waiting // _COMMITS_UNDER_WAY))
        return min(share, self._limits.commit_messages), self._limits.commit_bytes

    def _next_far(self) -> tuple[int, int]:
        head = self._group.head()
        if head is None:
            return 0, 0
        room = self._path.room(head.cost, self._group.cost, is_urgent=self._group.is_urgent)
        return (self._limits.far_commit_messages, room) if room else (0, 0)

    def _begin(self) -> None:
        self._begin_planned = False
        messages, size = self._next_commit()
        entries = self._group.take(max_messages=messages, max_bytes=size) if messages else []
        if entries:
            self._under_way += len(entries)
            self._path.took_turn(self._wake)
            for entry in entries:
                self._path.sent(entry.cost)
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
        self._path.leave(self._wake)
        running = tuple(self._running)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
        error = Unavailable("publishing stopped before the event was known to be stored")
        while (entry := self._group.head()) is not None:
            _fail(entry, error)  # and the next look drops it

    async def _run(self, entries: list[Entry]) -> None:
        under_way = _UnderWay(self._path, entries)
        try:
            await self._commit_or_fail(entries, under_way)
        finally:
            under_way.end()
            task = asyncio.current_task()
            if task is not None:
                self._running.discard(task)
            self._under_way -= len(entries)
            self._plan()

    async def _commit_or_fail(self, entries: list[Entry], under_way: _UnderWay) -> None:
        try:
            await self._commit(entries, under_way)
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

    async def _commit(self, entries: list[Entry], under_way: _UnderWay) -> None:
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
            longest_s = max(entry.deadline_s for entry in ready) - under_way.begin()

            def settled(place: int, result: Stored | MeshError) -> None:
                under_way.answered(ready[place], result)
                self._answer(ready[place], result)

            await self._store.store(batch, timeout_s=max(0.001, longest_s), settled=settled)
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


class _UnderWay:
    """Tells the path what becomes of a commit's events: of each exactly once."""

    def __init__(self, path: StorePath, entries: Sequence[Entry]) -> None:
        self._path = path
        self._open = set(entries)
        self._begun_s: float | None = None

    def begin(self) -> float:
        """They are handed to the store now; returns the event loop's time."""
        self._begun_s = asyncio.get_running_loop().time()
        return self._begun_s

    def answered(self, entry: Entry, result: Stored | MeshError) -> None:
        """The store said what became of one."""
        if entry not in self._open:
            return
        self._open.remove(entry)
        if isinstance(result, DeadlineExceeded | Unavailable | Closed):
            self._path.lost(entry.cost)
        elif isinstance(result, Stored) and self._begun_s is not None:
            self._path.acknowledged(entry.cost, asyncio.get_running_loop().time() - self._begun_s)
        else:
            self._path.acknowledged(entry.cost, None)

    def end(self) -> None:
        """No answer comes any more: never sent, or given up."""
        for entry in self._open:
            self._path.acknowledged(entry.cost, None)
        self._open.clear()


def _fail(entry: Entry, error: MeshError) -> None:
    if not entry.result.done():
        entry.result.set_exception(error)


__all__ = ["CommitLimits", "Commits", "Seal"]
