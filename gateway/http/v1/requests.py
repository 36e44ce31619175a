"""`POST /v1/request/{service}/{method}`: one call of a service, body in, body out."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

from bus.envelope.types import NobodyMayRead
from bus.services.channel import CALL_TTL_S
from gateway.access.protocol import Deed
from gateway.contract import GatewayRuntime, Receive, Scope, Send
from gateway.http.departure import Departure, first_looks
from gateway.http.exchange import Refused, answer
from gateway.http.problems import Header, Problem
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
        self._longest_s = min(desk.bounds.request_timeout_s, CALL_TTL_S)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Make one call."""
        request = Request(scope, receive)
        request.require("POST")
        desk = self._desk
        client = await desk.admit(request)
        target = _target(request.path[len(PREFIX) :], _version(request))
        what = target.what
        desk.allow(
            client, request, Deed.CALL, what,
            lambda: desk.access.may_call(client, target.asked, target.method),
        )  # fmt: skip
        call_id = desk.id_for(client, request, what)
        priority = desk.priority(request)
        timeout_s = request.timeout_s(self._longest_s)
        kind = _kind(request.headers.get(b"content-type", b""))
        body = await request.body(desk.bounds)
        record = desk.record(client, request, Deed.CALL, what)
        asking = self._runtime.call(
            target.service,
            target.method,
            body,
            type=kind,
            version=target.version,
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
            raise Refused(_no_such_service(target.asked)) from None
        await desk.recorded(record)
        await answer(send, 200, response.body, [_content_type(response.type)])


class Target(NamedTuple):
    """What an address names."""

    service: str
    method: str
    version: int
    asked: str
    """The service, with its version where that is not 1."""
    what: str
    """`<asked>/<method>`: what rights and records speak of."""


@lru_cache(maxsize=1024)
def _target(text: str, version: int) -> Target:
    """What `<service>/<method>` names. Raises `Refused`, `SubjectError`."""
    parts = text.split("/")
    if len(parts) != _STEPS:
        raise Refused(
            Problem(
                status=404,
                code="not_found",
                detail="write /v1/request/<service>/<method>",
            )
        )
    service = subjects.token(parts[0], what="service")
    method = subjects.token(parts[1], what="method")
    asked = service if version == 1 else f"{service}.v{version}"
    return Target(service, method, version, asked, f"{asked}/{method}")


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
def _kind(told: bytes) -> str:
    """The type of a call's body."""
    text = told.decode("latin-1").strip()
    return text if _TYPE.match(text) else _BYTES


@lru_cache(maxsize=1024)
def _content_type(told: str) -> Header:
    """The header of an answer whose type is what the service says."""
    return b"content-type", (told if _TYPE.match(told) else _BYTES).encode("ascii")


__all__ = ["PREFIX", "Requesting"]
