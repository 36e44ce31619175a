"""What is compressed, and with which dictionary. Values and a table; the numbers are measured in docs/adr/0011."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LEVEL: Final = 3
"""Levels 6 and 9 save 3 to 4 % more of an HL7 message and cost four times the time."""
WORTH_SHARE: Final = 8
"""A frame must save an eighth: above 256 bytes Padme's buckets are at most a sixteenth wide, so the padding shrinks."""
DICTIONARY_BOUND_BYTES: Final = 48 * 1024
"""Above it a dictionary gains nothing and costs time."""

_KINDS: Final = (
    ("hl7v2/", "hl7v2"),
    ("application/fhir+json", "fhir-json"),
    ("application/hl7-v2", "hl7v2"),
)
_NEVER: Final = (
    "medmesh/",  # holds sealed envelopes, or next to nothing
    "image/",
    "video/",
    "audio/",
)
_NEVER_EXACTLY: Final = frozenset(
    {"application/pdf", "application/zip", "application/gzip", "application/zstd"}
)
"""Encrypted or compressed before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyPolicy:
    """What a sender compresses. Whoever reads takes every encoding, whatever its own policy says."""

    compress: bool = True
    min_bytes: int = 256
    """Smaller bodies stay as they are: a frame and the id of its dictionary cost 50 bytes."""
    max_bytes: int = 8 << 20
    """The largest body that is written or read, decoded: as large as an envelope may be."""

    def may_shrink(self, content_type: str, size: int) -> bool:
        """Whether a body of `size` bytes is worth a try."""
        if not self.compress or size < self.min_bytes or content_type.startswith(_NEVER):
            return False
        return content_type.partition(";")[0] not in _NEVER_EXACTLY


def kind_of(content_type: str, size: int) -> str:
    """The kind of dictionary that fits a body; empty for none."""
    if size > DICTIONARY_BOUND_BYTES:
        return ""
    return next((kind for prefix, kind in _KINDS if content_type.startswith(prefix)), "")


def is_worth_it(size: int, encoded: int) -> bool:
    """Whether an encoded body, with the id of its dictionary, saves enough to be decoded by everyone who reads it."""
    return encoded <= size - size // WORTH_SHARE


__all__ = ["DICTIONARY_BOUND_BYTES", "LEVEL", "WORTH_SHARE", "BodyPolicy", "is_worth_it", "kind_of"]
