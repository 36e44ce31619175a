"""Buckets of the in-memory broker: versioned keys, compare-and-set, expiry, watching."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from bus.transport.memory.core import Core
from bus.transport.memory.link import MemoryLink
from bus.transport.protocol import Entry, NotFound, Subscription, WrongRevision
from schemas.subjects import matches

_WAIT_S = 10.0


@dataclass(slots=True)
class Bucket:
    """The newest entry of each key."""

    name: str
    max_age_s: float
    in_memory: bool = False
    entries: dict[str, tuple[Entry, int]] = field(default_factory=dict)
    """Key to its entry and when it was written, in milliseconds."""
    revision: int = 0
    watchers: list[MemoryWatch] = field(default_factory=list)

    def write(self, key: str, value: bytes | None, now_ms: int) -> int:
        """Write a value (None deletes) and tell the watchers."""
        self.revision += 1
        entry = Entry(key=key, value=value, revision=self.revision)
        self.entries[key] = (entry, now_ms)
        for watcher in tuple(self.watchers):
            watcher.offer(entry)
        return entry.revision

    def expire(self, now_ms: int) -> None:
        """Mark what is older than `max_age_s` as gone."""
        if self.max_age_s <= 0:
            return
        oldest = now_ms - self.max_age_s * 1000
        for key, (entry, at_ms) in list(self.entries.items()):
            if entry.value is not None and at_ms <= oldest:
                self.write(key, None, now_ms)

    def lose_memory(self) -> None:
        """Forget everything if it is not durable. Revisions grow on, unlike a server's: watchers need not know."""
        if self.in_memory:
            for key, (entry, at_ms) in list(self.entries.items()):
                if entry.value is not None:
                    self.write(key, None, at_ms)

    def live(self, key: str) -> Entry | None:
        """The entry of a key that has a value."""
        entry, _ = self.entries.get(key, (None, 0))
        return entry if entry is not None and entry.value is not None else None


class MemoryWatch:
    """A running watch: catches up after a cut."""

    def __init__(
        self, bucket: Bucket, link: MemoryLink, pattern: str, changed: Callable[[Entry], None]
    ) -> None:
        self._bucket = bucket
        self._link = link
        self._pattern = pattern
        self._changed = changed
        self._seen = 0
        self._loop = asyncio.get_running_loop()
        bucket.watchers.append(self)
        link.on_restored(self._catch_up)
        for entry, _ in sorted(bucket.entries.values(), key=lambda held: held[0].revision):
            if entry.value is not None:
                self.offer(entry)
        self._seen = bucket.revision

    def offer(self, entry: Entry) -> None:
        """Report one change, unless the connection is cut."""
        if self._link.connected and matches(self._pattern, entry.key):
            self._seen = max(self._seen, entry.revision)
            self._loop.call_soon(self._changed, entry)

    def _catch_up(self) -> None:
        held = sorted((entry for entry, _ in self._bucket.entries.values()), key=_revision)
        for entry in held:
            if entry.revision > self._seen:
                self.offer(entry)

    async def close(self) -> None:
        """Stop watching."""
        if self in self._bucket.watchers:
            self._bucket.watchers.remove(self)
            self._link.forget(self._catch_up)
        await asyncio.sleep(0)  # one turn of the loop: what had arrived is handed over


def _revision(entry: Entry) -> int:
    return entry.revision


class MemoryKeyValue:
    """`KeyValue` on one connection."""

    def __init__(self, core: Core, link: MemoryLink, bucket: Bucket) -> None:
        self._core = core
        self._link = link
        self._bucket = bucket

    async def get(self, key: str) -> Entry:
        """Read the newest value."""
        await self._ready()
        entry = self._bucket.live(key)
        if entry is None:
            raise NotFound(f"bucket {self._bucket.name} has no key {key}")
        return entry

    async def put(self, key: str, value: bytes) -> int:
        """Write and return the new revision."""
        await self._ready()
        return self._write(key, value)

    async def swap(self, key: str, value: bytes, *, revision: int) -> int:
        """Write only if the key stands at `revision` (0: does not exist)."""
        await self._ready()
        entry = self._bucket.live(key)
        stands = 0 if entry is None else entry.revision
        if stands != revision:
            raise WrongRevision(
                f"key {key} of bucket {self._bucket.name} stands at revision {stands}, not {revision}"
            )
        return self._write(key, value)

    def _write(self, key: str, value: bytes) -> int:
        core, bucket = self._core, self._bucket
        if core.timers and bucket.max_age_s > 0:
            asyncio.get_running_loop().call_later(
                bucket.max_age_s + 0.001, lambda: bucket.expire(core.clock.now_ms())
            )
        return bucket.write(key, bytes(value), core.clock.now_ms())

    async def delete(self, key: str) -> None:
        """Mark the key as deleted."""
        await self._ready()
        self._bucket.write(key, None, self._core.clock.now_ms())

    async def keys(self) -> list[str]:
        """All live keys."""
        await self._ready()
        return sorted(key for key in self._bucket.entries if self._bucket.live(key))

    async def watch(self, pattern: str, changed: Callable[[Entry], None]) -> Subscription:
        """Report the current values, then each change."""
        await self._ready()
        return MemoryWatch(self._bucket, self._link, pattern, changed)

    async def _ready(self) -> None:
        await self._link.ready(_WAIT_S)
        self._link.check_publish(f"$KV.{self._bucket.name}")
        self._bucket.expire(self._core.clock.now_ms())


__all__ = ["Bucket", "MemoryKeyValue", "MemoryWatch"]
