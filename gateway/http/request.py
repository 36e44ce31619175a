"""What parts ask of a request: headers, who asks, how long it may take, and a body bounded in bytes and time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from math import isfinite
from typing import Any, Final
from urllib.parse import parse_qs

from gateway.access.protocol import Credentials
from gateway.contract import Receive, Scope
from gateway.http.deadline import Deadline
from gateway.http.exchange import Gone, Refused
from gateway.http.problems import Header, Problem
from gateway.http.turns import Turns

CERTIFICATE: Final = "medmesh.certificate"
"""Key of a scope whose listener has verified a client certificate: (names, SHA-256)."""
HEADERS: Final = "medmesh.headers"
"""Key of a scope under which the edge leaves the headers by name."""
_NOTHING: Final = Credentials()
_PROOFS: Final = frozenset({b"authorization", b"x-api-key", b"x-purpose-of-use"})
_IDENTITY: Final = (b"", b"identity")
_TRACEPARENT_CHARS: Final = 55
_MAX_FIELDS: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Of one request."""

    max_body: int
    body_timeout_s: float
    request_timeout_s: float
    late: Turns = field(init=False, repr=False, compare=False)
    """Those whose body has not come."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "late", Turns(self.body_timeout_s))


class Request:
    """One request, as its part reads it."""

    __slots__ = ("_receive", "headers", "method", "path", "scope")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope = scope
        self._receive = receive
        self.headers: Mapping[bytes, bytes] = scope.get(HEADERS) or dict(scope["headers"])
        """By lower-case name; of a header that comes twice the last."""
        self.method: str = scope["method"]
        self.path: str = scope["path"]

    def text(self, name: bytes) -> str:
        """A header as text; empty where there is none."""
        raw = self.headers.get(name)
        return raw.decode("latin-1").strip() if raw else ""

    @property
    def content_type(self) -> str:
        """The media type without parameters, lower case."""
        return self.text(b"content-type").partition(";")[0].strip().lower()

    @property
    def remote(self) -> str:
        """Address of the peer."""
        client = self.scope.get("client")
        return str(client[0]) if client else ""

    @property
    def traceparent(self) -> str:
        """W3C trace context; empty where there is none of a known form."""
        told = self.text(b"traceparent")
        return told if len(told) == _TRACEPARENT_CHARS else ""

    def query(self) -> Mapping[str, str]:
        """Query parameters; of one that comes twice the last."""
        raw = self.scope["query_string"]
        if not raw:
            return {}
        try:
            fields = parse_qs(
                raw.decode("ascii"), keep_blank_values=True, max_num_fields=_MAX_FIELDS
            )
        except ValueError as error:
            raise Refused(bad_request("query", "the query cannot be read")) from error
        return {name: values[-1] for name, values in fields.items()}

    def credentials(self) -> Credentials:
        """What the client shows of itself."""
        if CERTIFICATE not in self.scope and _PROOFS.isdisjoint(self.headers):
            return _NOTHING
        names, digest = self.scope.get(CERTIFICATE, ((), b""))
        return Credentials(
            authorization=self.text(b"authorization"),
            api_key=self.text(b"x-api-key"),
            certificate_names=names,
            certificate_hash=digest,
            purpose=self.text(b"x-purpose-of-use"),
        )

    def timeout_s(self, longest_s: float) -> float:
        """Seconds that the client waits (`Request-Timeout`), at most `longest_s`. Raises `Refused`."""
        told = self.text(b"request-timeout")
        if not told:
            return longest_s
        try:
            wanted_s = float(told)
        except ValueError:
            wanted_s = 0.0
        if not isfinite(wanted_s) or wanted_s <= 0:
            raise Refused(
                bad_request("request_timeout", "Request-Timeout is a number of seconds above 0")
            )
        return min(wanted_s, longest_s)

    def require(self, *methods: str) -> None:
        """Refuse other methods."""
        if self.method in methods:
            return
        raise Refused(
            Problem(
                status=HTTPStatus.METHOD_NOT_ALLOWED,
                code="method_not_allowed",
                detail="this address takes another method",
                headers=((b"allow", ", ".join(methods).encode()),),
                more={"allowed": list(methods)},
            )
        )

    def accepts(self, *offered: str) -> None:
        """Refuse a client that wants none of these media types."""
        told = self.headers.get(b"accept")
        if told is None or b"*/*" in told or any(_admits(told, one) for one in offered):
            return
        raise Refused(
            Problem(
                status=HTTPStatus.NOT_ACCEPTABLE,
                code="not_acceptable",
                detail="the answer has another media type than Accept asks for",
                more={"allowed": list(offered)},
            )
        )

    async def body(self, bounds: Bounds) -> bytes:
        """The whole body. Raises `Refused` (413, 415, 408), `Gone`."""
        headers = self.headers
        coding = headers.get(b"content-encoding")
        if coding and coding.strip().lower() not in _IDENTITY:
            raise Refused(_ENCODED)
        length = headers.get(b"content-length", b"")
        told = int(length) if length.isdigit() and len(length) < _LONGEST_NUMBER else -1
        if told > bounds.max_body or len(length) >= _LONGEST_NUMBER:
            raise Refused(_too_large(bounds))
        if not told:
            return b""
        try:
            with Deadline(bounds.late):
                message = await self._receive()
                piece: bytes = message.get("body", b"")
                if len(piece) == told:
                    return piece  # it has come in one piece, as nearly every one does
                return await self._read(message, told, bounds)
        except TimeoutError:
            raise Refused(
                Problem(
                    status=HTTPStatus.REQUEST_TIMEOUT,
                    code="body_timeout",
                    detail=f"the body was not complete within {bounds.body_timeout_s:g} s ([gateway] body_timeout_s)",
                )
            ) from None

    async def _read(self, message: Mapping[str, Any], told: int, bounds: Bounds) -> bytes:
        pieces: list[bytes] = []
        size = 0
        while True:
            if message["type"] != "http.request":
                raise Gone
            piece: bytes = message.get("body", b"")
            size += len(piece)
            if size > bounds.max_body:
                raise Refused(_too_large(bounds))
            pieces.append(piece)
            # all that was announced is there: the server's own last message is not waited for
            if size == told or not message.get("more_body", False):
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)
            message = await self._receive()


_LONGEST_NUMBER: Final = 19
_ENCODED: Final = Problem(
    status=HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    code="content_encoding",
    detail="a Content-Encoding is not taken: what it hides cannot be bounded",
    headers=((b"accept-encoding", b"identity"),),
    more={"allowed": ["identity"]},
)


def _too_large(bounds: Bounds) -> Problem:
    return Problem(
        status=HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        code="body_too_large",
        detail=f"the body is larger than {bounds.max_body} bytes ([gateway] max_body)",
        more={"max_bytes": bounds.max_body},
    )


def bad_request(code: str, detail: str, **more: object) -> Problem:
    """400."""
    return Problem(status=HTTPStatus.BAD_REQUEST, code=code, detail=detail, more=more)


def unsupported_type(*allowed: str) -> Problem:
    """415."""
    return Problem(
        status=HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        code="content_type",
        detail="a body of this Content-Type is not taken here",
        headers=((b"accept-post", ", ".join(allowed).encode()),),
        more={"allowed": list(allowed)},
    )


def _admits(told: bytes, offered: str) -> bool:
    """Whether an Accept header names a media type or its range with a quality above 0 (RFC 9110 §12.5.1)."""
    main = offered.partition("/")[0]
    for part in told.decode("latin-1").lower().split(","):
        wanted, *parameters = (piece.strip() for piece in part.split(";"))
        refused = any(one.replace(" ", "") in ("q=0", "q=0.0", "q=0.00") for one in parameters)
        if not refused and wanted in (offered, f"{main}/*", "*/*"):
            return True
    return False


JSON: Final[Header] = (b"content-type", b"application/json")

__all__ = ["CERTIFICATE", "HEADERS", "JSON", "Bounds", "Request", "bad_request", "unsupported_type"]
