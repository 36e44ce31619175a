"""The folder reader: each whole file becomes one event, and moves to done/ once that event is stored."""

from __future__ import annotations

import asyncio
import contextlib
import fnmatch
import hashlib
import heapq
import hmac
import os
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from adapters.contract import AdapterRuntime, Condition, Health
from adapters.files.config import Complete, ReaderConfig
from adapters.files.disk import (
    Changing,
    Snapshot,
    TooLarge,
    is_open_for_writing,
    make_folder,
    move_into,
    read_whole,
    write_whole,
)
from bus.events.protocol import NewEvent
from bus.telemetry.log import logger
from schemas import subjects
from schemas.errors import MeshError, Unavailable
from schemas.subjects import Domain

_log = logger(__name__)

MARKER: Final = ".done"
_FILES_A_LOOK: Final = 1000
"""Files taken up in one look, first names first: bounds the memory for a folder with a million of them."""
_ID_BYTES: Final = 16

Wait = Callable[[float], Awaitable[None]]


def message_id(site_key: bytes, adapter: str, name: str, content: bytes) -> bytes:
    """16 bytes by which a file that is read twice (a crash before it moved) is the same event."""
    mac = hmac.new(site_key, digestmod=hashlib.sha256)
    for part in (adapter.encode(), os.fsencode(name)):
        mac.update(len(part).to_bytes(4, "big"))
        mac.update(part)
    mac.update(content)
    return mac.digest()[:_ID_BYTES]


class FolderReader:
    """`files.reader`. Files are taken in the order of their names, one at a time."""

    def __init__(
        self, config: ReaderConfig, runtime: AdapterRuntime, *, wait: Wait = asyncio.sleep
    ) -> None:
        self._config = config
        self._runtime = runtime
        self._wait = wait
        self._done = config.folder / "done"
        self._failed = config.folder / "failed"
        self._seen: dict[str, tuple[Snapshot, float]] = {}
        self._task: asyncio.Task[None] | None = None
        self._looking = asyncio.Lock()
        self._draining = False
        self._trouble = ""

    # the four verbs

    async def start(self) -> None:
        """Make the folders and begin to look. Raises `Unavailable` when they cannot be made."""
        for folder in (self._config.folder, self._done, self._failed):
            await asyncio.to_thread(make_folder, folder)
        self._task = asyncio.create_task(self._run())

    def health(self) -> Health:
        """Say whether files are being read."""
        if self._task is None or self._task.done():
            return Health(condition=Condition.STOPPED, detail="not reading")
        if self._trouble:
            return Health(condition=Condition.DEGRADED, detail=self._trouble)
        return Health(condition=Condition.HEALTHY, detail=f"reads {self._config.folder}")

    async def drain(self, *, timeout_s: float) -> None:
        """Finish the file under way; take no other."""
        self._draining = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s), self._looking:
                pass

    async def stop(self) -> None:
        """Stop. A file that was stored and has not moved is read again, as the same event."""
        self._draining = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    # looking

    async def look(self) -> int:
        """Look once: take every whole file, and return how many were taken."""
        async with self._looking:
            taken = 0
            try:
                for path in await asyncio.to_thread(self._whole_files):
                    if self._draining or not await self._take(path):
                        break
                    taken += 1
                else:
                    self._trouble = ""
            except OSError as error:
                self._note("folder_unreadable", error.strerror or type(error).__name__)
            return taken

    async def _run(self) -> None:
        while not self._draining:
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 (outermost edge of the task: one bad look must not end the reading)
                self._note("look_failed", type(error).__name__)
            await self._wait(self._config.interval_s)

    def _whole_files(self) -> list[Path]:
        """Files that are whole, first names first."""
        now_s = self._runtime.clock.monotonic_s()
        found: dict[str, Snapshot] = {}
        with os.scandir(self._config.folder) as entries:
            names = heapq.nsmallest(_FILES_A_LOOK, (e.name for e in entries if self._is_wanted(e)))
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                found[name] = Snapshot.of((self._config.folder / name).lstat())
        self._seen = {
            name: self._seen[name]
            if name in self._seen and self._seen[name][0] == snapshot
            else (snapshot, now_s)
            for name, snapshot in found.items()
        }
        return [self._config.folder / name for name in found if self._is_whole(name, now_s)]

    def _is_wanted(self, entry: os.DirEntry[str]) -> bool:
        name = entry.name
        if name.startswith(".") or not fnmatch.fnmatchcase(name, self._config.pattern):
            return False
        if self._config.complete is Complete.MARKER and name.endswith(MARKER):
            return False
        return stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode)

    def _is_whole(self, name: str, now_s: float) -> bool:
        path = self._config.folder / name
        match self._config.complete:
            case Complete.RENAMED:
                return True
            case Complete.MARKER:
                return path.with_name(name + MARKER).exists()
            case Complete.STABLE:
                stable = now_s - self._seen[name][1] >= self._config.stable_s
                return stable and not is_open_for_writing(path)

    # taking

    async def _take(self, path: Path) -> bool:
        """Publish and move one file; False when the rest must wait as well."""
        try:
            content = await asyncio.to_thread(
                read_whole, path, max_bytes=self._config.max_file_bytes
            )
        except Changing:
            self._seen.pop(path.name, None)
            return True
        except TooLarge as error:
            await self._fail(path, error)
            return True
        try:
            await self._runtime.events.publish(
                self._event(path.name, content), timeout_s=self._config.publish_timeout_s
            )
        except MeshError as error:
            self._note("file_not_stored", error.code)
            if error.retryable:
                return False
            await self._fail(path, error)
            return True
        await self._move(path, self._done)
        self._count("file_read", "")
        return True

    def _event(self, name: str, content: bytes) -> NewEvent:
        runtime, config = self._runtime, self._config
        identity = message_id(runtime.site_key, config.name, name, content)
        partition = subjects.partition_for(runtime.site_key, identity)
        return NewEvent(
            subject=subjects.event(runtime.site, Domain.RAW, config.event, partition),
            type=config.type,
            body=content,
            message_id=identity,
            received_ms=runtime.clock.now_ms(),
        )

    async def _move(self, path: Path, folder: Path) -> Path:
        target = await asyncio.to_thread(move_into, path, folder)
        self._seen.pop(path.name, None)
        if self._config.complete is Complete.MARKER:
            marker = path.with_name(path.name + MARKER)
            await asyncio.to_thread(marker.unlink, missing_ok=True)
        return target

    async def _fail(self, path: Path, error: MeshError) -> None:
        target = await self._move(path, self._failed)
        reason = target.with_name(target.name + ".reason")
        with contextlib.suppress(Unavailable):
            text = f"{error.code}: {error}\n"
            await asyncio.to_thread(write_whole, reason, text.encode())
        self._count("file_failed", error.code)
        _log.warning("file_failed", adapter=self._config.name, reason=error.code)

    def _note(self, name: str, reason: str) -> None:
        self._trouble = f"{name}: {reason}"
        self._count(name, reason)

    def _count(self, name: str, reason: str) -> None:
        self._runtime.counters.add(name, who=self._config.name, reason=reason)


__all__ = ["MARKER", "FolderReader", "message_id"]
