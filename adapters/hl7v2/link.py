"""One connection to a receiver: send one message, read until its own answer comes, trust nothing that is late."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final, cast

from adapters.hl7v2.codec.mllp import Frame, FrameDecoder, FrameEvent, frame
from adapters.hl7v2.sockets import is_hung_up, keep_alive
from schemas.errors import Unavailable

_MAX_ANSWERS: Final = 64
"""Answers that a receiver may have sent without being read: more is no acknowledgement any more."""


class LinkState(Enum):
    """Where a connection stands, for operators."""

    NEVER = "not connected yet"
    CONNECTED = "connected"
    LOST = "connection lost"
    REFUSED = "connection refused"
    SILENT = "no answer in time"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where and how to connect."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    server_name: str | None
    connect_timeout_s: float
    reopen_after_idle_s: float
    max_answer_bytes: int

    @property
    def address(self) -> str:
        """`host:port` for operators."""
        return f"{self.host}:{self.port}"


Count = Callable[[str, str], None]
"""(counter, reason)"""


class _Wire(asyncio.Protocol):
    """The receiving side of the connection; asyncio reads it also while nothing is awaited."""

    def __init__(self, max_answer_bytes: int, count: Count) -> None:
        self._decoder = FrameDecoder(max_message_bytes=max_answer_bytes, cr_optional=True)
        self._count = count
        self.transport: asyncio.Transport | None = None
        self.answers: deque[bytes] = deque()
        self.ended = False
        self._late = False
        self._arrived = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # What create_connection promises; uvloop has classes of its own, so that isinstance would say no.
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, content: bytes) -> None:
        self._take(self._decoder.feed(content))
        if self._decoder.hopeless or len(self.answers) > _MAX_ANSWERS:
            self._end()

    def eof_received(self) -> None:
        self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        self._take(self._decoder.finish())
        self._end()
        self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    async def answer(self, deadline_s: float) -> bytes | None:
        """The next frame; None when the connection has ended and nothing is left. Raises `TimeoutError`."""
        self._late = False
        if not self._is_over:
            timer = asyncio.get_running_loop().call_at(deadline_s, self._expire)
            try:
                while not self._is_over:
                    self._arrived.clear()
                    await self._arrived.wait()
            finally:
                timer.cancel()
        if self.answers:
            return self.answers.popleft()
        if self.ended:
            return None
        raise TimeoutError

    @property
    def _is_over(self) -> bool:
        return bool(self.answers) or self.ended or self._late

    def _expire(self) -> None:
        self._late = True
        self._arrived.set()

    @property
    def is_writable(self) -> bool:
        """Whether what was written fits the buffers."""
        return self._writable.is_set()

    async def written(self) -> None:
        """Wait until what was written fits the buffers."""
        await self._writable.wait()

    def _take(self, events: list[FrameEvent]) -> None:
        for event in events:
            if isinstance(event, Frame):
                self.answers.append(event.payload)
            else:
                self._count("answer_malformed", event.code.value)
        if events:
            self._arrived.set()

    def _end(self) -> None:
        self.ended = True
        self._arrived.set()
        if self.transport is not None:
            self.transport.close()


class Link:
    """A connection that is opened when it is needed and never used again once it is in doubt."""

    def __init__(
        self, target: Target, count: Count, monotonic_s: Callable[[], float], ack_timeout_s: float
    ) -> None:
        self._target = target
        self._count = count
        self._monotonic_s = monotonic_s
        self._ack_timeout_s = ack_timeout_s
        self._wire: _Wire | None = None
        self._used_s = 0.0
        self.state = LinkState.NEVER
        self.reason = ""

    @property
    def is_open(self) -> bool:
        """Whether there is a connection now."""
        return self._wire is not None and not self._wire.ended

    async def send(self, message: bytes) -> None:
        """Write one message to a connection that is known to be alive. Raises `Unavailable`, `UnframableMessage`."""
        framed = frame(message)
        wire = await self._alive()
        assert wire.transport is not None  # noqa: S101 (set by connection_made before the wire is returned)
        wire.transport.write(framed)
        if wire.is_writable:
            return
        try:
            async with asyncio.timeout(self._ack_timeout_s):
                await wire.written()
        except TimeoutError:
            raise self.doubt(LinkState.SILENT, "message not taken", "") from None

    def deadline(self, timeout_s: float) -> float:
        """The loop's time at which an exchange that begins now has lasted `timeout_s`."""
        return asyncio.get_running_loop().time() + timeout_s

    async def answer(self, *, deadline_s: float) -> bytes:
        """The next frame from the receiver. Raises `Unavailable`; the connection is closed then."""
        wire = self._wire
        if wire is None:
            raise self.doubt(LinkState.LOST, "connection_lost", "")
        try:
            answer = await wire.answer(deadline_s)
        except TimeoutError:
            detail = f"no acknowledgement within {self._ack_timeout_s:g} s"
            raise self.doubt(LinkState.SILENT, "ack_timeout", detail) from None
        if answer is None:
            raise self.doubt(LinkState.LOST, "connection_lost", "closed before it acknowledged")
        self._used_s = self._monotonic_s()
        return answer

    def doubt(self, state: LinkState, reason: str, detail: str) -> Unavailable:
        """Close the connection, so that a late answer cannot be taken for the next message's."""
        self.close()
        self._fail(state, reason, detail)
        return Unavailable(f"{self._target.address}: {state.value}{': ' if detail else ''}{detail}")

    def close(self) -> None:
        """Drop the connection; the next `send` opens another."""
        wire, self._wire = self._wire, None
        if wire is not None and wire.transport is not None:
            wire.transport.abort()

    async def _alive(self) -> _Wire:
        wire = self._wire
        if wire is not None:
            stale = self._why_stale(wire)
            if not stale:
                wire.answers.clear()
                return wire
            self._count("connection_reopened", stale)
            self.close()
        return await self._open()

    def _why_stale(self, wire: _Wire) -> str:
        """Why a connection must not carry another message; empty when it may."""
        if wire.ended or wire.transport is None or wire.transport.is_closing():
            return "closed_by_peer"
        if wire.answers:
            self._count("answer_ignored", "unsolicited")
        if self._monotonic_s() - self._used_s > self._target.reopen_after_idle_s:
            return "idle"
        sock: socket.socket | None = wire.transport.get_extra_info("socket")
        return "closed_by_peer" if sock is not None and is_hung_up(sock) else ""

    async def _open(self) -> _Wire:
        target = self._target
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(target.connect_timeout_s):
                _, wire = await loop.create_connection(
                    lambda: _Wire(target.max_answer_bytes, self._count),
                    target.host,
                    target.port,
                    ssl=target.tls,
                    server_hostname=(target.server_name or target.host) if target.tls else None,
                )
        except TimeoutError:
            detail = f"no connection within {target.connect_timeout_s:g} s"
            raise self.doubt(LinkState.REFUSED, "connect_timeout", detail) from None
        except ssl.SSLError as error:
            detail = f"TLS failed: {error.reason or 'handshake'}"
            raise self.doubt(LinkState.REFUSED, "tls", detail) from error
        except OSError as error:
            detail = error.strerror or type(error).__name__
            raise self.doubt(LinkState.REFUSED, "connect", detail) from error
        assert wire.transport is not None  # noqa: S101 (create_connection has called connection_made)
        sock: socket.socket | None = wire.transport.get_extra_info("socket")
        if sock is not None:
            keep_alive(sock, unacknowledged_ms=round(self._ack_timeout_s * 1000))
        self._wire = wire
        self._used_s = self._monotonic_s()
        self.state, self.reason = LinkState.CONNECTED, ""
        self._count("connection_opened", "")
        return wire

    def _fail(self, state: LinkState, reason: str, detail: str) -> None:
        self.state, self.reason = state, detail
        self._count("destination_away", reason)


__all__ = ["Count", "Link", "LinkState", "Target"]
