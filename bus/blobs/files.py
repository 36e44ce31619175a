"""Blobs in a folder: `aa/<name>`, whole and fsynced before they have that name; unfinished ones stand in `part/`."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from bus.blobs.format import FRAME_BYTES, HEADER_BYTES, TAG_BYTES, Frames, Header, Layout, StoreKey
from bus.blobs.protocol import BlobId, BlobMissing, BlobRefused, blob_id
from bus.blobs.writing import FileWriter, sync_folder

_THREADS: Final = 4

P = ParamSpec("P")
T = TypeVar("T")


class FileBlobs:
    """A blob store below `folder`, which belongs to this process alone."""

    def __init__(
        self,
        folder: Path,
        key: StoreKey,
        *,
        frame_bytes: int = FRAME_BYTES,
        threads: int = _THREADS,
    ) -> None:
        self._folder = folder
        self._partial = folder / "part"
        self._key = key
        self._frame_bytes = frame_bytes
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="blobs")

    async def start(self) -> None:
        """Make the folder, and sweep unfinished blobs of a process that crashed. Raises `BlobRefused`."""
        try:
            await self._run(self._prepare)
        except OSError as error:
            raise BlobRefused(
                f"the blob store's folder cannot be used: {error.strerror or error}"
            ) from error

    def begin(self) -> FileWriter:
        """A writer for one blob."""
        return FileWriter(
            self._partial, self._path, self._key, self._threads, frame_bytes=self._frame_bytes
        )

    async def size(self, blob: BlobId) -> int:
        """Bytes of the content. Raises `BlobMissing`, `BlobDamaged`."""
        opened = await self._run(_Opened, self._path(blob), blob, self._key)
        opened.close()
        return opened.layout.size

    async def read(
        self, blob: BlobId, *, start: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """The content or a range of it, frame by frame, verified. Raises `BlobMissing`, `BlobDamaged`."""
        opened = await self._run(_Opened, self._path(blob), blob, self._key)
        try:
            size = opened.layout.size
            end = size if length is None else min(start + length, size)
            while start < end:
                number, offset = divmod(start, opened.frame_bytes)
                content = await self._run(opened.frame, number)
                part = content[offset : offset + end - start]
                start += len(part)
                yield part
        finally:
            opened.close()

    async def remove(self, blob: BlobId) -> bool:
        """Take it away; False when it was not there."""
        return await self._run(self._remove, self._path(blob))

    async def stop(self) -> None:
        """Wait for what is being written; let go of the threads."""
        await asyncio.to_thread(self._threads.shutdown)

    def _path(self, blob: BlobId) -> Path:
        name = self._key.name(blob_id(blob))
        return self._folder / name[:2] / name

    async def _run(self, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: work(*arguments, **named))

    # in a thread

    def _prepare(self) -> None:
        self._partial.mkdir(mode=0o700, parents=True, exist_ok=True)
        for first in range(256):
            (self._folder / f"{first:02x}").mkdir(mode=0o700, exist_ok=True)
        sync_folder(self._folder)
        for left in self._partial.glob("*.part"):
            left.unlink()

    @staticmethod
    def _remove(path: Path) -> bool:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
            return True
        return False


class _Opened:
    """A blob that is being read: a range may be asked while its name is already gone."""

    def __init__(self, path: Path, blob: BlobId, key: StoreKey) -> None:
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise BlobMissing("the store has no such blob") from None
        try:
            header = Header.read(os.pread(self._descriptor, HEADER_BYTES, 0))
            self.frame_bytes = header.frame_bytes
            at_rest = os.fstat(self._descriptor).st_size
            self.layout = Layout.of(at_rest, header.frame_bytes)
            self._frames = Frames(key, header)
            seal = os.pread(self._descriptor, TAG_BYTES, at_rest - TAG_BYTES)
            self._frames.check_end(self.layout.frames, blob, seal)
        except BaseException:
            os.close(self._descriptor)
            raise

    def frame(self, number: int) -> bytes:
        """The content of a frame. Raises `BlobDamaged`."""
        at = Layout.at(number, self.frame_bytes)
        length = min(self.frame_bytes, self.layout.size - number * self.frame_bytes)
        return self._frames.open(number, os.pread(self._descriptor, length + TAG_BYTES, at))

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)


__all__ = ["FileBlobs"]
