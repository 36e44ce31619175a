"""What can be wrong with HL7 v2 bytes. An error says where and why, never what the bytes said."""

from __future__ import annotations

from typing import ClassVar

from schemas.errors import MeshError


class Hl7Error(MeshError, ValueError):
    """Root of every error about HL7 v2 content.

    `location` is a path (`MSH-2`, `PID[1]-5`) or empty; `position` is a byte offset in the message, or None.
    The message never repeats bytes of the message: it can be shown, logged and sent back to the peer.
    """

    code: ClassVar[str] = "hl7_malformed"

    def __init__(self, detail: str, *, location: str = "", position: int | None = None) -> None:
        where = location + (f" at byte {position}" if position is not None else "")
        super().__init__(f"{where}: {detail}" if where else detail)
        self.location = location
        self.position = position


class HeaderMissing(Hl7Error):
    """The bytes do not start with an MSH segment."""

    code: ClassVar[str] = "hl7_header_missing"


class DelimitersRefused(Hl7Error):
    """MSH-1 and MSH-2 do not name usable delimiters."""

    code: ClassVar[str] = "hl7_delimiters"


class LimitExceeded(Hl7Error):
    """The message is larger than a limit allows. Checked before anything is split."""

    code: ClassVar[str] = "hl7_limit"


class CharsetError(Hl7Error):
    """Text cannot be decoded or encoded in the message's character set, or the set is not known."""

    code: ClassVar[str] = "hl7_charset"


class PathError(Hl7Error):
    """A path such as `PID-3[2].4.1` breaks the grammar, or names what cannot be edited."""

    code: ClassVar[str] = "hl7_path"


class AcknowledgementMalformed(Hl7Error):
    """The answer of a peer is no acknowledgement: no MSA, or an unknown code in MSA-1."""

    code: ClassVar[str] = "hl7_acknowledgement"


__all__ = [
    "AcknowledgementMalformed",
    "CharsetError",
    "DelimitersRefused",
    "HeaderMissing",
    "Hl7Error",
    "LimitExceeded",
    "PathError",
]
