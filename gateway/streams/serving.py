"""`GET /v1/subscribe/{pattern}`: server-sent events, lines of JSON, or a WebSocket on the same address."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from bus.events.following import Feed, PositionLost
from gateway.access.protocol import Client, Deed
from gateway.contract import GatewayRuntime, Receive, Scope, Send
from gateway.http.exchange import Refused
from gateway.http.problems import Problem, problem_of
from gateway.http.request import Request, bad_request
from gateway.http.v1.desk import Desk
from gateway.streams.positions import BadPosition, Positions, StreamReplaced, begin_at
from gateway.streams.rendering import (
    Render,
    as_line,
    as_sse,
    last_words_line,
    last_words_sse,
)
from gateway.streams.session import WORDS, End, Reader, Session
from gateway.streams.watch import Watch
from schemas import subjects
from schemas.errors import MeshError, SubjectError
from schemas.gateway.streams import StreamsSection

PREFIX: Final = "/v1/subscribe/"
SSE: Final = "text/event-stream"
LINES: Final = "application/x-ndjson"
_LAST_EVENT_ID: Final = b"last-event-id"


@dataclass(frozen=True, slots=True)
class _Form:
    """How a stream looks over HTTP."""

    content_type: str
    render: Render
    sign: bytes
    """Of life."""
    last_words: Callable[[str, str, dict[str, Any]], bytes]


_SSE: Final = _Form(SSE, as_sse, b":\n\n", last_words_sse)
_LINES: Final = _Form(LINES, as_line, b"\n", last_words_line)


@dataclass(frozen=True, slots=True)
class _Opened:
    """What a client asked for, as far as it may have it."""

    reader: Reader
    positions: Positions
    after_seq: int | None


class Subscribing:
    """The route."""

    def __init__(
        self,
        section: StreamsSection,
        runtime: GatewayRuntime,
        feed: Feed,
        desk: Desk,
        watch: Watch,
    ) -> None:
        self._section = section
        self._runtime = runtime
        self._feed = feed
        self._desk = desk
        self._watch = watch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One stream."""
        if scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await self._http(Request(scope, receive), receive, send)

    # HTTP

    async def _http(self, request: Request, receive: Receive, send: Send) -> None:
        request.require("GET")
        client = await self._desk.admit(request)
        request.accepts(SSE, LINES)
        form = _LINES if request.text(b"accept").startswith(LINES) else _SSE
        with self._watch.admitted(client.name) as enter:
            opened = await self._open(client, request)
            await send({"type": "http.response.start", "status": 200, "headers": _headers(form)})

            async def write(chunk: bytes) -> None:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})

            session = self._session(opened, write, form.render)
            enter(session, form.sign)
            if form is _SSE:
                await write(b"retry: %d\n\n" % round(self._section.retry_s * 1000))
            reason, more = await self._run(session, opened, receive)
            if reason not in (End.GONE, End.TOO_SLOW):
                await write(form.last_words(reason.value, WORDS[reason], more))
                await send({"type": "http.response.body", "body": b""})

    # WebSocket

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (await receive())["type"] != "websocket.connect":
            return
        await send({"type": "websocket.accept"})
        try:
            code, words = await self._talk(
                Request({**scope, "method": "GET"}, receive), receive, send
            )
        except Refused as refused:
            code, words = _close_code(refused.problem), refused.problem.detail
        except MeshError as error:
            problem = problem_of(error)
            code, words = _close_code(problem), problem.detail
        if code:
            await send({"type": "websocket.close", "code": code, "reason": words[:120]})

    async def _talk(self, request: Request, receive: Receive, send: Send) -> tuple[int, str]:
        client = await self._desk.admit(request)

        async def write(chunk: bytes) -> None:
            await send({"type": "websocket.send", "text": chunk.decode()})

        with self._watch.admitted(client.name) as enter:
            opened = await self._open(client, request)
            session = self._session(opened, write, as_line)
            enter(session, b'{"alive":true}\n')
            reason, more = await self._run(session, opened, receive)
            if reason in (End.GONE, End.TOO_SLOW):
                return (0 if reason is End.GONE else _CLOSE_CODES[reason]), reason.value
            await write(last_words_line(reason.value, WORDS[reason], more))
            return _CLOSE_CODES[reason], WORDS[reason]

    # both

    async def _open(self, client: Client, request: Request) -> _Opened:
        """Check what is asked for, and write down that it is being read. Raises `Refused`, `MeshError`."""
        pattern = self._pattern(request.path[len(PREFIX) :])
        desk = self._desk
        desk.allow(
            client,
            request,
            Deed.SUBSCRIBE,
            pattern,
            lambda: desk.access.may_subscribe(client, pattern),
        )
        told = request.text(_LAST_EVENT_ID) or request.query().get("from", "")
        try:
            positions = await Positions.of(self._feed)
            after_seq = await begin_at(self._feed, positions, told)
        except BadPosition as error:
            raise Refused(bad_request(error.code, str(error))) from None
        except StreamReplaced as error:
            raise Refused(_gone(error, {})) from None
        await self._check(after_seq, positions)
        await desk.recorded(desk.record(client, request, Deed.SUBSCRIBE, pattern))
        reader = Reader(
            client=client,
            credentials=request.credentials(),
            pattern=pattern,
            remote=request.remote,
        )
        return _Opened(reader, positions, after_seq)

    async def _check(self, after_seq: int | None, positions: Positions) -> None:
        """Refuse a position that is not kept any more before anything is answered."""
        if after_seq is None:
            return
        first = await self._feed.position_before(0)
        if after_seq < first:
            lost = PositionLost(after_seq, first + 1)
            raise Refused(_gone(lost, {"first": positions.text(first)}))

    def _pattern(self, text: str) -> str:
        own = subjects.events_of(self._runtime.site)
        pattern = subjects.pattern(text)
        if not subjects.matches(own, pattern):
            raise SubjectError(
                f"that is not within the events of this site: a pattern begins with {own[:-1]}"
            )
        return pattern

    def _session(
        self, opened: _Opened, write: Callable[[bytes], Awaitable[None]], render: Render
    ) -> Session:
        return Session(opened.reader, write, render, opened.positions, self._runtime.clock)

    async def _run(
        self, session: Session, opened: _Opened, receive: Receive
    ) -> tuple[End, dict[str, Any]]:
        """Give out events; why the stream ended, and what else there is to say of it."""
        more: dict[str, Any] = {}
        try:
            reason = await session.run(self._feed, receive, after_seq=opened.after_seq)
        except PositionLost as lost:
            reason = End.POSITION_LOST
            more["first"] = opened.positions.text(lost.first - 1)
        except MeshError as error:
            reason = End.UNAVAILABLE
            more["reason"] = error.code
        counters, client = self._runtime.counters, opened.reader.client
        counters.add("stream_ended", who=client.name, reason=reason.value)
        counters.add("stream_events", who=client.name, count=session.given)
        return reason, more


_CLOSE_CODES: Final = {
    End.DRAINING: 1012,
    End.EXPIRED: 4401,
    End.REVOKED: 4403,
    End.TOO_SLOW: 1008,
    End.POSITION_LOST: 4410,
    End.UNAVAILABLE: 1013,
}
"""RFC 6455 §7.4.1 and its registry; 4xxx say as much as the HTTP status of the same digits."""


def _close_code(problem: Problem) -> int:
    if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return 1013
    return 4000 + problem.status


def _gone(error: MeshError, more: dict[str, Any]) -> Problem:
    return Problem(status=HTTPStatus.GONE, code=error.code, detail=str(error), more=more)


def _headers(form: _Form) -> list[tuple[bytes, bytes]]:
    return [
        (b"content-type", form.content_type.encode()),
        (b"cache-control", b"no-store"),
        (b"x-accel-buffering", b"no"),  # proxies on nginx's model would hold events back
    ]


__all__ = ["LINES", "PREFIX", "SSE", "Subscribing"]
