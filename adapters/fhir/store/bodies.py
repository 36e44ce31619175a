"""Bodies at rest: each a zstd frame of its own."""

from __future__ import annotations

import threading
from typing import Final

import zstandard

_LEVEL: Final = 3
_MAX_BYTES: Final = 512 << 20


class _Contexts(threading.local):
    """Contexts of one thread: zstd's are not for several at once."""

    def __init__(self) -> None:
        self.pack = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
        self.unpack = zstandard.ZstdDecompressor()


_contexts: Final = _Contexts()


def packed(body: bytes) -> bytes:
    """The frame that is stored."""
    return _contexts.pack.compress(body)


def unpacked(frame: bytes) -> bytes:
    """The body, whose checksum was compared. Raises `zstandard.ZstdError` where the disk changed it."""
    return _contexts.unpack.decompress(frame, max_output_size=_MAX_BYTES)


__all__ = ["packed", "unpacked"]
