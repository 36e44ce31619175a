"""Many streams, and streams that nobody reads: others are not hurt, memory is bounded, nothing is lost."""

from __future__ import annotations

import asyncio
import json
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.hospital import Site, running
from tests.ports import free_port

pytestmark = [
    pytest.mark.server,
    pytest.mark.slow,
    pytest.mark.alone,
    pytest.mark.timeout(300),
]
MIB = 1 << 20
STREAMS = 2_000
PATH = "/v1/subscribe/evt.north.%3E"
NOTES = "/v1/publish/evt.north.raw.notes"
MORE = """
max_streams = 3000
[gateway.streams]
max_per_client = 3000
write_timeout_s = 2
"""


def resident_mib(pid: int) -> float:
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * resource.getpagesize() / MIB


@asynccontextmanager
async def gateway(folder: Path) -> AsyncIterator[tuple[str, int]]:
    """The address of a gateway, and its process."""
    port = free_port()
    site = Site(folder, f'[gateway]\nlisten = "127.0.0.1:{port}"\n{MORE}')
    async with running(site):
        assert site.child is not None
        yield f"http://127.0.0.1:{port}", site.child.pid


async def publish(base: str, count: int, body: bytes) -> None:
    async with httpx.AsyncClient(timeout=60) as client:
        for number in range(count):
            answer = await client.post(
                base + NOTES, content=b"%d " % number + body, headers={"Medmesh-Key": "one"}
            )
            assert answer.status_code == 202, answer.text


async def opened(base: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A stream whose head has come."""
    host, port = base.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=MIB)
    writer.write(f"GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert b" 200 " in head, head
    return reader, writer


async def first_event(reader: asyncio.StreamReader) -> dict[str, Any]:
    while True:
        line = await reader.readline()
        assert line, "the stream ended"
        if line.startswith(b"data: "):
            found: dict[str, Any] = json.loads(line[6:])
            return found


def allow_files(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))


async def test_two_thousand_streams_get_an_event_in_bounded_memory(tmp_path: Path) -> None:
    allow_files(STREAMS + 500)
    async with gateway(tmp_path) as (base, pid), AsyncExitStack() as stack:
        await publish(base, 1, b"warm")
        before = resident_mib(pid)
        streams = []
        for _ in range(STREAMS // 50):
            streams += await asyncio.gather(*(opened(base) for _ in range(50)))
        for _, writer in streams:
            stack.callback(writer.close)
        await publish(base, 1, b"to all")
        async with asyncio.timeout(120):
            found = await asyncio.gather(*(first_event(reader) for reader, _ in streams))
        assert {one["body"] for one in found} == {"0 to all"}
        assert resident_mib(pid) - before < 200


async def numbers(client: httpx.AsyncClient, url: str, count: int, **headers: str) -> list[int]:
    """The numbers of so many events of a stream."""
    seen: list[int] = []
    accept = {"Accept": "application/x-ndjson", **headers}
    async with client.stream("GET", url, headers=accept) as answer:
        async for line in answer.aiter_lines():
            body = json.loads(line).get("body", "") if line else ""
            if body:
                seen.append(int(body.split()[0]))
            if len(seen) == count:
                break
    return seen


async def test_a_stream_that_nobody_reads_is_cut_and_hurts_nobody(tmp_path: Path) -> None:
    count, body = 150, b"x" * 90_000
    async with gateway(tmp_path) as (base, pid):
        host, port = base.removeprefix("http://").split(":")
        stuck = socket.create_connection((host, int(port)))
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        stuck.sendall(f"GET {PATH}?from=start HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        try:
            before = resident_mib(pid)
            async with httpx.AsyncClient(timeout=60) as client:
                following = asyncio.create_task(numbers(client, base + PATH + "?from=start", count))
                await publish(base, count, body)
                async with asyncio.timeout(60):
                    assert await following == list(range(count))
                assert resident_mib(pid) - before < 120
                await is_cut(client, base)
                await asyncio.to_thread(read_to_the_end, stuck)
                again = await numbers(client, base + PATH + "?from=start", count)
                assert again == list(range(count))
        finally:
            stuck.close()


async def is_cut(client: httpx.AsyncClient, base: str) -> None:
    """Wait until the gateway says that it ended a stream that was too slow."""
    async with asyncio.timeout(60):
        while 'reason="too_slow"' not in (await client.get(base + "/metrics")).text:  # noqa: ASYNC110
            await asyncio.sleep(0.2)


def read_to_the_end(connection: socket.socket) -> None:
    """Read what was on its way; then the connection has ended."""
    connection.settimeout(30)
    try:
        while connection.recv(1 << 16):
            pass
    except ConnectionError:
        return
