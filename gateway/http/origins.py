"""Which web pages may use the gateway from a browser: nobody's but those configured (CORS, Fetch standard). Pure.

A page may send simple requests anywhere and is only kept from reading the answers. A gateway that believes whoever
reaches it must not take such: so a foreign `Origin` is refused, and so is a `Host` that a page has made to point here
(DNS rebinding).
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from gateway.http.problems import Header, Problem

_METHODS: Final = b"GET, HEAD, POST, PUT, PATCH, DELETE"
_HEADERS: Final = (
    b"authorization, x-api-key, x-purpose-of-use, content-type, accept, idempotency-key, medmesh-key, "
    b"medmesh-priority, request-timeout, if-match, if-none-match, if-none-exist, if-modified-since, prefer, "
    b"last-event-id, traceparent, tracestate, x-request-id"
)
_EXPOSED: Final = (
    b"etag, location, last-modified, retry-after, x-request-id, content-location, www-authenticate"
)
_MAX_AGE_S: Final = b"600"
_REMEMBERED: Final = 64


class Origins:
    """The rules of one gateway."""

    def __init__(self, allowed: tuple[str, ...], *, hosts: frozenset[bytes]) -> None:
        self._allowed = frozenset(origin.rstrip("/").encode() for origin in allowed)
        self._hosts = hosts
        """Names under which the gateway is reached; empty: any."""
        self._usual: set[bytes] = set()
        """Some `Host`s that were taken, as they were written."""

    def is_usual(self, headers: Mapping[bytes, bytes]) -> bool:
        """Whether it comes from no page, and its `Host` was taken before: there is nothing to look at, then."""
        if b"origin" in headers:
            return False
        return not self._hosts or headers.get(b"host", b"") in self._usual

    def refusal(self, scheme: str, headers: Mapping[bytes, bytes]) -> Problem | None:
        """Why a request is not taken; None when it is."""
        host = headers.get(b"host", b"").lower()
        if self._hosts and host and _without_port(host) not in self._hosts:
            return Problem(
                status=HTTPStatus.MISDIRECTED_REQUEST,
                code="host_not_allowed",
                detail="a gateway without clients answers only to names of this machine: localhost, 127.0.0.1, [::1]",
            )
        if len(self._usual) < _REMEMBERED:
            self._usual.add(headers.get(b"host", b""))
        origin = headers.get(b"origin")
        if origin is None or origin in self._allowed or origin == scheme.encode() + b"://" + host:
            return None
        return Problem(
            status=HTTPStatus.FORBIDDEN,
            code="origin_not_allowed",
            detail="scripts of that origin may not use the gateway ([gateway] cors_origins)",
        )

    def headers(self, headers: Mapping[bytes, bytes]) -> tuple[Header, ...]:
        """What the answer to an allowed origin says."""
        origin = headers.get(b"origin")
        if origin is None or origin not in self._allowed:
            return ()
        return (
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", _EXPOSED),
            (b"vary", b"origin"),
        )

    def is_preflight(self, method: str, headers: Mapping[bytes, bytes]) -> bool:
        """Whether a browser asks what a script of an allowed origin may send."""
        return (
            method == "OPTIONS"
            and b"access-control-request-method" in headers
            and headers.get(b"origin") in self._allowed
        )

    def preflight_headers(self) -> list[Header]:
        """The answer to it, beside `headers`."""
        return [
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-allow-headers", _HEADERS),
            (b"access-control-max-age", _MAX_AGE_S),
        ]


def _without_port(host: bytes) -> bytes:
    if host.startswith(b"["):
        return host.partition(b"]")[0] + b"]"
    return host.partition(b":")[0]


__all__ = ["Origins"]
