"""WebSockets of subscribers: `bind-with-token <token>`, then a handshake and what was not sent yet."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from http import HTTPStatus
from typing import Final

from gateway.contract import Receive, Scope, Send
from gateway.http.request import Request
from gateway.subscriptions.binding import BadToken, Binding, Tokens
from gateway.subscriptions.book import Changed
from gateway.subscriptions.bundles import Purpose
from gateway.subscriptions.delivering import Desk
from gateway.subscriptions.model import WEBSOCKET, Record
from schemas.errors import MeshError

_BIND: Final = ("bind-with-token", "bind")
_BIND_S: Final = 20.0
_SEND_S: Final = 30.0
_LOOK_S: Final = 30.0
_AWAY, _POLICY, _BUSY = 1001, 1008, 1013


class Sockets:
    """The raw ASGI application behind the WebSocket path."""

    def __init__(self, desk: Desk, tokens: Tokens) -> None:
        self._desk = desk
        self._tokens = tokens
        self._open = 0
        self._ending = asyncio.Event()

    def drain(self) -> None:
        """Tell every socket to come back elsewhere."""
        self._ending.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection."""
        if scope["type"] != "websocket":
            await _only_sockets(Request(scope, receive), send)
            return
        await receive()
        await send({"type": "websocket.accept"})
        if self._open >= self._desk.section.max_sockets or self._ending.is_set():
            self._desk.count("subscription_socket_refused", "max_sockets")
            await send({"type": "websocket.close", "code": _BUSY})
            return
        self._open += 1
        try:
            await self._serve(receive, send)
        finally:
            self._open -= 1

    async def _serve(self, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(_BIND_S):
                binding = self._binding(await receive())
        except (BadToken, TimeoutError) as error:
            code = error.code if isinstance(error, BadToken) else "no_token"
            self._desk.count("subscription_socket_refused", code)
            await send({"type": "websocket.close", "code": _POLICY, "reason": code})
            return
        if binding is None:
            return
        socket = _Socket(self._desk, send)
        tasks = [asyncio.create_task(socket.feed(id_)) for id_ in binding.ids]
        tasks += [asyncio.create_task(_until_gone(receive)), asyncio.create_task(self._end())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        is_gone = tasks[-2].done()
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(
                ended, Exception
            ):  # a reader that took nothing, or has gone in its own way
                self._desk.count("subscription_socket_cut", type(ended).__name__)
        if not is_gone:
            with suppress(OSError, RuntimeError):
                await send({"type": "websocket.close", "code": _AWAY})

    async def _end(self) -> None:
        await self._ending.wait()

    def _binding(self, event: object) -> Binding | None:
        """What the first message binds; None where there is none. Raises `BadToken`."""
        message = event if isinstance(event, dict) else {}
        if message.get("type") != "websocket.receive":
            return None
        text = message.get("text") or ""
        word, _, token = str(text).partition(" ")
        if word.rstrip(":") not in _BIND:
            raise BadToken("the first message is: bind-with-token <token>")
        return self._tokens.read(token.strip())


class _Socket:
    """One connection that is bound: each subscription has a task, one of them sends at a time."""

    def __init__(self, desk: Desk, send: Send) -> None:
        self._desk = desk
        self._send = send
        self._turn = asyncio.Lock()

    async def feed(self, id_: str) -> None:
        """Send what one subscription has, until it ends or may not go on."""
        book = self._desk.book
        number = book.sent(id_)
        is_greeted = False
        while (record := self._record(id_)) is not None:
            changed = book.changed
            try:
                if not is_greeted:
                    await self._tell(record, Purpose.HANDSHAKE)
                    is_greeted = True
                waiting = await book.events(id_, number + 1, number + self._desk.batch(record))
                if waiting:
                    body, count = await self._desk.contents.bundle(record, Purpose.EVENT, waiting)
                    sent = waiting[:count]
                    await self._desk.note(record, sent, WEBSOCKET)
                    await self._write(body)
                    number = sent[-1].number
                    with suppress(Changed):
                        await book.mark_sent(id_, number)
                    continue
                newest = book.head(id_).number
                if newest > number and not waiting:
                    number = min(newest, number + self._desk.batch(record))
                    continue
                await self._wait(record, changed)
            except MeshError as error:
                self._desk.count("subscription_failed", error.code)
                await asyncio.sleep(1.0)

    def _record(self, id_: str) -> Record | None:
        record = self._desk.book.record(id_)
        if record is None or record.status == "off" or not self._desk.may(record):
            return None
        return record

    async def _wait(self, record: Record, changed: asyncio.Event) -> None:
        period_s = record.wish.heartbeat_s
        try:
            async with asyncio.timeout(period_s or _LOOK_S):
                await changed.wait()
        except TimeoutError:
            if period_s:
                await self._tell(record, Purpose.HEARTBEAT)

    async def _tell(self, record: Record, purpose: Purpose) -> None:
        total = self._desk.book.head(record.id).number
        body, _ = await self._desk.contents.bundle(record, purpose, (), total=total)
        await self._write(body)

    async def _write(self, body: bytes) -> None:
        """One message; a reader that does not take it in time loses the connection."""
        async with self._turn, asyncio.timeout(_SEND_S):
            await self._send({"type": "websocket.send", "text": body.decode()})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "websocket.disconnect":
        pass  # whatever else a bound client says means nothing here


async def _only_sockets(request: Request, send: Send) -> None:
    status = HTTPStatus.UPGRADE_REQUIRED
    headers = [(b"upgrade", b"websocket"), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": int(status), "headers": headers})
    await send({"type": "http.response.body", "body": b""})


__all__ = ["Sockets"]
