"""Unique identifiers (DICOM PS3.5 chapter 9) that the protocol itself knows, and what a UID may look like."""

from __future__ import annotations

import re
from typing import Final, NewType

from schemas.errors import MeshError

Uid = NewType("Uid", str)
"""A checked UID: components of digits joined by dots, at most 64 characters."""

MAX_UID_CHARS: Final = 64

APPLICATION_CONTEXT: Final = Uid("1.2.840.10008.3.1.1.1")
VERIFICATION: Final = Uid("1.2.840.10008.1.1")

IMPLICIT_LITTLE_ENDIAN: Final = Uid("1.2.840.10008.1.2")
EXPLICIT_LITTLE_ENDIAN: Final = Uid("1.2.840.10008.1.2.1")
DEFLATED_LITTLE_ENDIAN: Final = Uid("1.2.840.10008.1.2.1.99")
EXPLICIT_BIG_ENDIAN: Final = Uid("1.2.840.10008.1.2.2")

IMPLEMENTATION_CLASS: Final = Uid("2.25.146236485924665842452039787045813172809")
"""medmesh, as an UUID-derived UID (PS3.5 annex B.2)."""
IMPLEMENTATION_VERSION: Final = "MEDMESH_1"

_UID: Final = re.compile(r"[0-9]+(?:\.[0-9]+)*")


class BadUid(MeshError, ValueError):
    """Text that is no UID. The message gives its length only: what stands there may be anything."""

    code = "dicom_bad_uid"


def uid(text: str) -> Uid:
    """`text` as a UID, without the padding that peers leave. Raises `BadUid`.

    Components with leading zeros, which PS3.5 forbids, are taken: installed devices send them.
    """
    bare = text.rstrip("\0 ")
    if len(bare) > MAX_UID_CHARS or _UID.fullmatch(bare) is None:
        raise BadUid(
            f"{len(bare)} characters that are no UID; a UID has digits and dots, {MAX_UID_CHARS} characters at most"
        )
    return Uid(bare)


def uid_of(raw: bytes) -> Uid:
    """As `uid`, from the bytes on the wire."""
    return uid(raw.decode("latin-1"))


__all__ = [
    "APPLICATION_CONTEXT",
    "DEFLATED_LITTLE_ENDIAN",
    "EXPLICIT_BIG_ENDIAN",
    "EXPLICIT_LITTLE_ENDIAN",
    "IMPLEMENTATION_CLASS",
    "IMPLEMENTATION_VERSION",
    "IMPLICIT_LITTLE_ENDIAN",
    "MAX_UID_CHARS",
    "VERIFICATION",
    "BadUid",
    "Uid",
    "uid",
    "uid_of",
]
