"""Requests whose end two parsers could see in different places: one answer at most, or a refusal, and the end.

RFC 9112 §6.1 and §6.3. Whatever stands behind such a request must never be answered as a second one.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.hospital import Site, running
from tests.ports import free_port

pytestmark = [pytest.mark.server, pytest.mark.timeout(180)]

HEAD = b"POST /v1/publish/evt.north.raw.notes HTTP/1.1\r\nHost: 127.0.0.1\r\n"
SECOND = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


async def told(port: int, sent: bytes, *, answers: int = 99) -> tuple[list[int], bool]:
    """The statuses of all answers, up to so many, and whether the connection was closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    found = b""
    is_closed = False
    try:
        async with asyncio.timeout(10):
            while found.count(b"HTTP/1.1 ") < answers and not is_closed:
                chunk = await reader.read(1 << 16)
                found += chunk
                is_closed = not chunk
    except TimeoutError:
        pass
    except ConnectionError:
        is_closed = True
    finally:
        writer.close()
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3})", found)], is_closed


AMBIGUOUS = {
    "length and chunks": (b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 202),
    "chunks and length": (
        b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        202,
    ),
    "two lengths": (b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", 400),
    "a list of lengths": (b"Content-Length: 5, 5\r\n\r\nhello", 400),
    "a negative length": (b"Content-Length: -5\r\n\r\nhello", 400),
    "a signed length": (b"Content-Length: +5\r\n\r\nhello", 400),
    "an unknown coding": (b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
    "chunks that are not last": (b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400),
    "two codings": (
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        400,
    ),
    "a folded header": (b"Content-Length: 5\r\nX-A: b\r\n c\r\n\r\nhello", 400),
    "a space before the colon": (b"Content-Length : 5\r\n\r\nhello", 400),
    "a chunk size that is none": (
        b"Transfer-Encoding: chunked\r\n\r\nZ\r\nhello\r\n0\r\n\r\n",
        400,
    ),
    "a chunk size that overflows": (
        b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n",
        400,
    ),
}


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[int]:
    found = free_port()
    async with running(Site(tmp_path, f'[gateway]\nlisten = "127.0.0.1:{found}"\n')):
        yield found


async def test_what_stands_behind_an_ambiguous_request_is_never_answered(port: int) -> None:
    shapes = {name: await told(port, HEAD + body + SECOND) for name, (body, _) in AMBIGUOUS.items()}
    expected = {name: ([status], True) for name, (_, status) in AMBIGUOUS.items()}
    assert shapes == expected


async def test_clear_requests_in_a_row_are_all_answered(port: int) -> None:
    for body in (
        b"Content-Length: 5\r\n\r\nhello",
        b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        b"Transfer-Encoding: chunked\r\n\r\n5;name=value\r\nhello\r\n0\r\n\r\n",
    ):
        assert (await told(port, HEAD + body + SECOND, answers=2))[0] == [202, 200]
