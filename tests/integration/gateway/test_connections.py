"""Connections of our own listener: those that say nothing are cut, and a server ends although some stay open."""

from __future__ import annotations

import asyncio
import socket
import sys

import pytest

from gateway.contract import Receive, Scope, Send
from gateway.http.connections import cut, cut_silent
from gateway.http.exchange import answer
from gateway.http.server import HttpServer, Listening
from schemas.errors import Unavailable

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.skipif(sys.platform != "linux", reason="sockets are found in /proc"),
]


async def fine(scope: Scope, receive: Receive, send: Send) -> None:
    await answer(send, 200, b"fine", [])


def at(port: int = 0) -> Listening:
    return Listening(host="127.0.0.1", port=port, max_header=8192, max_connections=100)


async def connected(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port)


async def get(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    await asyncio.wait_for(reader.readexactly(4), 10)
    return head


async def test_a_connection_that_says_nothing_is_cut_and_one_that_spoke_stays() -> None:
    server = HttpServer(fine, at())
    await server.start()
    try:
        silent, silent_writer = await connected(server.bound_port)
        speaking = await connected(server.bound_port)
        assert b"200" in await get(*speaking)
        count = 0
        async with asyncio.timeout(10):
            while not count:
                await asyncio.sleep(0.01)  # until the server has taken the connection
                count = cut_silent(server.bound_port, after_s=0.0)
        assert count == 1
        assert await asyncio.wait_for(silent.read(), 10) == b""
        assert b"200" in await get(*speaking)
        for writer in (silent_writer, speaking[1]):
            writer.close()
    finally:
        await server.stop()


async def test_a_server_ends_although_connections_stay_open() -> None:
    server = HttpServer(fine, at())
    await server.start()
    reader, writer = await connected(server.bound_port)
    idle = await connected(server.bound_port)
    await get(*idle)
    port = server.bound_port
    await asyncio.wait_for(server.stop(), 10)
    assert await asyncio.wait_for(reader.read(), 10) == b""
    with pytest.raises(ConnectionRefusedError):
        await connected(port)
    for one in (writer, idle[1]):
        one.close()


async def test_a_taken_port_is_an_error_and_never_shared() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = HttpServer(fine, at(taken.getsockname()[1]))
        with pytest.raises(Unavailable, match="cannot listen"):
            await server.start()
        await server.stop()


async def test_nothing_is_cut_at_a_port_of_nobody() -> None:
    assert cut(1) == 0
