"""Bounds on one message: what a hostile or broken sender can make us hold or split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one message. Each is checked by counting, before anything is split."""

    max_message_bytes: int = 16 * 1024 * 1024
    """Default 16 MiB: a scanned document in OBX-5 fits; memory per message is a small multiple of it."""
    max_segments: int = 65_536
    """Lines in a message. Default 65 536; a large microbiology report has about 2 000."""
    max_fields: int = 1_024
    """Fields in a segment, and the highest number that may be set. Default 1 024."""
    max_repetitions: int = 65_536
    """Repetitions of a field, and components of a repetition. Default 65 536."""
    max_field_bytes: int = 16 * 1024 * 1024
    """Bytes in a field. Default 16 MiB: an embedded document is one field."""


DEFAULT_LIMITS: Final = Limits()

MAX_HEADER_BYTES: Final = 16 * 1024
"""Longest MSH segment that is read. Real ones have about 150 bytes."""


__all__ = ["DEFAULT_LIMITS", "MAX_HEADER_BYTES", "Limits"]
