"""One TCP or TLS connection as DICOM needs it: reads into its own buffers, pauses when nobody takes, writes at once."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Final

from schemas.errors import Unavailable

_BUFFER_BYTES: Final = 262_144
_HIGH_WATER_BYTES: Final = 1 << 20
_MAX_PASSED_OVER_BYTES: Final = 1 << 22
_QUICK_ACK: Final[int | None] = getattr(socket, "TCP_QUICKACK", None)


class Channel(asyncio.BufferedProtocol):
    """A connection whose bytes are taken by `receive` and given by `send`.

    Two buffers take turns: one fills while the other is worked, then reading pauses; no more than both is ever held.

    With `quick_ack` each read asks the kernel to acknowledge at once. Peers that write a response in two parts with
    Nagle's algorithm on (dcmtk, Orthanc and devices built on them) wait some 40 ms for that acknowledgement otherwise.
    """

    def __init__(
        self, *, quick_ack: bool = False, opened: Callable[[Channel], None] | None = None
    ) -> None:
        self._opened = opened
        self._transport: asyncio.Transport | None = None
        self._socket: socket.socket | None = None
        self._quick_ack = _QUICK_ACK if quick_ack else None
        self._buffers = (bytearray(_BUFFER_BYTES), bytearray(_BUFFER_BYTES))
        self._filling = memoryview(self._buffers[0])
        self._spare = memoryview(self._buffers[1])
        self._filled = 0
        self._paused = False
        self._ended = False
        self._passed_over: int | None = None
        """Bytes that came and are not wanted any more; None while they are."""
        self._lost: Exception | None = None
        self._wake: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self.closed = asyncio.Event()

    # what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ready to read and write."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  # TCP and TLS give nothing else
        self._transport = transport
        transport.set_write_buffer_limits(_HIGH_WATER_BYTES)
        self._socket = transport.get_extra_info("socket")
        if self._socket is not None:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._acknowledge_at_once()
        if self._opened is not None:
            self._opened(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go."""
        if self._passed_over is not None:
            return self._filling
        return self._filling[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes came."""
        if self._passed_over is not None:
            self._passed_over += nbytes
            if self._passed_over > _MAX_PASSED_OVER_BYTES:
                self.abort()
            return
        self._filled += nbytes
        self._acknowledge_at_once()
        if self._filled == _BUFFER_BYTES and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._awaken()

    def eof_received(self) -> bool:
        """The peer sends nothing more."""
        self._ended = True
        self._awaken()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""
        self._ended, self._lost = True, exc
        self._awaken()
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self.closed.set()

    def pause_writing(self) -> None:
        """The peer does not take what is written."""
        self._drained = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        """It does again."""
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None

    # what we call

    @property
    def address(self) -> str:
        """IP address of the peer."""
        name = self._transport.get_extra_info("peername") if self._transport else None
        return str(name[0]) if name else ""

    def known(self, name: str) -> object:
        """What the transport knows (`peercert`, `sockname`)."""
        return self._transport.get_extra_info(name) if self._transport else None

    async def receive(self) -> memoryview:
        """Bytes that came, valid until the next call; empty at the end of the connection."""
        while not self._filled and not self._ended:
            self._wake = asyncio.get_running_loop().create_future()
            try:
                await self._wake
            finally:
                self._wake = None
        found = self._filling[: self._filled]
        self._filling, self._spare = self._spare, self._filling
        self._filled = 0
        if self._paused and self._transport is not None and not self._ended:
            self._paused = False
            self._transport.resume_reading()
        return found

    async def send(self, chunk: bytes | bytearray | memoryview) -> None:
        """Write, and wait while the peer does not take what was written. Raises `Unavailable`."""
        if self._transport is None or self.closed.is_set() or self._transport.is_closing():
            raise Unavailable("the connection to the DICOM peer is closed")
        self._transport.write(chunk)
        if self._drained is not None:
            await self._drained
            if self.closed.is_set():
                raise Unavailable(
                    "the connection to the DICOM peer was lost while it was written to"
                )

    def end_reading(self) -> None:
        """Let `receive` return empty, as at the end of the connection."""
        self._ended = True
        self._awaken()

    async def linger(self, timeout_s: float) -> None:
        """Wait until the peer closes, passing over what it still sends; then close anyhow.

        Closing at once would let the kernel reset the connection when bytes of the peer are unread, and our last
        PDU would be lost with it.
        """
        self.end_reading()
        if self._transport is not None and timeout_s and not self.closed.is_set():
            self._passed_over = 0
            if self._paused:
                self._paused = False
                self._transport.resume_reading()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self.closed.wait()
        self.abort()

    def close(self) -> None:
        """Close after what was written is sent."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    # inside

    def _awaken(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def _acknowledge_at_once(self) -> None:
        if self._quick_ack is not None and self._socket is not None:
            self._socket.setsockopt(socket.IPPROTO_TCP, self._quick_ack, 1)


__all__ = ["Channel"]
