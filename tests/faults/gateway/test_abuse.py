"""What no client should do, done to a running gateway: its neighbours are served, its memory is bounded, it lives."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import statistics
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import h2.config
import h2.connection
import h2.exceptions
import httpx
import pytest

from tests.hospital import Site, running
from tests.ports import free_port

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(180)]

PUBLISH = "/v1/publish/evt.north.raw.notes"
GROWTH = 96 << 20
"""Bytes of resident memory that an attack may add."""
SLOWER = 20.0
"""How many times the median time of a healthy client may grow: attacker, gateway and server share the machine."""
FLOOR_S = 0.02
"""A median below it counts as it: ratios of nothing say nothing."""
Attack = Callable[[int], Awaitable[None]]


class Neighbour:
    """A healthy client that publishes one event after another, each under its own key."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._names = itertools.count()
        self.stored: dict[str, int] = {}

    async def publish(self) -> float:
        """Seconds until it was stored."""
        key = f"event-{next(self._names)}"
        loop = asyncio.get_running_loop()
        begun = loop.time()
        got = await self._http.post(PUBLISH, content=b"x" * 200, headers={"Idempotency-Key": key})
        assert got.status_code == 202, got.text
        self.stored[key] = got.json()["seq"]
        return loop.time() - begun

    async def while_(self, other: asyncio.Task[None]) -> list[float]:
        """Publish until the other is done, and at least ten times."""
        took: list[float] = []
        while len(took) < 10 or not other.done():
            took.append(await self.publish())
        return took

    async def check(self) -> None:
        """All that was acknowledged is stored, once."""
        for key, seq in self.stored.items():
            headers = {"Idempotency-Key": key}
            got = (await self._http.post(PUBLISH, content=b"x" * 200, headers=headers)).json()
            assert (got["duplicate"], got["seq"]) == (True, seq)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[tuple[Site, int]]:
    port = free_port()
    more = 'max_body = "64 KiB"\nbody_timeout_s = 2.0\nmax_header = "8 KiB"'
    found = Site(tmp_path, f'[gateway]\nlisten = "127.0.0.1:{port}"\n{more}\n')
    async with running(found):
        yield found, port


@contextlib.asynccontextmanager
async def connection(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


def opened() -> h2.connection.H2Connection:
    config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
    made = h2.connection.H2Connection(config)
    made.initiate_connection()
    return made


def request(method: str = "POST", path: str = PUBLISH) -> list[tuple[str, str]]:
    return [(":method", method), (":scheme", "http"), (":path", path), (":authority", "localhost")]


def frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return len(body).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + body


async def sent(port: int, *parts: bytes) -> None:
    """Send on a connection of its own until all is sent or the gateway ends it; what it answers is thrown away."""
    async with connection(port) as (reader, writer):
        drop = asyncio.ensure_future(_drop(reader))
        with contextlib.suppress(OSError):
            for part in parts:
                writer.write(part)
                await writer.drain()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(drop), 3)
        drop.cancel()
        await asyncio.gather(drop, return_exceptions=True)


async def _drop(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(OSError):
        while await reader.read(1 << 16):
            pass


async def rapid_reset(port: int) -> None:
    """HEADERS and RST_STREAM, thousands of times (CVE-2023-44487)."""
    client = opened()
    parts = []
    for _ in range(5_000):
        stream = client.get_next_available_stream_id()
        client.send_headers(stream, request())
        client.reset_stream(stream)
        parts.append(client.data_to_send())
    await sent(port, *(b"".join(parts[at : at + 100]) for at in range(0, len(parts), 100)))


async def continuation_flood(port: int) -> None:
    """Headers that never end (CVE-2024-27316)."""
    client = opened()
    literal = b"\x00\x03x-a\x7f\x81\x7e" + b"a" * 254
    begin = frame(1, 0, 1, b"\x83\x86\x84")
    more = frame(9, 0, 1, literal * 60)
    await sent(port, client.data_to_send() + begin, *([more] * 4_000))


async def setting_and_ping_flood(port: int) -> None:
    """Frames that each demand an answer."""
    client = opened()
    both = frame(4, 0, 0, b"") + frame(6, 0, 0, b"12345678")
    await sent(port, client.data_to_send(), *([both * 200] * 200))


async def many_headers(port: int) -> None:
    """More headers than anybody needs, in both versions."""
    lines = b"".join(b"x-%d: 1\r\n" % number for number in range(50_000))
    await sent(port, b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + lines + b"\r\n")
    client = opened()
    client.send_headers(1, [*request("GET", "/healthz"), *((f"x-{i}", "1") for i in range(2_000))])
    await sent(port, client.data_to_send())


async def large_headers(port: int) -> None:
    """One header of 20 MB, then one that is refused in HTTP/2."""
    await sent(port, b"GET / HTTP/1.1\r\nHost: x\r\nx-a: ", *([b"a" * (1 << 20)] * 20))
    client = opened()
    client.send_headers(1, [*request("GET", "/healthz"), ("x-a", "a" * 60_000)])
    await sent(port, client.data_to_send())


async def slow_heads_and_bodies(port: int) -> None:
    """300 clients that say a few bytes and then nearly nothing."""
    head = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n" % PUBLISH.encode()

    async def one(begin: bytes) -> None:
        async with connection(port) as (reader, writer):
            writer.write(begin)
            gone = asyncio.ensure_future(_drop(reader))
            for _ in range(4):
                await asyncio.wait({gone}, timeout=1)
                if not gone.done():
                    writer.write(b"x")
            gone.cancel()

    await asyncio.gather(*(one(head + (b"\r\n" if i % 2 else b"X-A: ")) for i in range(300)))


async def pipelining(port: int) -> None:
    """Thousands of requests at once, and nobody who reads the answers."""
    async with connection(port) as (_, writer):
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(3):
                for _ in range(50):
                    writer.write(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100)
                    await writer.drain()


ATTACKS: list[Attack] = [
    rapid_reset,
    continuation_flood,
    setting_and_ping_flood,
    many_headers,
    large_headers,
    slow_heads_and_bodies,
    pipelining,
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda one: one.__name__)
async def test_an_attack_hurts_nobody_else(site: tuple[Site, int], attack: Attack) -> None:
    running_site, port = site
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as http:
        neighbour = Neighbour(http)
        before = [await neighbour.publish() for _ in range(40)]
        memory = running_site.resident_bytes()
        task = asyncio.ensure_future(attack(port))
        during = await neighbour.while_(task)
        await task
        grown = running_site.resident_bytes() - memory
        await neighbour.check()
    slower = statistics.median(during) / max(FLOOR_S, statistics.median(before))
    assert slower < SLOWER, f"{slower:.1f} times slower beside it"
    assert grown < GROWTH, f"{grown >> 20} MiB more"
    assert await running_site.stop() == 0
