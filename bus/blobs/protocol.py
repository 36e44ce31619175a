"""What a blob store promises. `tests/contract/test_blobs.py` holds every store to it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final, NewType, Protocol

from schemas.errors import MeshError

BlobId = NewType("BlobId", str)
"""SHA-256 of the content, 64 hexadecimal digits. Protected like the content: it tells whoever holds a copy."""

_ID: Final = re.compile(r"[0-9a-f]{64}")


class BlobMissing(MeshError, LookupError):
    """The store has no such blob."""

    code = "blob_missing"


class BlobDamaged(MeshError, ValueError):
    """What is stored is not what was written: cut, changed, of another key or of another blob."""

    code = "blob_damaged"


class BlobRefused(MeshError, OSError):
    """The store could not take a blob: the disk is full or fails. Nothing of it is left."""

    code = "blob_refused"
    retryable = True


def blob_id(text: str) -> BlobId:
    """`text` as an id. Raises `BlobMissing`, since no store holds anything by another name."""
    if _ID.fullmatch(text) is None:
        raise BlobMissing(
            f"a blob id has 64 hexadecimal digits; this one has {len(text)} characters"
        )
    return BlobId(text)


@dataclass(frozen=True, slots=True)
class Stored:
    """A blob that is durable."""

    id: BlobId
    size: int
    """Bytes of the content."""
    is_new: bool
    """Whether the store did not have it before."""


class BlobWriter(Protocol):
    """Takes one blob piece by piece. Pieces are never refused: what goes wrong is raised by `finish`."""

    @property
    def is_full(self) -> bool:
        """Whether so much is held that the writer should be waited for by `ready`."""
        ...

    def write(self, piece: bytes | memoryview) -> None:
        """Take a piece; the view may change after the call."""
        ...

    async def ready(self) -> None:
        """Wait until more can be held."""
        ...

    async def finish(self) -> Stored:
        """Make it durable and visible. Raises `BlobRefused`."""
        ...

    def discard(self) -> None:
        """Leave nothing of it; does nothing once it is finished."""
        ...


class Blobs(Protocol):
    """A store of blobs. Safe for concurrent use in one event loop."""

    async def start(self) -> None:
        """Make ready, and sweep what a crash left unfinished. Raises `ConfigurationError`, `BlobRefused`."""
        ...

    def begin(self) -> BlobWriter:
        """A writer for one blob."""
        ...

    async def size(self, blob: BlobId) -> int:
        """Bytes of the content. Raises `BlobMissing`, `BlobDamaged`."""
        ...

    def read(
        self, blob: BlobId, *, start: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """The content, or a range of it (cut at the end), in pieces; each was verified before it is given.

        Raises `BlobMissing`, `BlobDamaged`.
        """
        ...

    async def remove(self, blob: BlobId) -> bool:
        """Take it away; False when it was not there."""
        ...

    async def stop(self) -> None:
        """Let go of threads and connections."""
        ...


__all__ = [
    "BlobDamaged",
    "BlobId",
    "BlobMissing",
    "BlobRefused",
    "BlobWriter",
    "Blobs",
    "Stored",
    "blob_id",
]
