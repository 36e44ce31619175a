"""Peers on real sockets: a sender that reads what it is told, and a receiver that a test leads."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from adapters.hl7v2 import MLLP_CLIENT, MLLP_SERVER
from adapters.hl7v2.client import MllpClient
from adapters.hl7v2.codec.acknowledgement import Acknowledgement, parse_acknowledgement
from adapters.hl7v2.server import MllpServer
from bus.clock import SystemClock
from bus.events.protocol import Events
from bus.telemetry.counters import Counters
from tests.unit.adapters.parts import DEADLINE_S, runtime

START, END = b"\x0b", b"\x1c\r"


@dataclass
class Sender:
    """One connection of a sending system."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @staticmethod
    async def connect(port: int, *, tls: ssl.SSLContext | None = None) -> Sender:
        streams = await asyncio.open_connection(
            "127.0.0.1", port, ssl=tls, server_hostname="localhost" if tls else None, limit=1 << 24
        )
        return Sender(*streams)

    def write(self, *messages: bytes) -> None:
        self.writer.write(b"".join(START + m + END for m in messages))

    async def answer_bytes(self) -> bytes:
        async with asyncio.timeout(DEADLINE_S):
            answer = await self.reader.readuntil(END)
        assert answer.startswith(START)
        return answer[1:-2]

    async def answer(self) -> Acknowledgement:
        return parse_acknowledgement(await self.answer_bytes())

    async def ask(self, message: bytes) -> Acknowledgement:
        self.write(message)
        return await self.answer()

    async def closed(self) -> bytes:
        """What still comes until the other side closes."""
        async with asyncio.timeout(DEADLINE_S):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""
            finally:
                self.close()

    def close(self) -> None:
        self.writer.transport.abort()


@asynccontextmanager
async def mllp_server(
    events: Events, folder: Path, **settings: object
) -> AsyncIterator[tuple[MllpServer, Counters]]:
    """A running server on a port of its own."""
    own = runtime(events, folder, clock=SystemClock())
    base: dict[str, object] = {
        "name": "emr-in",
        "kind": "hl7v2.mllp-server",
        "listen": "127.0.0.1:0",
    }
    server = MllpServer(MLLP_SERVER.config.model_validate(base | settings), own)
    await server.start()
    try:
        yield server, own.counters
    finally:
        await server.stop()


@asynccontextmanager
async def mllp_client(
    events: Events, folder: Path, port: int, **settings: object
) -> AsyncIterator[tuple[MllpClient, Counters]]:
    """A running client that retries quickly."""
    own = runtime(events, folder, clock=SystemClock())
    base: dict[str, object] = {
        "name": "his-out",
        "kind": "hl7v2.mllp-client",
        "connect": f"127.0.0.1:{port}",
        "subscribe": "evt.north.raw.>",
        "retry": {"first_delay_s": 0.02, "longest_delay_s": 0.1, "max_attempts": 4},
    }
    client = MllpClient(MLLP_CLIENT.config.model_validate(base | settings), own)
    await client.start()
    try:
        yield client, own.counters
    finally:
        await client.stop()


Behaviour = Callable[["Receiver", bytes, asyncio.StreamWriter], Awaitable[None]]


def control_id(message: bytes) -> bytes:
    fields = message.replace(b"\n", b"\r").split(b"\r", 1)[0].split(message[3:4])
    return fields[9] if len(fields) > 9 else b""


def acknowledgement(code: str, answered: bytes) -> bytes:
    return b"MSH|^~\\&|HIS|||||||ACK|S1|P|2.5.1\rMSA|" + code.encode() + b"|" + answered + b"\r"


async def accept(receiver: Receiver, message: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(START + acknowledgement("AA", control_id(message)) + END)


@dataclass
class Receiver:
    """A receiving system; `behave` decides about each message."""

    behave: Behaviour = accept
    tls: ssl.SSLContext | None = None
    received: list[bytes] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, ssl=self.tls, limit=1 << 24
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in tuple(self.writers):
            writer.transport.abort()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S), self.changed:
            await self.changed.wait_for(condition)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.add(writer)
        try:
            while True:
                framed = await reader.readuntil(END)
                async with self.changed:
                    self.received.append(framed[1:-2])
                    self.changed.notify_all()
                await self.behave(self, framed[1:-2], writer)
        except (EOFError, OSError):
            pass
        finally:
            self.writers.discard(writer)
            writer.close()
            async with self.changed:
                self.changed.notify_all()


@asynccontextmanager
async def receiving(
    behave: Behaviour = accept, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Receiver]:
    receiver = Receiver(behave, tls)
    await receiver.start()
    try:
        yield receiver
    finally:
        await receiver.stop()
