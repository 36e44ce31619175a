"""Where the data set of a message goes while it comes from the network."""

from __future__ import annotations

from typing import Protocol


class Sink(Protocol):
    """Takes a data set piece by piece. It never raises: what goes wrong is kept for whoever performs the request."""

    @property
    def is_full(self) -> bool:
        """Whether it holds so much that reading should wait for `ready`."""
        ...

    def write(self, piece: memoryview) -> None:
        """Take a piece; the view is valid only during the call."""
        ...

    async def ready(self) -> None:
        """Wait until it can take more."""
        ...

    def close(self) -> None:
        """Let go of what was not used. Called once at the end, whatever happened."""
        ...


class Discard:
    """Keeps nothing."""

    is_full = False

    def write(self, piece: memoryview) -> None:
        """Pass over it."""

    async def ready(self) -> None:
        """Always is."""

    def close(self) -> None:
        """Nothing is held."""


class MemorySink:
    """Keeps a small data set whole; of one over `max_bytes` nothing is kept."""

    is_full = False

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._kept = bytearray()
        self.is_over = False
        """Whether more came than is kept."""

    @property
    def collected(self) -> bytes:
        """What came."""
        return bytes(self._kept)

    def write(self, piece: memoryview) -> None:
        """Keep it, unless that makes too much."""
        if self.is_over or len(self._kept) + len(piece) > self._max_bytes:
            self.is_over = True
            self._kept.clear()
            return
        self._kept += piece

    async def ready(self) -> None:
        """Always is."""

    def close(self) -> None:
        """Let it go."""
        self._kept.clear()


__all__ = ["Discard", "MemorySink", "Sink"]
