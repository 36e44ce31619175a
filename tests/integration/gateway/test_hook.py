"""Posting to endpoints over real sockets: TLS by name, no redirects, deadlines, answers that never end."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.subscriptions.endpoints import Endpoints
from gateway.subscriptions.hook import Hook, HookFailed
from gateway.subscriptions.model import Wish
from schemas.errors import ConfigurationError, DeadlineExceeded, Unavailable
from tests.integration.adapters.hl7v2.certificates import TestAuthority

Answer = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


@asynccontextmanager
async def server(answer: Answer, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            await answer(head, writer)
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield int(listener.sockets[0].getsockname()[1])
    finally:
        listener.close()


@asynccontextmanager
async def hook(
    prefix: str, authority: Path | None = None, timeout_s: float = 5.0
) -> AsyncIterator[Hook]:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    endpoints = Endpoints([prefix], allow_local=True, resolve=resolve)
    made = Hook(endpoints, authority=authority, most_timeout_s=timeout_s)
    made.start()
    try:
        yield made
    finally:
        await made.stop()


def wish(url: str, **more: object) -> Wish:
    return Wish(topic="urn:example:t", channel="rest-hook", endpoint=url, **more)  # type: ignore[arg-type]


def fixed(raw: bytes, heads: list[bytes] | None = None) -> Answer:
    async def answer(head: bytes, writer: asyncio.StreamWriter) -> None:
        if heads is not None:
            heads.append(head)
        writer.write(raw)
        await writer.drain()

    return answer


async def test_the_certificate_is_held_to_the_name_not_to_the_address(tmp_path: Path) -> None:
    authority = TestAuthority(tmp_path)
    heads: list[bytes] = []
    own = authority.server(authority.sign("ehr", host="ehr.example"))
    async with server(fixed(OK, heads), tls=own) as port:
        url = f"https://ehr.example:{port}/hook"
        async with hook(url, authority.ca) as client:
            await client.post(wish(url, headers=(("X-Key", "k3y"),)), b"{}")
        other = f"https://other.example:{port}/hook"
        async with hook(other, authority.ca) as client:
            with pytest.raises(Unavailable):
                await client.post(wish(other), b"{}")
        async with hook(url) as client:  # an authority that the system does not know
            with pytest.raises(Unavailable):
                await client.post(wish(url), b"{}")
    (head,) = heads
    assert f"host: ehr.example:{port}".encode() in head.lower()
    assert b"x-key: k3y" in head.lower()


@pytest.mark.parametrize("status", [b"301 Moved", b"307 Temporary", b"404 Not Found", b"500 Oops"])
async def test_what_is_not_2xx_is_a_failure_and_no_redirect_is_followed(status: bytes) -> None:
    heads: list[bytes] = []
    raw = b"HTTP/1.1 " + status + b"\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n"
    async with server(fixed(raw, heads)) as port:
        url = f"http://ehr.example:{port}/hook"
        async with hook(url) as client:
            with pytest.raises(HookFailed, match=status[:3].decode()):
                await client.post(wish(url), b"{}")
    assert len(heads) == 1


async def test_an_answer_that_never_ends_is_not_read_to_its_end() -> None:
    ended = asyncio.Event()

    async def endless(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                writer.write(b"x" * 16384)
                await writer.drain()
        finally:
            ended.set()

    async with server(endless) as port:
        url = f"http://ehr.example:{port}/hook"
        async with hook(url, timeout_s=20) as client:
            await client.post(wish(url), b"{}")
            async with asyncio.timeout(10):
                await ended.wait()


async def test_an_endpoint_that_says_nothing_is_given_up() -> None:
    async def silent(head: bytes, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    async with server(silent) as port:
        url = f"http://ehr.example:{port}/hook"
        async with hook(url, timeout_s=0.2) as client:
            with pytest.raises(DeadlineExceeded):
                await client.post(wish(url, timeout_s=30), b"{}")


async def test_authorities_that_cannot_be_read_stop_the_start(tmp_path: Path) -> None:
    made = Hook(Endpoints([], allow_local=True), authority=tmp_path / "none.pem", most_timeout_s=1)
    with pytest.raises(ConfigurationError, match=r"gateway\.subscriptions\.authority"):
        made.start()
