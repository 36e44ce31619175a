"""What no client should send, frame by frame; and h2load. Clients beside it are served all the while."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import h2.config
import h2.connection
import h2.events
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from tests.hospital import eventually
from tests.integration.gateway.grpc_mesh import GET, METADATA, World, gateway
from tests.unit.gateway.grpc.world import TOKEN

CALM = 0xB
"""ENHANCE_YOUR_CALM"""
Happened = Callable[[h2.events.Event], bool]


class RawClient:
    """HTTP/2 by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        self.h2 = h2.connection.H2Connection(config)
        self.events: list[h2.events.Event] = []
        self.is_closed = False
        self.h2.initiate_connection()

    async def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())
        await self.writer.drain()

    def open(self, path: str = GET, *, token: str = TOKEN) -> int:
        stream = self.h2.get_next_available_stream_id()
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "localhost"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("authorization", token),
        ]
        self.h2.send_headers(stream, headers)
        return stream

    async def until(self, happened: Happened, *, within_s: float = 10.0) -> h2.events.Event | None:
        """The first event that fits; None when the connection ends before."""
        async with asyncio.timeout(within_s):
            while True:
                for event in self.events:
                    if happened(event):
                        return event
                data = await self.reader.read(65536)
                if not data:
                    self.is_closed = True
                    return None
                self.events += self.h2.receive_data(data)
                await self.flush()


@asynccontextmanager
async def raw(world: World) -> AsyncIterator[RawClient]:
    host, _, port = world.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        client = RawClient(reader, writer)
        await client.flush()
        yield client
    finally:
        writer.close()


async def healthy(world: World) -> None:
    """A client beside it is served."""
    async with world.channel() as channel:
        request = StringValue(value="1").SerializeToString()
        answer = await channel.unary_unary(GET)(request, metadata=METADATA, timeout=20)
        assert StringValue.FromString(answer).value == "result of 1"


def ended(stream: int) -> Happened:
    kinds = (h2.events.StreamEnded, h2.events.StreamReset)
    return lambda event: isinstance(event, kinds) and event.stream_id == stream


@pytest.mark.parametrize(
    "noise",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"\x00" * 64,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 64,
    ],
)
async def test_what_is_no_http2_ends_its_own_connection_only(tmp_path: Path, noise: bytes) -> None:
    async with gateway(tmp_path) as world:
        host, _, port = world.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(noise)
        await writer.drain()
        await healthy(world)
        writer.close()
        del reader


@pytest.mark.parametrize(
    "frame",
    [
        b"\x00\x00\x00\x00\x05abc",  # shorter than it says
        b"\x00\xff\xff\xff\xff",  # 4 GiB
        b"\x01\x00\x00\x00\x03abc",  # compressed with nothing
        b"",
    ],
)
async def test_a_broken_message_ends_its_own_call_only(tmp_path: Path, frame: bytes) -> None:
    async with gateway(tmp_path) as world, raw(world) as client:
        stream = client.open()
        client.h2.send_data(stream, frame, end_stream=True)
        await client.flush()
        await client.until(ended(stream))
        assert not world.seen.calls
        await healthy(world)


async def test_a_flood_of_streams_that_are_reset_at_once_hurts_nobody(tmp_path: Path) -> None:
    async with gateway(tmp_path) as world, raw(world) as client:
        body = b"\x00\x00\x00\x00\x00"
        for _ in range(20):
            for _ in range(50):
                stream = client.open()
                client.h2.send_data(stream, body, end_stream=True)
                client.h2.reset_stream(stream, error_code=8)
            await client.flush()
        await healthy(world)
        requests = world.server._requests
        await eventually(lambda: requests.taken == 0, within_s=10, what="nothing is in hand")


async def test_a_client_that_pings_without_end_is_sent_away(tmp_path: Path) -> None:
    async with gateway(tmp_path) as world, raw(world) as client:
        for number in range(60):
            client.h2.ping(number.to_bytes(8, "big"))
        await client.flush()
        gone = await client.until(lambda event: isinstance(event, h2.events.ConnectionTerminated))
        assert isinstance(gone, h2.events.ConnectionTerminated)
        assert int(gone.error_code or 0) == CALM
        await healthy(world)


async def test_a_call_whose_message_never_comes_is_ended(tmp_path: Path) -> None:
    async with (
        gateway(tmp_path, body_timeout_s=0.2) as world,
        raw(world) as client,
    ):
        stream = client.open()
        await client.flush()
        await client.until(ended(stream))
        kinds = (h2.events.TrailersReceived, h2.events.ResponseReceived)
        told = [event for event in client.events if isinstance(event, kinds)]
        headers = {str(name): str(text) for one in told for name, text in one.headers or ()}
        assert headers["grpc-status"] == str(grpc.StatusCode.DEADLINE_EXCEEDED.value[0])
        assert world.server._requests.taken == 0


async def test_a_connection_cut_in_mid_call_gives_the_call_up(tmp_path: Path) -> None:
    async with gateway(tmp_path) as world:
        async with raw(world) as client:
            stream = client.open()
            message = StringValue(value="wait").SerializeToString()
            framed = b"\x00" + len(message).to_bytes(4, "big") + message
            client.h2.send_data(stream, framed, end_stream=True)
            await client.flush()
            await world.seen.waiting.wait()
        requests = world.server._requests
        await eventually(lambda: requests.taken == 0, within_s=10, what="the call is given up")


async def test_h2load_gets_an_answer_to_each_of_its_calls(tmp_path: Path) -> None:
    tool = shutil.which("h2load")
    if tool is None:
        assert os.environ.get("CI") != "true", "h2load is missing"
        pytest.skip("h2load is missing: apt-get install nghttp2-client")
    message = StringValue(value="1").SerializeToString()
    body = tmp_path / "body"
    body.write_bytes(b"\x00" + len(message).to_bytes(4, "big") + message)
    async with gateway(tmp_path) as world:
        process = await asyncio.create_subprocess_exec(
            tool, "-n", "400", "-c", "4", "-m", "16", "-d", str(body),
            "-H", "content-type: application/grpc", "-H", "te: trailers",
            "-H", f"authorization: {TOKEN}", f"http://{world.address}{GET}",
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output, _ = await process.communicate()
        found = re.search(rb"requests: 400 total, .* 400 done, 400 succeeded, 0 failed", output)
        assert found, output.decode()
        assert len(world.seen.calls) == 400
