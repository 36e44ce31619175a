"""`POST /v1/request/{service}/{method}`: one call of a service, body in, body out."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from bus.envelope.types import NobodyMayRead
from bus.services.channel import CALL_TTL_S
from gateway.access.protocol import Deed
from gateway.contract import GatewayRuntime, Receive, Scope, Send
from gateway.http.departure import Departure, first_looks
from gateway.http.exchange import Refused, answer
from gateway.http.problems import Problem
from gateway.http.request import Request, bad_request
from gateway.http.v1.desk import Desk
from schemas import subjects

PREFIX: Final = "/v1/request/"
_BYTES: Final = "application/octet-stream"
_TYPE: Final = re.compile(r"[\x21-\x7e][\x20-\x7e]{0,254}\Z")
_MAX_VERSION: Final = 9999
_STEPS: Final = 2


class Requesting:
    """The route."""

    def __init__(self, runtime: GatewayRuntime, desk: Desk) -> None:
        self._runtime = runtime
        self._desk = desk
        self._looks = first_looks()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Make one call."""
        request = Request(scope, receive)
        request.require("POST")
        desk = self._desk
        client = await desk.admit(request)
        service, method = _target(request.path[len(PREFIX) :])
        version = _version(request)
        asked = service if version == 1 else f"{service}.v{version}"
        what = f"{asked}/{method}"
        desk.allow(
            client, request, Deed.CALL, what, lambda: desk.access.may_call(client, asked, method)
        )
        call_id = desk.id_for(client, request, what)
        priority = desk.priority(request)
        timeout_s = request.timeout_s(min(desk.bounds.request_timeout_s, CALL_TTL_S))
        kind = _type(request.text(b"content-type"))
        body = await request.body(desk.bounds)
        record = desk.record(client, request, Deed.CALL, what)
        asking = self._runtime.call(
            service,
            method,
            body,
            type=kind,
            version=version,
            timeout_s=timeout_s,
            call_id=call_id,
            priority=priority,
            traceparent=request.traceparent,
        )
        try:
            if call_id:
                # who named the call may come again for its answer: the work goes on when the client goes away
                response = await asking
            else:
                with Departure(receive, self._looks):
                    response = await asking
        except NobodyMayRead:
            raise Refused(_no_such_service(asked)) from None
        await desk.recorded(record)
        headers = [(b"content-type", _type(response.type).encode("ascii"))]
        await answer(send, 200, response.body, headers)


@lru_cache(maxsize=1024)
def _target(text: str) -> tuple[str, str]:
    parts = text.split("/")
    if len(parts) != _STEPS:
        raise Refused(
            Problem(
                status=404,
                code="not_found",
                detail="write /v1/request/<service>/<method>",
            )
        )
    service, method = parts
    return subjects.token(service, what="service"), subjects.token(method, what="method")


def _no_such_service(asked: str) -> Problem:
    return Problem(
        status=404,
        code="no_such_service",
        detail=f"the site knows no service {asked}; /openapi.json lists those that run",
    )


def _version(request: Request) -> int:
    if not request.scope["query_string"]:
        return 1
    told = request.query().get("v", "1")
    if told.isascii() and told.isdigit() and int(told[:6]) <= _MAX_VERSION:
        return int(told)
    raise Refused(bad_request("version", f"v is the service's major version, 0 to {_MAX_VERSION}"))


@lru_cache(maxsize=1024)
def _type(told: str) -> str:
    return told if _TYPE.match(told) else _BYTES


__all__ = ["PREFIX", "Requesting"]
