"""What a message did that the standard does not allow, and that was tolerated. Never content, always bounded."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Quirk(StrEnum):
    """A tolerated deviation. Stable: counted and shown to operators."""

    BYTE_ORDER_MARK = "byte_order_mark"
    MLLP_BYTES = "mllp_bytes"
    LEADING_BLANKS = "leading_blanks"
    WIDE_CHARACTERS = "wide_characters"
    LF_TERMINATORS = "lf_terminators"
    CRLF_TERMINATORS = "crlf_terminators"
    MIXED_TERMINATORS = "mixed_terminators"
    MISSING_FINAL_TERMINATOR = "missing_final_terminator"
    BLANK_LINES = "blank_lines"
    JUNK_LINES = "junk_lines"
    SEVERAL_HEADERS = "several_headers"
    """More than one MSH: messages that should have been split (`BatchSplitter`)."""
    LF_IN_FIELD = "lf_in_field"
    SHORT_ENCODING_CHARACTERS = "short_encoding_characters"
    UNKNOWN_CHARSET = "unknown_charset"


@dataclass(frozen=True, slots=True)
class Finding:
    """A quirk, how often it was seen, and the first line (from 1) that shows it; 0 for the whole message."""

    quirk: Quirk
    count: int = 1
    line: int = 0


__all__ = ["Finding", "Quirk"]
