"""Where a data set goes while it comes: into the blob store, its first bytes kept for the header."""

from __future__ import annotations

from typing import Final

from adapters.dicom.datasets import Header, HeaderTooLong, Unparsable, read_header
from adapters.dicom.uids import Uid
from bus.blobs.protocol import BlobWriter, Stored
from schemas.errors import ResourceExhausted

HEADER_BYTES: Final = 65_536
"""Kept from the beginning; nearly every header ends before."""
MAX_HEADER_BYTES: Final = 1 << 24
"""A header may be so long, with what comes before the pixels of an enhanced multi-frame object."""


class ObjectTooLarge(ResourceExhausted):
    """A data set over `max_object_bytes`; nothing of it is kept."""

    code = "dicom_object_too_large"


class InstanceSink:
    """A `Sink` that writes one data set into the blob store."""

    def __init__(self, writer: BlobWriter, syntax: Uid, *, max_bytes: int) -> None:
        self._writer = writer
        self._syntax = syntax
        self._max_bytes = max_bytes
        self._size = 0
        self._prefix = bytearray()
        self._header: Header | None = None
        self._problem: Unparsable | None = None
        self._try_at = HEADER_BYTES

    @property
    def is_full(self) -> bool:
        """Whether the store is behind."""
        return self._writer.is_full

    def write(self, piece: memoryview) -> None:
        """Pass it on; keep it while the header is not read."""
        self._size += len(piece)
        if self._size > self._max_bytes:
            self._writer.discard()
            self._prefix.clear()
            return
        self._writer.write(piece)
        if self._header is None and self._problem is None:
            self._prefix += piece[: MAX_HEADER_BYTES - len(self._prefix)]
            if len(self._prefix) >= self._try_at:
                self._read_header(is_whole=False)

    async def ready(self) -> None:
        """Wait for the store."""
        await self._writer.ready()

    def close(self) -> None:
        """Leave nothing of what was not finished."""
        self._writer.discard()
        self._prefix.clear()

    async def finish(self) -> Stored:
        """Make the data set durable. Raises `ObjectTooLarge`, `BlobRefused`."""
        if self._size > self._max_bytes:
            raise ObjectTooLarge(
                f"a data set of more than {self._max_bytes} bytes (max_object_bytes)"
            )
        return await self._writer.finish()

    def header(self) -> Header:
        """The header of the whole data set. Blocks for up to some milliseconds. Raises `Unparsable`."""
        if self._header is None and self._problem is None:
            self._read_header(is_whole=self._size == len(self._prefix))
        if self._header is None:
            raise self._problem or Unparsable(
                f"no pixels or end within the first {MAX_HEADER_BYTES} bytes"
            )
        return self._header

    def _read_header(self, *, is_whole: bool) -> None:
        try:
            self._header = read_header(bytes(self._prefix), self._syntax, is_whole=is_whole)
        except HeaderTooLong:
            self._try_at = 4 * len(self._prefix)
        except Unparsable as error:
            self._problem = error
        else:
            self._prefix.clear()


__all__ = ["HEADER_BYTES", "MAX_HEADER_BYTES", "InstanceSink", "ObjectTooLarge"]
