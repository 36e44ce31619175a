"""The receiver's HTTP side as a raw ASGI application: who may, what kind, how much, by when; then the intake."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, Final, TypeAlias

from adapters.fhir.codec.partial import is_id, is_resource_type
from adapters.fhir.config import ReceiverConfig
from adapters.fhir.intake import Intake, Reply, refusal
from adapters.fhir.link import Count
from adapters.fhir.secrets import is_one_of
from bus.telemetry.failures import failure_fields
from bus.telemetry.log import logger

Scope: TypeAlias = Mapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Mapping[str, Any]]]
Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]

_log = logger(__name__)
_JSON: Final = ("application/fhir+json", "application/json", "application/json+fhir")
_TARGET_STEPS: Final = 2


class Refused(Exception):
    """A request is refused before its body is worked."""

    def __init__(
        self, reply: Reply, reason: str, *, headers: tuple[tuple[bytes, bytes], ...] = ()
    ) -> None:
        super().__init__(reason)
        self.reply = reply
        self.reason = reason
        self.headers = headers


class Gone(Exception):
    """The sender went away before its request was whole."""


class Receiver:
    """The ASGI application of one receiver."""

    def __init__(self, config: ReceiverConfig, intake: Intake, count: Count) -> None:
        self._config = config
        self._intake = intake
        self._count = count
        self._in_hand = 0
        self.secrets: tuple[str, ...] = ()
        """What a sender must show one of; () where nothing is asked."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        try:
            reply, headers, close = await self._reply(scope, receive)
        except Gone:
            self._count("request_refused", "sender_gone")
            return
        except Exception as error:  # noqa: BLE001 - the edge of a request's task: the sender must get an answer
            self._count("request_failed", type(error).__name__)
            _log.error("request_failed", adapter=self._config.name, **failure_fields(error))
            text = "a fault in the receiver; sending it again unchanged is safe"
            reply = refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "exception", text)
            headers, close = (), True
        await _answer(send, reply, headers, close=close)

    async def _reply(
        self, scope: Scope, receive: Receive
    ) -> tuple[Reply, tuple[tuple[bytes, bytes], ...], bool]:
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        if self._in_hand >= self._config.max_requests:
            self._count("request_refused", "max_requests")
            text = f"{self._in_hand} requests are in hand (max_requests)"
            return _busy(text), (), True
        self._in_hand += 1
        try:
            self._check_sender(headers)
            kind, id_ = self._target(scope)
            self._check_content(headers)
            body = await self._body(headers, receive)
            return await self._intake.accept(body, wanted_type=kind, wanted_id=id_), (), False
        except Refused as refused:
            self._count("request_refused", refused.reason)
            # what is left of the body is not read: the connection cannot carry another request
            return refused.reply, refused.headers, True
        finally:
            self._in_hand -= 1

    def _check_sender(self, headers: Mapping[str, str]) -> None:
        token = self._config.token
        if token is None:
            return
        shown = headers.get(token.header.lower(), "")
        if token.header.lower() == "authorization":
            scheme, _, shown = shown.partition(" ")
            shown = shown.strip() if scheme.lower() == "bearer" else ""
        if not is_one_of(shown, self.secrets):
            text = f"the request does not show the secret ({token.header})"
            raise Refused(
                refusal(HTTPStatus.UNAUTHORIZED, "login", text),
                "unauthorized",
                headers=((b"www-authenticate", b"Bearer"),),
            )

    def _target(self, scope: Scope) -> tuple[str, str]:
        """Type and id that the address names, empty where it names none."""
        path, own = str(scope["path"]), self._config.path
        inside = path == own or path.startswith(f"{own}/")
        steps = [step for step in path[len(own) :].split("/") if step]
        well = len(steps) <= _TARGET_STEPS and (
            not steps or (is_resource_type(steps[0]) and all(map(is_id, steps[1:])))
        )
        if not inside or not well:
            text = f"nothing is here: send to {own} or below it, e.g. {own}/Patient/1"
            raise Refused(refusal(HTTPStatus.NOT_FOUND, "not-found", text), "unknown_path")
        if scope["method"] not in ("POST", "PUT"):
            raise Refused(
                refusal(HTTPStatus.METHOD_NOT_ALLOWED, "not-supported", "POST and PUT are taken"),
                "method",
                headers=((b"allow", b"POST, PUT"),),
            )
        kind, id_ = (*steps, "", "")[:2]
        return kind, id_

    def _check_content(self, headers: Mapping[str, str]) -> None:
        coding = headers.get("content-encoding", "identity").strip().lower()
        if coding not in ("", "identity"):
            text = "a content-encoding is not taken: what it hides cannot be bounded"
            reply = refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "not-supported", text)
            raise Refused(reply, "content_encoding")
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        is_empty = headers.get("content-length", "").strip() == "0"
        if kind not in _JSON and not (is_empty or (not kind and not _has_body(headers))):
            text = "application/fhir+json is taken"
            reply = refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "not-supported", text)
            raise Refused(reply, "content_type")
        length = headers.get("content-length", "")
        if length.isdigit() and int(length) > self._config.max_body_bytes:
            raise self._too_large()

    async def _body(self, headers: Mapping[str, str], receive: Receive) -> bytes:
        """The whole body, bounded in bytes and time."""
        pieces: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._config.body_timeout_s):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Gone
                    piece: bytes = message.get("body", b"")
                    size += len(piece)
                    if size > self._config.max_body_bytes:
                        raise self._too_large()
                    pieces.append(piece)
                    if not message.get("more_body", False):
                        return b"".join(pieces)
        except TimeoutError:
            text = f"the body was not complete within {self._config.body_timeout_s:g} s (body_timeout_s)"
            reply = refusal(HTTPStatus.REQUEST_TIMEOUT, "timeout", text)
            raise Refused(reply, "body_timeout") from None

    def _too_large(self) -> Refused:
        text = f"the body is larger than {self._config.max_body_bytes} bytes (max_body_bytes)"
        return Refused(
            refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too-long", text), "body_too_large"
        )


def _has_body(headers: Mapping[str, str]) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0").strip() != "0"


def _busy(text: str) -> Reply:
    return refusal(HTTPStatus.SERVICE_UNAVAILABLE, "throttled", text, retry_after_s=1)


async def _answer(
    send: Send, reply: Reply, headers: tuple[tuple[bytes, bytes], ...], *, close: bool
) -> None:
    own = [
        (b"content-type", b"application/fhir+json"),
        (b"content-length", str(len(reply.body)).encode()),
        *headers,
    ]
    if reply.retry_after_s:
        own.append((b"retry-after", str(reply.retry_after_s).encode()))
    if close:
        own.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": int(reply.status), "headers": own})
    await send({"type": "http.response.body", "body": reply.body})


__all__ = ["Receiver", "Refused"]
