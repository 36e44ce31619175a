"""Errors of nats-py and of the server, translated once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from nats import errors as nats_errors

from bus.transport.protocol import (
    NoResponders,
    NotFound,
    PayloadTooLarge,
    StreamFull,
    WrongRevision,
)
from schemas.errors import (
    Closed,
    DeadlineExceeded,
    MeshError,
    PermissionRefused,
    ResourceExhausted,
    SubjectError,
    Unavailable,
)

# Codes of nats-server/server/errors.json.
CONSUMER_NOT_FOUND: Final = 10014
DUPLICATE_IN_BATCH: Final = 10201
ATOMIC_DISABLED: Final = 10174
WRONG_LAST_SEQUENCE: Final = 10071
_NOT_FOUND: Final = frozenset({CONSUMER_NOT_FOUND, 10037, 10043, 10059})
_FULL: Final = frozenset({10002, 10023, 10028, 10047})
_DELETE_FAILED: Final = 10057
_TOO_LARGE: Final = frozenset({10054})
_WRONG_REVISION: Final = frozenset({WRONG_LAST_SEQUENCE, 10164})
_NOT_NOW: Final = frozenset({10007, 10008, 10009, 10039, 10076})
_FULL_TEXT: Final = re.compile(
    r"no space left|maximum (bytes|messages)|resources? (exceeded|limits)|insufficient",
    re.IGNORECASE,
)


def from_api(error: object, *, what: str) -> MeshError:
    """The error object of a JetStream answer (`{"code", "err_code", "description"}`) as ours."""
    fields = error if isinstance(error, dict) else {}
    code = int(fields.get("err_code") or 0)
    status = int(fields.get("code") or 0)
    text = str(fields.get("description") or error)
    said = f"{what}: {text} (NATS error {code or status})"
    if code in _NOT_FOUND or (code == _DELETE_FAILED and ("EOF" in text or "no message" in text)):
        return NotFound(said)
    if code in _TOO_LARGE:
        return PayloadTooLarge(said)
    if code in _WRONG_REVISION:
        return WrongRevision(said)
    if code in _FULL or _FULL_TEXT.search(text):
        return StreamFull(f"{said}; raise the stream's limits or free disk space")
    if code in _NOT_NOW or status == 503:
        return Unavailable(said)
    return ResourceExhausted(said) if status == 500 else MeshError(said)


def from_client(error: BaseException, *, what: str) -> MeshError:
    """An exception of nats-py, or of the socket under it, as ours."""
    said = f"{what}: {str(error) or type(error).__name__}"
    match error:
        case MeshError():
            return error
        case nats_errors.NoRespondersError():
            return NoResponders(said)
        case nats_errors.AuthorizationError():
            return PermissionRefused(said)
        case nats_errors.MaxPayloadError():
            return PayloadTooLarge(said)
        case nats_errors.BadSubjectError() | nats_errors.BadHeaderError():
            return SubjectError(said)
        case nats_errors.ConnectionClosedError() | nats_errors.ConnectionDrainingError():
            return Closed(said)
        case nats_errors.TimeoutError() | TimeoutError():
            return DeadlineExceeded(said)
        case _ if "authorization violation" in said.lower() or "authentication" in said.lower():
            return PermissionRefused(said)
        case _:
            return Unavailable(said)


@dataclass(frozen=True, slots=True)
class Violation:
    """A refusal that the server sent on its own. It writes the subject as it was; nats-py lowers its case."""

    subject: str
    queue: str = ""
    kind: str = "publish"
    """`publish`, `reply` or `subscription`."""


_VIOLATION: Final = re.compile(
    r'permissions violation for (?P<kind>publish|subscription)(?P<reply> with reply of| to) "(?P<subject>[^"]*)"'
    r'(?: using queue "(?P<queue>[^"]*)")?'
)


def violation(text: str) -> Violation | None:
    """Read `Permissions Violation for …` out of the server's error line; None for any other line."""
    found = _VIOLATION.search(text.lower())
    if found is None:
        return None
    kind = "reply" if "reply" in found["reply"] else found["kind"]
    return Violation(found["subject"], found["queue"] or "", kind)


__all__ = [
    "ATOMIC_DISABLED",
    "CONSUMER_NOT_FOUND",
    "DUPLICATE_IN_BATCH",
    "WRONG_LAST_SEQUENCE",
    "Violation",
    "from_api",
    "from_client",
    "violation",
]
