"""The outermost application: admits, names and bounds requests, finds their part, and answers what goes wrong below."""

from __future__ import annotations

import asyncio
import itertools
import random
import re
from collections.abc import Awaitable
from http import HTTPStatus
from typing import Final

from bus.telemetry.counters import Counters
from bus.telemetry.failures import failure_fields
from bus.telemetry.log import logger
from gateway.contract import Receive, Scope, Send
from gateway.http.exchange import Exchange, Gone, Refused, answer
from gateway.http.origins import Origins
from gateway.http.problems import CONTENT_TYPE, Problem, problem_of
from gateway.http.request import HEADERS
from gateway.http.router import Router
from gateway.part import Mount
from schemas.errors import MeshError

_log = logger(__name__)

REQUEST_ID: Final = b"x-request-id"
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9_.:-]{1,64}\Z")
_BUSY_S: Final = 1.0
_DRAINING_S: Final = 2.0
_WHO: Final = "http"
_POLICY_VIOLATION: Final = 1008

DRAINING: Final = Problem(
    status=HTTPStatus.SERVICE_UNAVAILABLE,
    code="draining",
    detail="this gateway is being stopped; another one answers",
    retry_after_s=_DRAINING_S,
)


BROKEN_BODY: Final = Problem(
    status=HTTPStatus.BAD_REQUEST,
    code="body_broken",
    detail="the body ended before its end, or its chunks are none",
)


class Edge:
    """The ASGI application that the server runs. It never raises."""

    def __init__(
        self,
        router: Router,
        origins: Origins,
        *,
        max_requests: int,
        counters: Counters,
        chance: random.Random,
    ) -> None:
        self._router = router
        self._origins = origins
        self._max_requests = max_requests
        self._counters = counters
        self._run = f"{chance.getrandbits(48):012x}".encode()
        self._numbers = itertools.count(1)
        self._idle: asyncio.Event | None = None
        """Where somebody waits for it."""
        self.in_hand = 0
        """Requests in work that count against `max_requests`."""
        self.is_draining = False

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answer one request, or hand a WebSocket to its part."""
        if scope["type"] == "http":
            return self._http(scope, receive, send)
        return self._websocket(scope, receive, send)

    async def finished(self) -> None:
        """Wait until nothing is in hand."""
        while self.in_hand:
            if self._idle is None:
                self._idle = asyncio.Event()
            await self._idle.wait()

    # HTTP

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send)
        try:
            mount = self._admit(exchange, scope)
            if mount is None:
                await answer(exchange.send, 204, b"", self._origins.preflight_headers())
            elif mount.is_stream:
                await mount.app(exchange.scope, exchange.receive, exchange.send)
            else:
                self._enter()
                try:
                    await mount.app(exchange.scope, exchange.receive, exchange.send)
                finally:
                    self._leave()
        except Gone:
            self._counters.add("http_abandoned", who=_WHO)
            if not exchange.is_started and exchange.has_more_body():
                # the server says the same of a body whose chunks are no chunks: that client still listens
                await self._refuse(exchange, BROKEN_BODY)
        except Refused as refused:
            await self._refuse(exchange, refused.problem)
        except MeshError as error:
            problem = problem_of(error)
            if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                self._counters.add("http_failed", who=_WHO, reason=error.code)
            await self._refuse(exchange, problem)
        except Exception as error:  # noqa: BLE001 - the outermost edge of a request: its client must get an answer
            await self._refuse(exchange, self._fault(error))

    def _admit(self, exchange: Exchange, scope: Scope) -> Mount | None:
        """The part that answers; None where a browser asks in advance. Raises what becomes a problem."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        exchange.scope = {**scope, HEADERS: headers}
        exchange.extra.append((REQUEST_ID, self._request_id(headers)))
        origins = self._origins
        if not origins.is_usual(headers):
            if (problem := origins.refusal(scope["scheme"], headers)) is not None:
                raise Refused(problem)
            exchange.extra.extend(origins.headers(headers))
        exchange.mount = mount = self._router.find(scope["path"])
        if mount is None:
            raise Refused(_not_found())
        is_asked_first = scope["method"] == "OPTIONS" and origins.is_preflight("OPTIONS", headers)
        return None if is_asked_first else mount

    def _enter(self) -> None:
        """Take a place. Raises `Refused` where there is none."""
        if self.is_draining:
            raise Refused(DRAINING)
        if self.in_hand >= self._max_requests:
            raise Refused(_too_many(self._max_requests))
        self.in_hand += 1

    def _leave(self) -> None:
        self.in_hand -= 1
        if self._idle is not None and not self.in_hand:
            self._idle.set()
            self._idle = None

    def _request_id(self, headers: dict[bytes, bytes]) -> bytes:
        told = headers.get(REQUEST_ID)
        if told and _REQUEST_ID.match(told):
            return told
        return b"%b%x" % (self._run, next(self._numbers))

    async def _refuse(self, exchange: Exchange, problem: Problem) -> None:
        mount = exchange.mount
        self._counters.add("http_refused", who=_WHO, reason=problem.code)
        if exchange.is_started:
            return  # the answer has begun: the client sees it cut short
        content_type, body = (
            mount.render(problem.status, problem.code, problem.detail)
            if mount is not None and mount.render is not None
            else (CONTENT_TYPE, problem.body())
        )
        headers = [(b"content-type", content_type), *problem.all_headers()]
        await exchange.hear_small()
        if exchange.scope["http_version"] != "2" and exchange.has_more_body():
            headers.append((b"connection", b"close"))
        try:
            await answer(exchange.send, problem.status, body, headers)
        except Exception as error:  # noqa: BLE001 - the server says in its own ways that the client has gone
            self._counters.add("http_abandoned", who=_WHO, reason=type(error).__name__)
            return
        await exchange.linger()

    def _fault(self, error: BaseException) -> Problem:
        self._counters.add("http_failed", who=_WHO, reason=type(error).__name__)
        _log.error("http_failed", component=_WHO, **failure_fields(error))
        return Problem(
            status=HTTPStatus.INTERNAL_SERVER_ERROR,
            code="fault",
            detail="a fault in the gateway, which is counted and logged there",
        )

    # WebSocket

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        mount = self._router.find(scope["path"])
        scheme = "https" if scope["scheme"] == "wss" else "http"
        reason = ""
        if self._origins.refusal(scheme, headers) is not None:
            reason = "origin_not_allowed"
        elif mount is None or not mount.is_stream:
            reason = "not_found"
        try:
            if reason or mount is None:
                self._counters.add("websocket_refused", who=_WHO, reason=reason)
                await receive()
                await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
                return
            await mount.app(scope, receive, send)
        except Exception as error:  # noqa: BLE001 - the outermost edge of a WebSocket
            self._fault(error)


def _too_many(allowed: int) -> Problem:
    return Problem(
        status=HTTPStatus.SERVICE_UNAVAILABLE,
        code="too_many_in_work",
        detail=f"{allowed} requests are in work at this gateway ([gateway] max_requests)",
        retry_after_s=_BUSY_S,
    )


def _not_found() -> Problem:
    return Problem(
        status=HTTPStatus.NOT_FOUND,
        code="not_found",
        detail="nothing is at this address; /openapi.json lists what there is",
    )


__all__ = ["DRAINING", "REQUEST_ID", "Edge"]
