"""Refusals as RFC 9457 problem documents: which error has which status, and what is said of it. Pure.

A problem says what was wrong, what is allowed and which setting changes it; never content.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from math import ceil
from typing import Any, Final

import orjson

from bus.bodies import UnreadableContent
from bus.envelope.types import ContentTooLarge, MayNotRead, NobodyMayRead
from bus.services.protocol import (
    BadAnswer,
    CallFailed,
    CallRefused,
    InvalidRequest,
    NotFoundThere,
)
from bus.transport.protocol import NoResponders, PayloadTooLarge
from gateway.access.protocol import Forbidden, TooMany, Unauthenticated
from schemas.errors import (
    Closed,
    DeadlineExceeded,
    MeshError,
    PermissionRefused,
    ResourceExhausted,
    SubjectError,
    Unavailable,
)
from schemas.registry.errors import SchemaRefused

CONTENT_TYPE: Final = b"application/problem+json"
TYPE_PREFIX: Final = "urn:medmesh:problem:"
Header = tuple[bytes, bytes]

_RETRY_AFTER_S: Final = 1.0
"""How long to wait where nobody knows better."""
_MAX_RETRY_AFTER_S: Final = 3600.0

# the first that fits holds: subclasses stand before what they derive from
_STATUS: Final[tuple[tuple[type[MeshError], HTTPStatus], ...]] = (
    (Unauthenticated, HTTPStatus.UNAUTHORIZED),
    (Forbidden, HTTPStatus.FORBIDDEN),
    (TooMany, HTTPStatus.TOO_MANY_REQUESTS),
    (CallRefused, HTTPStatus.FORBIDDEN),
    (InvalidRequest, HTTPStatus.UNPROCESSABLE_ENTITY),
    (NotFoundThere, HTTPStatus.NOT_FOUND),
    (CallFailed, HTTPStatus.BAD_GATEWAY),
    (BadAnswer, HTTPStatus.BAD_GATEWAY),
    (UnreadableContent, HTTPStatus.BAD_GATEWAY),
    (SubjectError, HTTPStatus.BAD_REQUEST),
    (SchemaRefused, HTTPStatus.UNPROCESSABLE_ENTITY),
    (ContentTooLarge, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (PayloadTooLarge, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (PermissionRefused, HTTPStatus.FORBIDDEN),
    (MayNotRead, HTTPStatus.FORBIDDEN),
    (NobodyMayRead, HTTPStatus.SERVICE_UNAVAILABLE),
    (DeadlineExceeded, HTTPStatus.GATEWAY_TIMEOUT),
    (ResourceExhausted, HTTPStatus.SERVICE_UNAVAILABLE),
    (NoResponders, HTTPStatus.SERVICE_UNAVAILABLE),
    (Unavailable, HTTPStatus.SERVICE_UNAVAILABLE),
    (Closed, HTTPStatus.SERVICE_UNAVAILABLE),
)
_TITLES: Final = {status.value: status.phrase for status in HTTPStatus}


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Why a request is refused."""

    status: int
    code: str
    """Stable; also the end of the document's `type`."""
    detail: str
    retry_after_s: float = 0.0
    """0: it is not said when to come again."""
    headers: tuple[Header, ...] = ()
    more: Mapping[str, Any] = field(default_factory=dict)
    """What is allowed, by name: `{"allowed": ["GET"]}`."""

    @property
    def title(self) -> str:
        """The status in words."""
        return _TITLES.get(self.status, "Error")

    def body(self) -> bytes:
        """The document."""
        document: dict[str, Any] = {
            "type": TYPE_PREFIX + self.code,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            **self.more,
        }
        if self.retry_after_s:
            document["retry_after_s"] = self.retry_after_s
        return orjson.dumps(document)

    def all_headers(self) -> list[Header]:
        """The headers besides the content's type."""
        headers = list(self.headers)
        if self.retry_after_s:
            headers.append((b"retry-after", b"%d" % max(1, ceil(self.retry_after_s))))
        return headers


def problem_of(error: MeshError) -> Problem:
    """What an error of the mesh means to a client of HTTP."""
    status = next(
        (status for kind, status in _STATUS if isinstance(error, kind)),
        HTTPStatus.INTERNAL_SERVER_ERROR,
    )
    headers: tuple[Header, ...] = ()
    more: dict[str, Any] = {}
    if isinstance(error, Unauthenticated):
        headers = ((b"www-authenticate", error.challenge.encode("latin-1", "replace")),)
    if isinstance(error, CallFailed):
        more["reason"] = error.reason
    return Problem(
        status=status,
        code=error.code,
        detail=_words(error, status),
        retry_after_s=_retry_after_s(error, status),
        headers=headers,
        more=more,
    )


def _words(error: MeshError, status: HTTPStatus) -> str:
    if status is HTTPStatus.INTERNAL_SERVER_ERROR:
        return "a fault in the gateway, which is counted and logged there"
    return str(error)


def _retry_after_s(error: MeshError, status: HTTPStatus) -> float:
    if status not in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
        return 0.0
    told = float(getattr(error, "retry_after_s", 0.0) or 0.0)
    return min(told or _RETRY_AFTER_S, _MAX_RETRY_AFTER_S)


__all__ = ["CONTENT_TYPE", "TYPE_PREFIX", "Header", "Problem", "problem_of"]
