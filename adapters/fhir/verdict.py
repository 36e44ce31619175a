"""From the status of an answer to what it means: fine, come again, never, or not this resource's fault. Pure."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from adapters.fhir.codec.answers import Answer, retry_after_s
from adapters.fhir.codec.outcome import outcome_issues
from adapters.fhir.errors import (
    Busy,
    Conflict,
    CredentialsRefused,
    Gone,
    NotFound,
    Redirected,
    StatusError,
    UnreadableAnswer,
)

_BUSY: Final = frozenset(
    {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
)
_NEVER: Final = frozenset({HTTPStatus.NOT_IMPLEMENTED, HTTPStatus.HTTP_VERSION_NOT_SUPPORTED})
_CREDENTIALS: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED})
_CONFLICT: Final = frozenset({HTTPStatus.CONFLICT, HTTPStatus.PRECONDITION_FAILED})
_REDIRECTS: Final = range(300, 400)
_SERVER_ERRORS: Final = range(500, 600)


def check(answer: Answer, *, now_ms: int) -> Answer:
    """The answer, when it is 2xx.

    Raises `Busy` (408, 425, 429, 5xx), `CredentialsRefused` (401, 407), `Redirected` (3xx), `Conflict` (409, 412),
    `NotFound` (404), `Gone` (410), `StatusError` (any other).
    """
    status = answer.status
    if answer.is_success:
        return answer
    if status in _BUSY or (status in _SERVER_ERRORS and status not in _NEVER):
        raise Busy(status, retry_after_s(answer.headers.get("retry-after"), now_ms))
    if status in _CREDENTIALS:
        raise CredentialsRefused(status)
    if status in _REDIRECTS:
        raise Redirected(status)
    issues = outcome_issues(answer.body)
    if status in _CONFLICT:
        raise Conflict(status, issues, answer.body)
    if status == HTTPStatus.NOT_FOUND:
        raise NotFound(status, issues, answer.body)
    if status == HTTPStatus.GONE:
        raise Gone(status, issues, answer.body)
    raise StatusError(status, issues, answer.body)


def readable(answer: Answer) -> Answer:
    """The answer, when its body is what the server sent. Raises `UnreadableAnswer`."""
    coding = answer.headers.get("content-encoding", "")
    if coding.strip().lower() not in ("", "identity"):
        raise UnreadableAnswer("the server compressed its answer although it was asked not to")
    return answer


__all__ = ["check", "readable"]
