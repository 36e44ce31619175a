"""Messages and requests while the server stands still, talks nonsense, or is slow to take what is sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bus.telemetry.counters import Counters
from bus.transport import nats
from bus.transport.nats import NatsOptions, NatsTransport
from bus.transport.nats.connection import CLOSE_WITHIN_S
from bus.transport.nats.fast import FastWire
from bus.transport.protocol import Incoming
from schemas.errors import DeadlineExceeded, ResourceExhausted, Unavailable
from tests.contract.carriers import eventually
from tests.faults.proxy import Proxy
from tests.nats_server import NatsServer

pytestmark = pytest.mark.server
OPTIONS = NatsOptions(
    ping_interval_s=0.5,
    ping_timeout_s=0.5,
    reconnect_wait_max_s=0.2,
    pending_bytes=1024 * 1024,
)


async def connect(url: str, counters: Counters | None = None) -> NatsTransport:
    return await nats.connect([url], name="faults", options=OPTIONS, counters=counters)


def is_full(transport: NatsTransport) -> bool:
    wire = transport._connection.wire
    return wire is not None and wire.full


def held_bytes(transport: NatsTransport) -> int:
    """What waits in the writer and in its socket."""
    wire = transport._connection.wire
    assert isinstance(wire, FastWire)
    return wire._size + wire._socket.get_write_buffer_size()


class Publishers:
    """Publish large messages, several at a time."""

    def __init__(self, transport: NatsTransport) -> None:
        self._transport = transport
        self.sent = 0
        self._seen = (0, 0)
        self.tasks = [asyncio.ensure_future(self._publish()) for _ in range(8)]

    async def _publish(self) -> None:
        for _ in range(100):
            await self._transport.messenger.publish("a", bytes(100_000))
            self.sent += 1

    def wait_at_the_bound(self) -> bool:
        """Whether nothing more was sent for a while: the kernel's own buffers are full as well."""
        sent, looks = self._seen
        self._seen = (self.sent, looks + 1 if sent == self.sent else 0)
        return is_full(self._transport) and self._seen[1] > 30


async def test_publishers_wait_at_the_bound_and_go_on_when_the_server_does(
    nats_server: NatsServer,
) -> None:
    patient = NatsOptions(ping_interval_s=60, pending_bytes=OPTIONS.pending_bytes)
    transport = await nats.connect([nats_server.url], name="slow", options=patient)
    direct = await nats.connect([nats_server.url], name="direct", options=patient)
    got: list[int] = []
    await direct.messenger.subscribe("a", lambda message: got.append(len(message.payload)))
    await transport.messenger.publish("a", b"first")
    nats_server.pause()
    try:
        publishers = Publishers(transport)
        await eventually(publishers.wait_at_the_bound, "the bound")
        with pytest.raises(ResourceExhausted, match="pending_bytes"):
            transport.messenger.send("a", b"")
        publishers.tasks[0].cancel()
        await asyncio.wait(publishers.tasks[:1])
        assert held_bytes(transport) <= OPTIONS.pending_bytes + 8 * 200_000
    finally:
        nats_server.resume()
    await asyncio.gather(*publishers.tasks[1:])
    await eventually(lambda: len(got) == publishers.sent + 1, "the last message")
    await transport.close()
    await direct.close()


async def test_publisher_that_waits_on_a_stalled_connection_goes_on_with_the_next(
    nats_server: NatsServer,
) -> None:
    counters = Counters()
    async with Proxy(nats_server.port) as proxy:
        transport = await connect(f"nats://127.0.0.1:{proxy.port}", counters)
        direct = await connect(nats_server.url)
        got: list[Incoming] = []
        await direct.messenger.subscribe("a", got.append)
        await transport.messenger.publish("a", b"")
        proxy.stall()

        async def publish() -> None:
            for _ in range(100):
                await transport.messenger.publish("a", bytes(100_000))

        publishing = asyncio.ensure_future(publish())
        await eventually(lambda: counters.get("link_lost", reason="stalled") == 1, "the doubt")
        proxy.heal()
        await publishing
        await eventually(lambda: len(got) > 1, "what was sent on the next connection")
        await transport.close()
        await direct.close()


async def test_stopped_server_ends_requests_and_the_connection_within_its_pings(
    nats_server: NatsServer,
) -> None:
    counters = Counters()
    transport = await connect(nats_server.url, counters)
    await transport.messenger.subscribe("rpc.silent", lambda _: None)
    asking = [
        asyncio.ensure_future(transport.messenger.request("rpc.silent", b"", timeout_s=timeout_s))
        for timeout_s in (0.05, 60, 60)
    ]
    await asyncio.sleep(0)
    nats_server.pause()
    try:
        results = await asyncio.wait_for(asyncio.gather(*asking, return_exceptions=True), 20)
        assert [type(result) for result in results] == [DeadlineExceeded, Unavailable, Unavailable]
        assert counters.get("link_lost", reason="stalled") == 1
        late = transport.messenger.request("rpc.silent", b"", timeout_s=0.05)
        with pytest.raises(DeadlineExceeded):
            await late
        async with asyncio.timeout(CLOSE_WITHIN_S):
            await transport.close()
        assert counters.get("transport_task_left") == 0
    finally:
        nats_server.resume()


async def test_requests_given_up_leave_nothing_behind(nats_server: NatsServer) -> None:
    transport = await connect(nats_server.url)
    await transport.messenger.subscribe("rpc.silent", lambda _: None)
    asking = [
        asyncio.ensure_future(transport.messenger.request("rpc.silent", b"", timeout_s=60))
        for _ in range(100)
    ]
    await asyncio.sleep(0)
    for task in asking:
        task.cancel()
    await asyncio.wait(asking)
    requests = transport._jetstream.requests
    assert requests._calls == {}
    assert all(not bucket for bucket in requests._deadlines._buckets.values())
    await transport.close()


@asynccontextmanager
async def server_that_says(*nonsense: bytes) -> AsyncIterator[str]:
    """A server that lets clients in, and then says something; its address."""
    said = iter(nonsense)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"x","version":"2.15.1","max_payload":1048576}\r\n')
        try:
            while line := await reader.readline():
                if line == b"PING\r\n":
                    writer.write(b"PONG\r\n")
                elif line.startswith(b"SUB"):
                    writer.write(next(said, b""))
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


@pytest.mark.parametrize(
    "nonsense",
    [
        b"MSG a 1 999999999999\r\n",
        b"MSG a 1 -7\r\n",
        b"HMSG a 1 9 3\r\nabc\r\n",
        b"MSG a 1 1\r\ntoo long\r\n",
        b"NONSENSE\r\n",
        b"INFO {\r\n",
        b"-ERR\r\n",
        b"x" * 70_000,
    ],
)
async def test_server_that_talks_nonsense_is_left_with_a_reason_and_sought_again(
    nonsense: bytes,
) -> None:
    counters = Counters()
    async with server_that_says(nonsense) as url:
        transport = await connect(url, counters)
        await eventually(lambda: counters.get("link_restored") == 1, "the next connection")
        assert counters.get("link_lost") == 1
        assert counters.get("protocol_error") == 1
        async with asyncio.timeout(CLOSE_WITHIN_S):
            await transport.close()
