"""One connection of a sender: frames in, answers out in the same order, one message under way at a time."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol, cast

from adapters.hl7v2.codec.mllp import Frame, FrameDecoder, FrameEvent, FrameProblem, Problem, frame
from adapters.hl7v2.intake import Reply
from adapters.hl7v2.sockets import keep_alive

_INBOX_MESSAGES: Final = 4
"""Reading pauses while so many events wait; one chunk of the kernel's may add to them."""
_INBOX_BYTES: Final = 1 << 20
_LATER_ANSWERS: Final = 64
"""Application acknowledgements that one connection may still be owed; its next message waits beyond."""
_ANSWERABLE: Final = (FrameProblem.UNOPENED, FrameProblem.UNTERMINATED, FrameProblem.OVERSIZED)
_CLOSE_S: Final = 5.0
"""A peer that does not take its last answer by then is cut."""


class Works(Protocol):
    """What a connection needs of its server."""

    def accept(self, message: bytes) -> Awaitable[Reply]:
        """Store one message; say what to answer."""
        ...

    def refuse(self, problem: Problem) -> bytes | None:
        """The negative answer to a bad frame, if one can be addressed."""
        ...

    def delay_s(self, address: str) -> float:
        """0.0 when a message of this address may be worked now; else ask again after so many seconds."""
        ...

    def opened(self, connection: MllpConnection) -> bool:
        """Whether the connection may stay."""
        ...

    def closed(self, connection: MllpConnection) -> None:
        """Forget the connection."""
        ...

    def report(
        self, counter: str, reason: str, *, peer: str, size: int = 0, head: bytes = b""
    ) -> None:
        """Count and log something about a peer, without its bytes."""
        ...

    def held(self, change: int) -> bool:
        """Account for buffered bytes; False when all connections together hold too many."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """Bounds of one connection."""

    max_message_bytes: int
    idle_timeout_s: float
    frame_timeout_s: float
    cr_optional: bool


class MllpConnection(asyncio.Protocol):
    """The server's side of one TCP connection."""

    def __init__(
        self,
        works: Works,
        limits: ConnectionLimits,
        monotonic_s: Callable[[], float],
        spawn: Callable[[asyncio.Task[None]], None],
    ) -> None:
        self._works = works
        self._limits = limits
        self._monotonic_s = monotonic_s
        self._spawn = spawn
        self._decoder = FrameDecoder(
            max_message_bytes=limits.max_message_bytes, cr_optional=limits.cr_optional
        )
        self._transport: asyncio.Transport | None = None
        self.address = ""
        self.admitted = False
        self._inbox: deque[FrameEvent] = deque()
        self._inbox_bytes = 0
        self._held = 0
        self._working = False
        self._reading = True
        self._ending = False
        self._lost = False
        self._writable = asyncio.Event()
        self._writable.set()
        self._later: deque[asyncio.Task[bytes | None]] = deque()
        self._later_sender: asyncio.Task[None] | None = None
        self._active_s = 0.0
        self._frame_began_s: float | None = None
        self._closing_since_s: float | None = None

    # what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit the peer or cut it."""
        # What create_server promises; uvloop has classes of its own, so that isinstance would say no.
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self.address = peer[0] if peer else ""
        self._active_s = self._monotonic_s()
        if not self._works.opened(self):
            self._transport.abort()
            return
        self.admitted = True
        sock: socket.socket | None = transport.get_extra_info("socket")
        if sock is not None:
            keep_alive(sock)

    def data_received(self, content: bytes) -> None:
        """Take bytes; start working when they complete something."""
        if self._ending or self._decoder.hopeless:
            return
        self._active_s = self._monotonic_s()
        events = self._decoder.feed(content)
        self._watch_frame(bool(events))
        self._enqueue(events)
        if not self._account() and self._decoder.in_frame:
            self._report("connection_cut", "memory_bound", self._decoder.buffered_bytes)
            self._abort()

    def eof_received(self) -> bool:
        """Finish what came; a half-closed peer still gets its answers, except under TLS, which knows no half."""
        self._enqueue(self._decoder.finish())
        self._frame_began_s = None
        self._ending = True
        self._close_when_done()
        return self._transport is not None and not self._transport.get_extra_info("sslcontext")

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the peer. Whole messages in hand are still stored: their sender will ask again."""
        if not self._ending and self.admitted:
            self._enqueue(self._decoder.finish())
        self._lost = self._ending = True
        self._writable.set()
        for task in self._later:
            task.cancel()
        self._account()
        self._works.held(-self._held)
        self._held = 0
        if self.admitted:
            self._works.closed(self)

    def pause_writing(self) -> None:
        """Answer nothing more until the peer reads."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """The peer reads again."""
        self._writable.set()

    # what the server calls

    @property
    def is_busy(self) -> bool:
        """Whether a message is under way or an answer is owed."""
        return self._working or bool(self._inbox) or self._later_sender is not None

    def drain(self) -> None:
        """Take nothing new; answer what was received whole, then close."""
        self._ending = True
        if self._transport is not None and not self._lost:
            self._set_reading(wanted=False)
        self._close_when_done()

    def abort(self) -> None:
        """Cut the connection."""
        self._abort()

    def sweep(self, now_s: float) -> None:
        """Enforce the deadlines; called every now and then."""
        if self._closing_since_s is not None:
            if now_s - self._closing_since_s > _CLOSE_S:
                self._abort()
        elif not self._writable.is_set():
            if now_s - self._active_s > self._limits.idle_timeout_s:
                self._cut("answers_not_read")
        elif self.is_busy:
            return
        elif (
            self._frame_began_s is not None
            and now_s - self._frame_began_s > self._limits.frame_timeout_s
        ):
            self._cut("frame_timeout")
        elif now_s - self._active_s > self._limits.idle_timeout_s:
            self._report("connection_closed", "idle_timeout")
            self._close()

    # inside

    def _watch_frame(self, something_ended: bool) -> None:
        if not self._decoder.unfinished:
            self._frame_began_s = None
        elif something_ended or self._frame_began_s is None:
            self._frame_began_s = self._active_s

    def _enqueue(self, events: list[FrameEvent]) -> None:
        if not events:
            return
        for event in events:
            if isinstance(event, Frame):
                self._inbox_bytes += len(event.payload)
            self._inbox.append(event)
        if len(self._inbox) >= _INBOX_MESSAGES or self._inbox_bytes >= _INBOX_BYTES:
            self._set_reading(wanted=False)
        if not self._working:
            self._working = True
            self._spawn(asyncio.get_running_loop().create_task(self._work()))

    def _account(self) -> bool:
        held = self._inbox_bytes + self._decoder.buffered_bytes
        change, self._held = held - self._held, held
        return self._works.held(change)

    def _set_reading(self, *, wanted: bool) -> None:
        if self._transport is None or self._transport.is_closing() or wanted == self._reading:
            return
        self._reading = wanted
        if wanted:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    async def _work(self) -> None:
        """Work the inbox in order until it is empty."""
        try:
            while self._inbox:
                event = self._inbox.popleft()
                if isinstance(event, Frame):
                    await self._take(event.payload)
                    self._inbox_bytes -= len(event.payload)
                else:
                    await self._answer_problem(event)
                self._active_s = self._monotonic_s()
                if not self._lost:
                    self._account()
                if not self._inbox and not self._ending:
                    self._set_reading(wanted=True)
        except Exception as error:  # noqa: BLE001 (outermost edge of the task: a fault of ours costs this connection, seen)
            self._report("connection_cut", f"fault_{type(error).__name__}")
            self._abort()
        finally:
            self._working = False
            self._close_when_done()

    async def _take(self, message: bytes) -> None:
        while wait_s := self._works.delay_s(self.address):  # noqa: ASYNC110 (the bucket says when)
            await asyncio.sleep(wait_s)
        reply = await self._works.accept(message)
        if reply.now is not None:
            if not self._writable.is_set():
                await self._writable.wait()
            self._write(reply.now)
        if reply.later is not None:
            await self._owe(asyncio.get_running_loop().create_task(reply.later()))
        elif reply.close:
            self._ending = True
            self._inbox.clear()

    async def _answer_problem(self, problem: Problem) -> None:
        self._report("frame_refused", problem.code.value, problem.size, problem.head)
        if problem.code in _ANSWERABLE and problem.size:
            answer = self._works.refuse(problem)
            await self._send(answer)
            self._ending |= answer is None
        elif problem.code is FrameProblem.HOPELESS:
            self._ending = True

    async def _send(self, answer: bytes | None) -> None:
        if answer is not None:
            await self._writable.wait()
            self._write(answer)

    def _write(self, answer: bytes) -> None:
        if self._lost or self._transport is None or self._transport.is_closing():
            self._report("answer_undeliverable", "connection_lost", len(answer))
            return
        self._transport.write(frame(answer))

    async def _owe(self, answer: asyncio.Task[bytes | None]) -> None:
        """Send an answer when it is known; in order, and beside the messages that follow."""
        self._later.append(answer)
        if self._later_sender is None:
            self._later_sender = asyncio.get_running_loop().create_task(self._send_later())
            self._spawn(self._later_sender)
        if len(self._later) >= _LATER_ANSWERS:
            await asyncio.wait([self._later[0]])

    async def _send_later(self) -> None:
        try:
            while self._later:
                task = self._later[0]
                await asyncio.wait([task])
                self._later.popleft()
                if not task.cancelled():
                    await self._send(task.result())
        except Exception as error:  # noqa: BLE001 (outermost edge of the task: a fault of ours costs this connection, seen)
            self._report("connection_cut", f"fault_{type(error).__name__}")
            self._abort()
        finally:
            self._later_sender = None
            self._close_when_done()

    def _close_when_done(self) -> None:
        if self._ending and not self.is_busy:
            self._close()

    def _close(self) -> None:
        if self._transport is not None and self._closing_since_s is None:
            self._closing_since_s = self._monotonic_s()
            self._transport.close()

    def _cut(self, reason: str) -> None:
        self._report("connection_cut", reason, self._decoder.buffered_bytes)
        self._abort()

    def _report(self, counter: str, reason: str, size: int = 0, head: bytes = b"") -> None:
        self._works.report(counter, reason, peer=self.address, size=size, head=head)

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


__all__ = ["ConnectionLimits", "MllpConnection", "Works"]
