"""The simulated hospital information system: receives over MLLP, remembers what came and in which order, answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from adapters.hl7v2.codec.acknowledgement import AckCode, build_acknowledgement
from adapters.hl7v2.codec.errors import Hl7Error
from adapters.hl7v2.codec.header import peek
from adapters.hl7v2.codec.mllp import Frame, FrameDecoder, frame
from schemas.clock import Clock

_MAX_MESSAGE_BYTES = 16 << 20


class HisSimulator:
    """An MLLP receiver on the loopback that accepts everything."""

    def __init__(self, clock: Clock, *, received: Callable[[bytes], None], port: int = 0) -> None:
        self._clock = clock
        self._received = received
        self._wanted_port = port
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Transport] = set()
        self.answers = 0

    @property
    def port(self) -> int:
        """Port that it listens on, once started."""
        if self._server is None:
            return self._wanted_port
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def start(self) -> None:
        """Listen."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self), "127.0.0.1", self._wanted_port
        )

    async def stop(self) -> None:
        """Close the listener and every connection."""
        if self._server is not None:
            self._server.close()
        for transport in list(self._connections):
            transport.close()
        if self._server is not None:
            await self._server.wait_closed()

    def opened(self, transport: asyncio.Transport) -> None:
        """Remember a connection."""
        self._connections.add(transport)

    def closed(self, transport: asyncio.Transport) -> None:
        """Forget a connection."""
        self._connections.discard(transport)

    def take(self, message: bytes) -> bytes:
        """Remember a message and give its acknowledgement."""
        self._received(message)
        self.answers += 1
        try:
            header = peek(message)
        except Hl7Error:
            header = None
        enhanced = header is not None and header.accept_acknowledgement.upper() == "AL"
        return build_acknowledgement(
            header,
            AckCode.AR if header is None else AckCode.CA if enhanced else AckCode.AA,
            control_id=f"HIS{self.answers}",
            now_ms=self._clock.now_ms(),
        )


class _Connection(asyncio.Protocol):
    def __init__(self, his: HisSimulator) -> None:
        self._his = his
        self._decoder = FrameDecoder(max_message_bytes=_MAX_MESSAGE_BYTES)
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # What create_server promises; uvloop has classes of its own, so that isinstance would say no.
        self._transport = cast("asyncio.Transport", transport)
        self._his.opened(self._transport)

    def data_received(self, content: bytes) -> None:
        if self._transport is None:
            return
        for event in self._decoder.feed(content):
            if isinstance(event, Frame):
                self._transport.write(frame(self._his.take(event.payload)))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._his.closed(self._transport)


__all__ = ["HisSimulator"]
