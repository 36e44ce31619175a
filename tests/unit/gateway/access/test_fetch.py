"""Reading key sets: bounded in size and time, over TLS that is verified, and nowhere else than where it is asked."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bus.clock import SystemClock
from bus.trust.tls import development_certificates, server_context
from gateway.access.build import open_access
from gateway.access.fetch import from_address, from_file
from gateway.access.jwks import MAX_BYTES
from schemas.errors import ConfigurationError, Unavailable
from tests.unit.gateway.access.kit import runtime, section
from tests.unit.gateway.access.tokens_kit import World, bearer

Reply = Callable[[asyncio.StreamWriter], Awaitable[None]]
DOCUMENT = b'{"keys": []}'


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pki")
    development_certificates(folder, clock=SystemClock(), names=("localhost",))
    return folder


@asynccontextmanager
async def server(pki: Path, reply: Reply) -> AsyncIterator[str]:
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await reader.readuntil(b"\r\n\r\n")
            await reply(writer)
        except (asyncio.CancelledError, OSError):
            pass
        finally:
            writer.transport.abort()

    context = server_context(certificate=pki / "server.pem", key=pki / "server.key")
    listening = await asyncio.start_server(serve, "localhost", 0, ssl=context)
    port = listening.sockets[0].getsockname()[1]
    try:
        yield f"https://localhost:{port}/jwks"
    finally:
        listening.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def saying(status: str, body: bytes, *headers: str) -> Reply:
    async def reply(writer: asyncio.StreamWriter) -> None:
        head = "\r\n".join((f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""))
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    return reply


async def test_a_document_is_read(pki: Path) -> None:
    async with server(pki, saying("200 OK", DOCUMENT)) as url:
        assert await from_address(url, pki / "ca.pem")() == DOCUMENT


async def test_a_server_that_nobody_vouches_for_is_not_believed(pki: Path) -> None:
    async with server(pki, saying("200 OK", DOCUMENT)) as url:
        with pytest.raises(Unavailable, match="ConnectError"):
            await from_address(url, None)()


async def test_other_answers_and_redirects_are_refused(pki: Path) -> None:
    for status in ("302 Found", "404 Not Found", "500 Oh", "204 No Content"):
        async with server(pki, saying(status, b"", "Location: https://elsewhere.example/")) as url:
            with pytest.raises(Unavailable, match=status[:3]):
                await from_address(url, pki / "ca.pem")()


async def test_a_document_without_end_is_cut(pki: Path) -> None:
    sent = 0

    async def endless(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 65_536)
            await writer.drain()
            sent += 65_536

    async with server(pki, endless) as url:
        with pytest.raises(Unavailable, match="larger"):
            await from_address(url, pki / "ca.pem")()
    assert sent < 64 * MAX_BYTES


async def test_a_small_body_that_unpacks_to_a_large_one_is_not_unpacked(pki: Path) -> None:
    bomb = gzip.compress(b"x" * (MAX_BYTES * 40))
    async with server(pki, saying("200 OK", bomb, "Content-Encoding: gzip")) as url:
        with pytest.raises(Unavailable, match="compressed"):
            await from_address(url, pki / "ca.pem")()


async def test_a_server_that_never_finishes_is_left(pki: Path) -> None:
    async def slow(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        await writer.drain()
        await asyncio.Event().wait()

    async with server(pki, slow) as url:
        with pytest.raises(Unavailable):
            await from_address(url, pki / "ca.pem", timeout_s=0.2)()


async def test_an_address_where_nobody_listens(pki: Path) -> None:
    with pytest.raises(Unavailable):
        await from_address("https://localhost:1/jwks", pki / "ca.pem")()


def test_an_authority_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="authority"):
        from_address("https://localhost/jwks", tmp_path / "none.pem")


async def test_a_file_is_read_within_bounds(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_bytes(DOCUMENT)
    assert await from_file(file)() == DOCUMENT
    file.write_bytes(b"x" * (MAX_BYTES + 1))
    with pytest.raises(Unavailable, match="larger"):
        await from_file(file)()
    with pytest.raises(Unavailable, match="No such file"):
        await from_file(tmp_path / "none")()


async def test_a_gateway_starts_without_its_authorisation_server_and_believes_it_when_it_comes(
    pki: Path, tmp_path: Path
) -> None:
    world = World(tmp_path)
    document = world.issuer_keys.read_bytes()
    replies = [saying("503 Away", b""), saying("200 OK", document)]

    async def reply(writer: asyncio.StreamWriter) -> None:
        await replies.pop(0)(writer)

    async with server(pki, reply) as url:
        keys = world.section_keys()
        issuer = keys["access"]["issuer"][0]
        del issuer["jwks"]
        issuer |= {"jwks_url": url, "authority": str(pki / "ca.pem")}
        access = await open_access(section(**keys), runtime(tmp_path, clock=world.clock))

        with pytest.raises(Unavailable, match="cannot be read now"):
            await bearer(access, world.token())
        assert (await bearer(access, world.token())).name == "lab"
        await access.stop()
    assert replies == []
