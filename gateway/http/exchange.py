"""One request and its answer: what both sides have seen of each other so far."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from typing import Any, Final

from gateway.contract import Receive, Scope, Send
from gateway.http.problems import Header, Problem
from gateway.part import Mount

_LINGER_S: Final = 1.0
_LINGER_BYTES: Final = 1 << 20
_SMALL_S: Final = 0.2
_SMALL_BYTES: Final = 64 * 1024
_LONGEST_NUMBER: Final = 19
_WITHOUT_BODY: Final = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})


class Refused(Exception):
    """A request is answered with a problem; raised anywhere below the edge."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.code)
        self.problem = problem


class Gone(Exception):
    """The client went away before its answer; nobody is left to tell."""


class Exchange:
    """Stands between the server and a part: adds headers, and knows what has begun and what is over."""

    __slots__ = (
        "_receive", "_send", "extra", "is_body_over", "is_started", "mount", "received_bytes", "scope",
    )  # fmt: skip

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self._receive = receive
        self._send = send
        self.extra: list[Header] = []
        """Headers that every answer gets."""
        self.mount: Mount | None = None
        self.is_started = False
        """Whether the head of an answer has left."""
        self.is_body_over = False
        self.received_bytes = 0

    async def receive(self) -> Mapping[str, Any]:
        """The part's `receive`."""
        message = await self._receive()
        if message["type"] == "http.request":
            self.received_bytes += len(message.get("body", b""))
            self.is_body_over = not message.get("more_body", False)
        return message

    def send(self, message: dict[str, Any]) -> Awaitable[None]:
        """The part's `send`."""
        if message["type"] == "http.response.start":
            self.is_started = True
            message["headers"] = [*message.get("headers", ()), *self.extra]
        return self._send(message)

    async def hear_small(self) -> None:
        """Read what is left of a small body, if it comes at once: then the connection can carry the next request."""
        length = self._length()
        if not 0 < length <= _SMALL_BYTES:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(_SMALL_S):
                while self.received_bytes < length and not self.is_body_over:
                    if (await self.receive())["type"] != "http.request":
                        return

    async def linger(self) -> None:
        """Hear a client out that still sends what was refused, for a moment: else it may never read the answer.

        On HTTP/2 the stream would be reset, on HTTP/1.1 the connection, with the answer still on its way.
        """
        if not self.has_more_body():
            return
        seen = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_S):
                while seen < _LINGER_BYTES:
                    message = await self.receive()
                    seen += len(message.get("body", b""))
                    if message["type"] != "http.request" or self.is_body_over:
                        return
                await asyncio.sleep(_LINGER_S)

    def has_more_body(self) -> bool:
        """Whether the client may still be sending."""
        if self.is_body_over:
            return False
        length = self._length()
        return length < 0 or self.received_bytes < length

    def _length(self) -> int:
        """Bytes that the body has; 0 where there is none, below 0 where it is not told."""
        for name, value in self.scope["headers"]:
            if name == b"content-length" and value.isdigit() and len(value) < _LONGEST_NUMBER:
                return int(value)
            if name == b"transfer-encoding":
                return -1
        may_have = self.scope["http_version"] == "2" and self.scope["method"] not in _WITHOUT_BODY
        return -1 if may_have else 0


async def answer(send: Send, status: int, body: bytes, headers: list[Header]) -> None:
    """Send a whole answer."""
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


__all__ = ["Exchange", "Gone", "Refused", "answer"]
