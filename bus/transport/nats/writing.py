"""Everything that goes to the server in one turn of the event loop leaves in one write."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

_CHUNK_BYTES: Final = 128 * 1024
"""So much is handed to the socket at once, also within a turn: larger joins only miss the processor's cache."""


class Writer:
    """The way out of one connection. What it and the socket hold together is bounded by who asks `full` first."""

    __slots__ = (
        "_behind",
        "_bound",
        "_broken",
        "_drainer",
        "_loop",
        "_open",
        "_parts",
        "_planned",
        "_size",
        "_socket",
        "_stream",
        "_usable",
        "_waiting",
    )

    def __init__(
        self,
        stream: asyncio.StreamWriter,
        *,
        bound: int,
        usable: Callable[[], bool],
        broken: Callable[[str], None],
    ) -> None:
        self._stream = stream
        self._socket = stream.transport
        self._socket.set_write_buffer_limits(high=bound // 2, low=bound // 4)
        self._bound = bound
        self._usable = usable
        self._broken = broken
        self._loop = asyncio.get_running_loop()
        self._parts: list[bytes] = []
        self._size = 0
        self._behind = 0
        """What the socket held after the last write; it can only have become less."""
        self._planned = False
        self._open = True
        self._waiting: list[asyncio.Future[None]] = []
        self._drainer: asyncio.Task[None] | None = None

    @property
    def full(self) -> bool:
        """Whether more is under way than the bound allows."""
        if self._size + self._behind <= self._bound:
            return False
        self._behind = self._socket.get_write_buffer_size()
        return self._size + self._behind > self._bound

    def put(self, parts: tuple[bytes, ...], size: int) -> None:
        """Add one whole protocol message of `size` bytes. Never waits; what comes after the end is dropped."""
        if not self._open:
            return
        self._parts += parts
        self._size += size
        if not self._planned:
            self._planned = True
            self._loop.call_soon(self._turn)
        elif self._size >= _CHUNK_BYTES:
            self.flush()

    def _turn(self) -> None:
        self._planned = False
        self.flush()

    def flush(self) -> None:
        """Hand everything to the socket."""
        if not self._parts or not self._open:
            return
        if not self._usable():
            self._broken("connection_lost")
            return
        parts, self._parts = self._parts, []
        self._size = 0
        self._socket.write(b"".join(parts))
        self._behind = self._socket.get_write_buffer_size()

    async def room(self) -> None:
        """Return when the bound leaves room, or the connection has ended."""
        while self._open and self.full:
            place: asyncio.Future[None] = self._loop.create_future()
            self._waiting.append(place)
            if self._drainer is None:
                self._drainer = self._loop.create_task(self._drain(), name="nats-drain")
            await place

    async def _drain(self) -> None:
        try:
            self.flush()
            await self._stream.drain()
        except OSError:
            self._broken("connection_lost")
        finally:
            self._drainer = None
            self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for place in waiting:
            if not place.done():
                place.set_result(None)

    def end(self) -> None:
        """Drop what is left and wake who waits."""
        self._open = False
        self._parts.clear()
        self._size = 0
        if self._drainer is not None:
            self._drainer.cancel()
        self._wake()


__all__ = ["Writer"]
