"""A group's records in its two buckets, read and written as records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from bus.events.partitions.records import (
    MEMBER_AGE_S,
    MEMBER_BUCKET,
    PARTITION_BUCKET,
    GroupRecord,
    MemberRecord,
    PartitionRecord,
    decode,
    encode,
    group_key,
    member_key,
    partition_key,
)
from bus.telemetry.counters import Counters
from bus.telemetry.failures import failure_fields
from bus.telemetry.log import logger
from bus.transport.protocol import Entry, KeyValue, NotFound, Subscription, Transport, WrongRevision
from schemas.errors import MeshError

_log = logger(__name__)

_R = TypeVar("_R", MemberRecord, PartitionRecord)
MemberChanged = Callable[[str, MemberRecord | None, int], None]
PartitionChanged = Callable[[int, PartitionRecord | None, int], None]


class GroupBuckets:
    """The records of one group. Both buckets lie on disk: what was written outlives the server.

    A bucket in the server's memory would be cheaper, but after a restart its revisions begin anew, and a fence or a
    compare-and-set could meet a number that was used before.
    """

    def __init__(
        self, group: str, partitions: KeyValue, members: KeyValue, counters: Counters
    ) -> None:
        self._group = group
        self._partitions = partitions
        self._members = members
        self._counters = counters
        self._watches: list[Subscription] = []

    @classmethod
    async def open(cls, transport: Transport, group: str, counters: Counters) -> GroupBuckets:
        """Open the buckets, creating what is missing. Raises `MeshError`."""
        return cls(
            group,
            await transport.key_value(PARTITION_BUCKET),
            await transport.key_value(MEMBER_BUCKET, max_age_s=MEMBER_AGE_S),
            counters,
        )

    async def begin_group(self, wanted: GroupRecord) -> GroupRecord:
        """Where the group begins: as `wanted`, unless it began before in the same stream. Raises `MeshError`."""
        key = group_key(self._group)
        while True:
            try:
                entry = await self._partitions.get(key)
            except NotFound:
                entry = Entry(key=key, value=None, revision=0)
            if entry.value is not None:
                found = decode(GroupRecord, entry.value)
                if found.stream == wanted.stream:
                    return found
                wanted = replace(
                    wanted, after=0
                )  # a new stream: nothing in it is from before the group
            try:
                await self._partitions.swap(key, encode(wanted), revision=entry.revision)
            except WrongRevision:
                continue
            return wanted

    async def member(self, member: str) -> tuple[MemberRecord | None, int]:
        """A member's record and its revision; None when it is missing. Raises `MeshError`."""
        try:
            entry = await self._members.get(member_key(self._group, member))
        except NotFound:
            return None, 0
        return decode(MemberRecord, entry.value or b""), entry.revision

    async def write_member(self, member: str, record: MemberRecord, revision: int) -> int:
        """Compare-and-set; the new revision. Raises `WrongRevision`, `MeshError`."""
        key = member_key(self._group, member)
        return await self._members.swap(key, encode(record), revision=revision)

    async def partition(self, partition: int) -> tuple[PartitionRecord | None, int]:
        """A partition's record and its revision; None when it was never taken. Raises `MeshError`."""
        try:
            entry = await self._partitions.get(partition_key(self._group, partition))
        except NotFound:
            return None, 0
        return decode(PartitionRecord, entry.value or b""), entry.revision

    async def write_partition(self, partition: int, record: PartitionRecord, revision: int) -> int:
        """Compare-and-set; the new revision. Raises `WrongRevision`, `MeshError`."""
        key = partition_key(self._group, partition)
        return await self._partitions.swap(key, encode(record), revision=revision)

    async def watch(self, member: MemberChanged, partition: PartitionChanged) -> None:
        """Report every record, then each change. Raises `MeshError`."""

        def member_changed(entry: Entry) -> None:
            name = entry.key.removeprefix(f"{self._group}.")
            record = None if entry.value is None else self._read(MemberRecord, entry)
            if record is not None or entry.value is None:
                member(name, record, entry.revision)

        def partition_changed(entry: Entry) -> None:
            record = self._read(PartitionRecord, entry)
            if record is not None:
                partition(int(entry.key.rpartition(".")[2]), record, entry.revision)

        self._watches.append(await self._members.watch(f"{self._group}.*", member_changed))
        self._watches.append(await self._partitions.watch(f"{self._group}.p.*", partition_changed))

    def _read(self, kind: type[_R], entry: Entry) -> _R | None:
        if entry.value is None:
            return None
        try:
            return decode(kind, entry.value)
        except MeshError as error:
            self._counters.add("group_record_unreadable", who=self._group, reason=error.code)
            _log.error("group_record_unreadable", consumer=self._group, **failure_fields(error))
            return None

    async def close(self) -> None:
        """Watch no more."""
        watches, self._watches = self._watches, []
        for watch in watches:
            await watch.close()


__all__ = ["GroupBuckets"]
