"""One event stream a page: what changed since the last look, made once for everybody who watches that page."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

import msgspec

from gateway.access.protocol import Forbidden
from gateway.console.desk import Desk
from gateway.console.pages.looking import COMMON, REGIONS, Looking
from gateway.console.sessions import Session
from gateway.console.web import SAFE_HEADERS
from gateway.contract import Receive, Send
from gateway.http.exchange import Refused
from gateway.http.problems import Problem

PREFIX: Final = "/console/live/"
MAX_VIEWERS: Final = 500
_HEARTBEAT_S: Final = 10.0
_WRITE_S: Final = 10.0
"""How long one event may take to leave: a reader that is slower is cut and comes again."""
_AGAIN: Final = b"retry: 2000\n\n"
_BEAT: Final = b": alive\n\n"
_ENDED: Final = b"event: ended\ndata: {}\n\n"


@dataclass(slots=True)
class _Made:
    """The regions of one page for one set of rights, as they were made last."""

    number: int = -1
    html: dict[str, str] = field(default_factory=dict)
    changed: dict[str, int] = field(default_factory=dict)
    """At which look each region changed last."""


class Live:
    """The streams of a gateway. A viewer costs what changed, once sent; making it is shared."""

    def __init__(self, desk: Desk, looking: Looking) -> None:
        self._desk = desk
        self._looking = looking
        self._made: dict[tuple[str, frozenset[str]], _Made] = {}
        self._draining = asyncio.Event()
        self.viewers = 0

    def drain(self) -> None:
        """Tell every viewer to come back; another gateway, or this one after its start, answers."""
        self._draining.set()

    async def follow(self, page: str, session: Session, receive: Receive, send: Send) -> None:
        """Send what changes on a page until the viewer leaves, the session ends or the gateway stops."""
        if page not in REGIONS:
            raise Refused(_problem(HTTPStatus.NOT_FOUND, "not_found", "no such page"))
        if self.viewers >= MAX_VIEWERS or self._draining.is_set():
            raise Refused(
                _problem(HTTPStatus.SERVICE_UNAVAILABLE, "too_many_viewers", "come again later")
            )
        self.viewers += 1
        leaving = asyncio.create_task(_left(receive), name="console-viewer-leaves")
        try:
            await _begin(send)
            await self._send_all(page, session, leaving, send)
        except TimeoutError:
            self._desk.runtime.counters.add("console_viewer_cut", who="console", reason="slow")
        finally:
            self.viewers -= 1
            leaving.cancel()
            with suppress(asyncio.CancelledError):
                await leaving

    async def _send_all(
        self, page: str, session: Session, leaving: asyncio.Task[None], send: Send
    ) -> None:
        desk, client = self._desk, session.as_client()
        rights = desk.rights_of(client)
        seen = -1
        quiet_s = 0.0
        while not leaving.done() and not self._draining.is_set():
            if desk.runtime.clock.now_ms() >= session.ends_ms or "view" not in rights:
                await _write(send, _ENDED)
                break
            made = self._regions(page, rights)
            changed = {name: made.html[name] for name, at in made.changed.items() if at > seen}
            seen = made.number
            if changed:
                told = {"regions": changed, "announce": self._announcement()}
                await _write(send, b"event: regions\ndata: " + msgspec.json.encode(told) + b"\n\n")
                quiet_s = 0.0
            elif quiet_s >= _HEARTBEAT_S:
                await _write(send, _BEAT)
                quiet_s = 0.0
            quiet_s += await self._next(seen, leaving)
        with suppress(OSError):
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _next(self, seen: int, leaving: asyncio.Task[None]) -> float:
        """Wait for the next look; how long that took, in seconds."""
        clock = self._desk.runtime.clock
        begun_s = clock.monotonic_s()
        waits = [
            asyncio.ensure_future(self._desk.watch.next(seen)),
            asyncio.ensure_future(self._draining.wait()),
        ]
        try:
            await asyncio.wait(
                [*waits, leaving], timeout=_HEARTBEAT_S, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            for one in waits:
                one.cancel()
        return clock.monotonic_s() - begun_s

    def _regions(self, page: str, rights: frozenset[str]) -> _Made:
        """The regions as of the last look; made once for all who have the same rights."""
        desk, number = self._desk, self._desk.watch.number
        made = self._made.setdefault((page, rights), _Made())
        if made.number == number:
            return made
        context = {**self._looking.context(page), "status": desk.status(), "rights": rights}
        for name in (*COMMON, *REGIONS[page]):
            html = desk.renderer.region(name, context)
            if made.html.get(name) != html:
                made.html[name] = html
                made.changed[name] = number
        made.number = number
        return made

    def _announcement(self) -> str:
        """For screen readers: the newest change of an alert, in words."""
        book = self._desk.watch.picture.book
        if not self._desk.watch.picture.is_connected:
            return "The mesh cannot be reached."
        newest = max(book.open, key=lambda one: one.started_ms, default=None)
        last = book.cleared[0] if book.cleared else None
        if last is not None and (newest is None or last.cleared_ms > newest.started_ms):
            return f"Cleared: {last.trouble.words}"
        return f"Alert: {newest.trouble.words}" if newest is not None else ""


def allowed(desk: Desk, session: Session) -> None:
    """Raises `Forbidden`."""
    try:
        desk.access.may_operate(session.as_client(), "view")
    except Forbidden:
        desk.runtime.counters.add("console_forbidden", who=session.client)
        raise


async def _begin(send: Send) -> None:
    headers = [
        *SAFE_HEADERS,
        (b"content-type", b"text/event-stream"),
        (b"cache-control", b"no-store"),
        (b"x-accel-buffering", b"no"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await _write(send, _AGAIN)


async def _write(send: Send, piece: bytes) -> None:
    async with asyncio.timeout(_WRITE_S):
        await send({"type": "http.response.body", "body": piece, "more_body": True})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] == "http.request":
        pass


def _problem(status: int, code: str, detail: str) -> Problem:
    return Problem(
        status=status, code=code, detail=detail, retry_after_s=2.0 if status >= 500 else 0.0
    )


__all__ = ["MAX_VIEWERS", "PREFIX", "Live", "allowed"]
