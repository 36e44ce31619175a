"""The driver of a seat: carries out what the state machine asks for, and tells it what became of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any, Final, Protocol

from bus.events.partitions.actions import (
    Abandon,
    Action,
    Begin,
    Finish,
    LookAtMember,
    LookAtPartition,
    WriteMember,
    WritePartition,
)
from bus.events.partitions.buckets import GroupBuckets
from bus.events.partitions.leases import Seat
from bus.events.partitions.records import MemberRecord, PartitionRecord
from bus.telemetry.counters import Counters
from bus.telemetry.failures import failure_fields
from bus.telemetry.log import logger
from schemas.clock import Clock
from schemas.errors import MeshError

_OPERATION_S: Final = 2.0
_OPENED_AT_ONCE: Final = 8
_LONGEST_WAIT_S: Final = 1.0
_log = logger(__name__)


class PartitionWork(Protocol):
    """One partition while it is worked."""

    @property
    def floor(self) -> int:
        """Every sequence of the partition up to this one is finished."""
        ...

    async def start(self, *, rebuild: bool) -> None:
        """Take up its place; with `rebuild` in such a way that no earlier reader has it. Raises `MeshError`."""
        ...

    async def finish(self, *, timeout_s: float) -> None:
        """Take nothing new, finish what is in hand, flush acknowledgements."""
        ...

    async def abandon(self) -> None:
        """Stop at once, handlers included."""
        ...


class Member:
    """One running member of a group."""

    def __init__(
        self,
        *,
        group: str,
        seat: Seat,
        buckets: GroupBuckets,
        work_on: Callable[[int, PartitionRecord], PartitionWork],
        complete: Callable[[int, PartitionRecord, bool], Awaitable[PartitionRecord]],
        clock: Clock,
        counters: Counters,
        finish_s: float,
    ) -> None:
        self._group = group
        self._buckets = buckets
        self._work_on = work_on
        self._complete = complete
        self._clock = clock
        self._counters = counters
        self._finish_s = finish_s
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._starting: dict[int, asyncio.Task[None]] = {}
        self._ending: dict[int, asyncio.Task[None]] = {}
        self._floors: dict[int, int] = {}
        self._opening = asyncio.Semaphore(_OPENED_AT_ONCE)
        self._main: asyncio.Task[None] | None = None
        self._gone = asyncio.Event()
        self.seat = seat
        self.works: dict[int, PartitionWork] = {}
        """What is worked now."""

    async def start(self) -> None:
        """Join the group. Raises `MeshError`."""
        await self._buckets.watch(self._member_changed, self._partition_changed)
        self._main = asyncio.create_task(self._run(), name=f"{self._group} member")
        self._main.add_done_callback(self._report)

    async def leave(self, *, timeout_s: float) -> bool:
        """Finish what is in hand, release everything and go; False when the time was too short."""
        self._finish_s = min(self._finish_s, timeout_s)
        self.seat.leave()
        self._wake.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._gone.wait()
        left = self._gone.is_set()
        await self.stop()
        return left

    async def stop(self) -> None:
        """Stop at once; the others take over when the lease is over."""
        main, self._main = self._main, None
        tasks = [*self._tasks, *([main] if main else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        works, self.works = list(self.works.values()), {}
        await asyncio.gather(*(work.abandon() for work in works))
        await self._buckets.close()

    def _member_changed(self, member: str, record: MemberRecord | None, revision: int) -> None:
        self.seat.member_changed(member, record, revision, self._now_s())
        self._wake.set()

    def _partition_changed(
        self, partition: int, record: PartitionRecord | None, revision: int
    ) -> None:
        self.seat.partition_changed(partition, record, revision)
        self._wake.set()

    def _now_s(self) -> float:
        return self._clock.monotonic_s()

    async def _run(self) -> None:
        while not self.seat.is_gone:
            self._wake.clear()
            for action in self.seat.react(self._now_s()):
                self._carry_out(action)
            now_s = self._now_s()
            wait_s = min(self.seat.due_s(now_s) - now_s, _LONGEST_WAIT_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
        self._gone.set()

    def _carry_out(self, action: Action) -> None:
        match action:
            case WriteMember():
                self._spawn(self._write_member(action))
            case LookAtMember(member=member):
                self._spawn(self._look_at_member(member))
            case WritePartition():
                self._spawn(self._write_partition(action))
            case LookAtPartition(partition=partition):
                self._spawn(self._look_at_partition(partition))
            case Begin(partition=partition):
                self._starting[partition] = self._spawn(self._begin(action))
            case Finish(partition=partition):
                self._ending[partition] = self._spawn(self._finish(partition))
            case Abandon(partition=partition, reason=reason):
                self._count("partition_lost", reason, partition)
                # at once, before any of them takes another step: only one may say that the work has ended
                for task in (self._starting.get(partition), self._ending.get(partition)):
                    if task is not None:
                        task.cancel()
                self._ending[partition] = self._spawn(self._abandon(partition))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=f"{self._group} member's errand")
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._wake.set()
        self._report(task)

    def _report(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._counters.add("member_broke", who=self._group)
            _log.error("member_broke", consumer=self._group, **failure_fields(error))

    # ── records ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def _write_member(self, action: WriteMember) -> None:
        member, record = action.member, action.record
        is_own = member == self.seat.member
        try:
            async with asyncio.timeout(_OPERATION_S):
                revision = await self._buckets.write_member(member, record, action.revision)
        except (MeshError, TimeoutError) as error:
            self._failed("member", error)
            self.seat.member_failed(member, self._now_s())
            return
        if not is_own:
            self._counters.add("member_buried", who=self._group, reason="silent")
            _log.warning("member_buried", consumer=self._group, instance=member)
        self.seat.member_written(member, record, revision, self._now_s())

    async def _look_at_member(self, member: str) -> None:
        try:
            async with asyncio.timeout(_OPERATION_S):
                record, revision = await self._buckets.member(member)
        except (MeshError, TimeoutError) as error:
            self._failed("member", error)
            self.seat.member_failed(member, self._now_s())
            return
        self.seat.member_looked(member, record, revision, self._now_s())

    async def _write_partition(self, action: WritePartition) -> None:
        partition, record = action.partition, action.record
        try:
            async with asyncio.timeout(_OPERATION_S):
                if not record.owner:
                    record = replace(record, floor=self._floors.get(partition, record.floor))
                record = await self._complete(partition, record, action.measure)
                revision = await self._buckets.write_partition(partition, record, action.revision)
        except (MeshError, TimeoutError) as error:
            self._failed("partition", error)
            self.seat.partition_failed(partition, self._now_s())
            return
        name = "partition_taken" if record.owner else "partition_released"
        self._count(name, record.reason, partition)
        self.seat.partition_changed(partition, record, revision)
        self.seat.partition_answered(partition)

    async def _look_at_partition(self, partition: int) -> None:
        try:
            async with asyncio.timeout(_OPERATION_S):
                record, revision = await self._buckets.partition(partition)
        except (MeshError, TimeoutError) as error:
            self._failed("partition", error)
            self.seat.partition_failed(partition, self._now_s())
            return
        self.seat.partition_changed(partition, record, revision)
        self.seat.partition_answered(partition)

    def _failed(self, what: str, error: BaseException) -> None:
        reason = error.code if isinstance(error, MeshError) else "timeout"
        self._counters.add("group_operation_failed", who=self._group, reason=f"{what}:{reason}")

    def _count(self, name: str, reason: str, partition: int) -> None:
        self._counters.add(name, who=self._group, reason=reason)
        _log.info(name, consumer=self._group, partition=partition, reason=reason)

    # ── work ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _begin(self, action: Begin) -> None:
        partition, record = action.partition, action.record
        self.works[partition] = work = self._work_on(partition, record)
        try:
            async with self._opening:
                await work.start(rebuild=action.rebuild)
        except MeshError as error:
            self._counters.add("partition_not_begun", who=self._group, reason=error.code)
            _log.warning(
                "partition_not_begun", consumer=self._group, partition=partition, **failure_fields(error)
            )  # fmt: skip
            if partition not in self._ending:
                self._ended(partition)
            return
        if action.rebuild:
            self.seat.rebuilt(partition, record.fence)

    async def _finish(self, partition: int) -> None:
        await self._started(partition)
        work = self.works.get(partition)
        if work is not None:
            await work.finish(timeout_s=self._finish_s)
        self._ended(partition)

    async def _abandon(self, partition: int) -> None:
        await self._started(partition)
        work = self.works.get(partition)
        if work is not None:
            await work.abandon()
        self._ended(partition)

    async def _started(self, partition: int) -> None:
        starting = self._starting.get(partition)
        if starting is not None:
            await asyncio.wait((starting,))

    def _ended(self, partition: int) -> None:
        self._starting.pop(partition, None)
        self._ending.pop(partition, None)
        work = self.works.pop(partition, None)
        if work is not None:
            self._floors[partition] = work.floor
        self.seat.ended(partition, self._now_s())


__all__ = ["Member", "PartitionWork"]
