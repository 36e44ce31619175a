"""Words that are said without an envelope: ADR-32's error headers, for stock NATS clients and for what is not opened.

Nothing in them is authentic. A channel believes one of them, `429`, and no more than the carrier's own "no responders":
whoever can forge it can as well drop the request.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from bus.services.protocol import BadAnswer, Overloaded
from bus.services.wire import MAX_RETRY_AFTER_S, Answer
from schemas.errors import MeshError
from schemas.generated.medmesh.content.v1 import content_pb2 as pb

ERROR: Final = "Nats-Service-Error"
ERROR_CODE: Final = "Nats-Service-Error-Code"
RETRY_AFTER_MS: Final = "Medmesh-Retry-After-Ms"
UNSEALED: Final = 401
OVERLOADED: Final = 429

_STATUS: Final[dict[int, int]] = {
    pb.REPLY_STATUS_INVALID: 400,
    pb.REPLY_STATUS_REFUSED: 403,
    pb.REPLY_STATUS_NOT_FOUND: 404,
    pb.REPLY_STATUS_OVERLOADED: OVERLOADED,
    pb.REPLY_STATUS_DEADLINE_EXCEEDED: 504,
    pb.REPLY_STATUS_UNAVAILABLE: 503,
    pb.REPLY_STATUS_FAILED: 500,
}
_WORD: Final = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")


def error_headers(number: int, words: str, *, retry_after_s: float = 0.0) -> dict[str, str]:
    """The headers of an error: a number as in HTTP, and words free of content."""
    headers = {ERROR: _header_text(words), ERROR_CODE: str(number)}
    if retry_after_s > 0:
        headers[RETRY_AFTER_MS] = str(round(min(retry_after_s, MAX_RETRY_AFTER_S) * 1000))
    return headers


def headers_of(answer: Answer) -> dict[str, str] | None:
    """The headers by which an answer is told to a stock client; None when all went well."""
    if answer.is_ok:
        return None
    words = f"{answer.code}: {answer.detail}" if answer.detail else answer.code
    return error_headers(_STATUS.get(answer.status, 500), words, retry_after_s=answer.retry_after_s)


def error_of_headers(headers: Mapping[str, str] | None) -> MeshError | None:
    """What a response without an envelope says to a channel; None when it has no error headers."""
    number = (headers or {}).get(ERROR_CODE)
    if headers is None or number is None:
        return None
    words = headers.get(ERROR, "")
    if number == str(OVERLOADED):
        return Overloaded("the instance shed it unopened", retry_after_s=_pause_s(headers))
    code = words if _WORD.match(words) else "unnamed"
    return BadAnswer(f"the answer is not sealed; it says {code}, which nobody vouches for")


def _pause_s(headers: Mapping[str, str]) -> float:
    text = headers.get(RETRY_AFTER_MS, "")
    if not (text.isascii() and text.isdigit() and len(text) <= len("60000")):
        return 0.0
    return min(int(text) / 1000, MAX_RETRY_AFTER_S)


def _header_text(words: str) -> str:
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in words)


__all__ = [
    "ERROR",
    "ERROR_CODE",
    "OVERLOADED",
    "RETRY_AFTER_MS",
    "UNSEALED",
    "error_headers",
    "error_of_headers",
    "headers_of",
]
