"""The stock path: nats-py as it is, through what it offers publicly."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as ClientSubscription

from bus.transport.nats import headers as blocks
from bus.transport.nats.errors import from_client
from bus.transport.nats.wire import Registration, check_pattern, check_subject
from bus.transport.protocol import PayloadTooLarge
from schemas.errors import Unavailable

_LOOK_S = 0.001
"""How often the client's queue is looked at: nats-py tells nobody when it has written."""


class StockWire:
    """`Wire` on nats-py's `publish` and `subscribe`."""

    def __init__(
        self,
        client: Client,
        *,
        pending_bytes: int,
        broken: Callable[[str], None],
        dead: asyncio.Event,
        spawn: Callable[[Coroutine[Any, Any, object]], asyncio.Task[object]],
    ) -> None:
        self._client = client
        self._pending_bytes = pending_bytes
        self._broken = broken
        self._dead = dead
        self._spawn = spawn
        self._outbox: deque[tuple[str, bytes, str, bytes | None]] = deque()
        self._size = 0
        self._sender: asyncio.Task[None] | None = None

    @property
    def full(self) -> bool:
        """Whether more is under way than `pending_bytes` allows."""
        return self._size + self._client.pending_data_size > self._pending_bytes

    def send(
        self, subject: str, payload: bytes, reply: bytes = b"", headers: bytes | None = None
    ) -> None:
        """Hand over one message; never waits. Raises `SubjectError`, `PayloadTooLarge`."""
        check_subject(subject)
        size = len(payload) + len(headers or b"")
        if size > self._client.max_payload:
            raise PayloadTooLarge(
                f"message of {size} bytes; the server takes at most {self._client.max_payload} (max_payload)"
            )
        self._outbox.append((subject, bytes(payload), reply.decode(), headers))
        self._size += size
        if self._sender is None:
            self._sender = asyncio.get_running_loop().create_task(self._run(), name="nats-sender")

    def answer(self, subject: bytes, payload: bytes) -> None:
        """Send to a subject that the server itself has written; never waits."""
        self.send(subject.decode(), payload, b"", None)

    async def _run(self) -> None:
        try:
            while self._outbox:
                subject, payload, reply, block = self._outbox.popleft()
                self._size -= len(payload) + len(block or b"")
                fields = blocks.decode(block) if block else None
                await self._client.publish(subject, payload, reply, fields)
        except (nats.errors.Error, OSError):
            self._broken("connection_lost")
        finally:
            self._sender = None

    async def room(self) -> None:
        """Return when half of the bound is free, or the client has ended."""
        half = self._pending_bytes // 2
        while self._alive and self._size + self._client.pending_data_size > half:  # noqa: ASYNC110 - see _LOOK_S
            await asyncio.sleep(_LOOK_S)

    async def settle(self) -> None:
        """Return when everything sent so far was handed to the socket. Raises `Unavailable`."""
        # nats-py writes a ping ahead of what is queued: let the queue go first
        while self._outbox or self._client.pending_data_size:
            await asyncio.sleep(0 if self._client.pending_data_size < 65536 else _LOOK_S)
            if not self._alive:
                raise Unavailable("the connection to NATS is lost")

    @property
    def _alive(self) -> bool:
        return self._client.is_connected and not self._dead.is_set()

    async def subscribe(self, registration: Registration) -> None:
        """Begin. Raises `SubjectError`, `Unavailable`."""
        check_pattern(registration.subject, registration.queue)

        async def arrived(message: Msg) -> None:
            if self._dead.is_set():
                return
            block = blocks.with_status(message.headers) if message.headers else None
            registration.take(message.subject.encode(), message.reply.encode(), block, message.data)

        try:
            registration.live = await self._client.subscribe(
                registration.subject, registration.queue, cb=arrived
            )
        except nats.errors.Error as error:
            raise from_client(error, what=f"subscribe to {registration.subject}") from None

    async def unsubscribe(self, live: object, *, hand_over: bool) -> None:
        """Stop; with `hand_over` what the server sent before it knew is handled first."""
        if not isinstance(live, ClientSubscription):
            return
        if not hand_over:
            with contextlib.suppress(nats.errors.Error):
                await live.unsubscribe()
            return
        drained = self._spawn(live.drain())  # type: ignore[no-untyped-call] # nats-py's
        ended = asyncio.ensure_future(self._dead.wait())
        try:
            await asyncio.wait((drained, ended), return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended.cancel()
            # cancelled only with its client: nats-py's reader dies on the answer to a ping that was given up
            if self._dead.is_set():
                drained.cancel()

    def end(self) -> None:
        """Send nothing more; what arrives is not handed over."""
        self._outbox.clear()
        self._size = 0
        if self._sender is not None:
            self._sender.cancel()


__all__ = ["StockWire"]
