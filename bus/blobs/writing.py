"""Writes one blob into a folder: hashed, sealed and written by a thread while more of it comes."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Final, TypeVar

from bus.blobs.format import SALT_BYTES, Frames, Header, StoreKey
from bus.blobs.protocol import BlobId, BlobRefused, Stored

T = TypeVar("T")

_MAX_WAITING: Final = 3
"""Whole frames that may wait for the thread. With those being filled and written, all that a writer holds."""


class FileWriter:
    """`BlobWriter` for `FileBlobs`. Nothing is opened before the first frame is whole or the blob is finished."""

    def __init__(
        self,
        partial: Path,
        path_of: Callable[[BlobId], Path],
        key: StoreKey,
        executor: Executor,
        *,
        frame_bytes: int,
    ) -> None:
        self._partial = partial
        self._path_of = path_of
        self._key = key
        self._executor = executor
        self._frame_bytes = frame_bytes
        self._filling = bytearray()
        self._waiting: deque[bytearray] = deque()
        self._writing: asyncio.Task[None] | None = None
        self._error: OSError | None = None
        self._is_over = False
        self._file: _File | None = None

    @property
    def is_full(self) -> bool:
        """Whether the thread is so far behind that the peer should wait."""
        return len(self._waiting) >= _MAX_WAITING

    def write(self, piece: bytes | memoryview) -> None:
        """Take a piece."""
        if self._is_over or self._error is not None:
            return
        view = memoryview(piece)
        while len(view) > self._frame_bytes - len(self._filling):
            room = self._frame_bytes - len(self._filling)
            self._filling += view[:room]
            view = view[room:]
            self._waiting.append(self._filling)
            self._filling = bytearray()
            self._go_on()
        self._filling += view

    async def ready(self) -> None:
        """Wait until the thread has taken what waits."""
        if self._writing is not None:
            await asyncio.wait([self._writing])

    async def finish(self) -> Stored:
        """Write the last frame and the seal, fsync, give it its name, fsync the folder. Raises `BlobRefused`."""
        await self.ready()
        if self._is_over:
            raise BlobRefused("the blob was discarded")
        self._is_over = True
        if self._error is None:
            try:
                return await self._in_thread(self._end)
            except OSError as error:
                self._error = error
        await self._in_thread(self._drop)
        raise BlobRefused(
            f"the blob store could not write: {self._error.strerror or self._error}"
        ) from self._error

    def discard(self) -> None:
        """Leave nothing of it."""
        if self._is_over:
            return
        self._is_over = True
        self._waiting.clear()
        if self._writing is None:
            self._executor.submit(self._drop)

    # between the loop and the thread

    def _go_on(self) -> None:
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write_behind())

    async def _write_behind(self) -> None:
        try:
            while self._waiting:
                await self._in_thread(self._write_waiting)
        except OSError as error:
            self._error = error
            self._waiting.clear()
        if self._is_over:
            await self._in_thread(self._drop)
        self._writing = None

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    # in the thread, one at a time

    def _write_waiting(self) -> None:
        while True:
            try:
                content = self._waiting.popleft()
            except IndexError:  # nothing waits; `discard` may have taken it away meanwhile
                return
            self._opened().append(content)

    def _opened(self) -> _File:
        if self._file is None:
            self._file = _File(self._partial, self._key, self._frame_bytes)
        return self._file

    def _end(self) -> Stored:
        file = self._opened()
        if self._filling:
            file.append(self._filling)
        blob = file.end()
        return Stored(blob, file.size, file.settle(self._path_of(blob)))

    def _drop(self) -> None:
        if self._file is not None:
            self._file.drop()


class _File:
    """A blob that is not finished yet."""

    def __init__(self, folder: Path, key: StoreKey, frame_bytes: int) -> None:
        header = Header(frame_bytes, key.id, os.urandom(SALT_BYTES))
        self._frames = Frames(key, header)
        self._path = folder / f"{os.urandom(16).hex()}.part"
        self._descriptor: int | None = os.open(
            self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
        )
        self._number = 0
        self._digest = hashlib.sha256()
        self.size = 0
        try:
            self._write(header.write())
        except OSError:
            self.drop()
            raise

    def append(self, content: bytearray) -> None:
        """Hash, seal and write a frame. Raises `OSError`."""
        self._digest.update(content)
        self.size += len(content)
        self._write(self._frames.seal(self._number, content))
        self._number += 1

    def end(self) -> BlobId:
        """Write the seal; the blob's id. Raises `OSError`."""
        blob = BlobId(self._digest.hexdigest())
        self._write(self._frames.seal_end(self._number, blob))
        return blob

    def settle(self, path: Path) -> bool:
        """Make it durable under its name; False when it was there already, whole. Raises `OSError`."""
        assert self._descriptor is not None  # noqa: S101  # `drop` and `settle` end it
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_size == os.fstat(self._descriptor).st_size:
                self.drop()
                sync_folder(path.parent)  # another writer may have put it there this moment
                return False
        os.fsync(self._descriptor)
        os.close(self._descriptor)
        self._descriptor = None
        self._path.rename(path)
        sync_folder(path.parent)
        return True

    def drop(self) -> None:
        """Leave nothing of it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()

    def _write(self, chunk: bytes) -> None:
        assert self._descriptor is not None  # noqa: S101  # `drop` and `settle` end it
        view = memoryview(chunk)
        while view:
            view = view[os.write(self._descriptor, view) :]


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable. Raises `OSError`."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


__all__ = ["FileWriter", "sync_folder"]
