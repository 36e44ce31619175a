"""What a server's answer says: its head, and how long to wait when it asks for that. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

_ETAG: Final = re.compile(r'(?:W/)?"([A-Za-z0-9.\-]{1,64})"\Z')
_DIGITS: Final = re.compile(r"[0-9]{1,9}\Z")
_STATUS: Final = re.compile(r"\s*([1-5][0-9]{2})\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer, whole and bounded. The body is as it came."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    """By lower-case name."""
    body: bytes = field(default=b"", repr=False)

    @property
    def version_id(self) -> str:
        """The version that ETag names (`W/"3"` is 3); empty without one."""
        found = _ETAG.match(self.headers.get("etag", ""))
        return found[1] if found else ""

    @property
    def location(self) -> str:
        """Where a created resource lies; empty without one."""
        return self.headers.get("location", "")

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300


def retry_after_s(value: str | None, now_ms: int) -> float | None:
    """Seconds that a Retry-After asks for (RFC 9110 §10.2.3: seconds or a date); None for none or nonsense."""
    text = (value or "").strip()
    if _DIGITS.match(text):
        return float(text)
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.fromtimestamp(now_ms / 1000, UTC)).total_seconds())


def entry_status(text: str) -> int:
    """The number in a Bundle.entry.response.status (`201 Created`); 0 when there is none."""
    found = _STATUS.match(text)
    return int(found[1]) if found else 0


__all__ = ["Answer", "entry_status", "retry_after_s"]
