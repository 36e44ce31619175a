"""What the index keeps and answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from adapters.dicom.datasets import Header
from adapters.dicom.uids import Uid
from bus.blobs.protocol import BlobId


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A data set in the blob store, and how it came."""

    transfer_syntax: Uid
    blob: BlobId
    size: int
    """Bytes of the data set."""
    calling: str
    """AE title of its sender."""
    called: str
    """AE title by which it was sent to us."""
    received_ms: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One instance and its data set."""

    header: Header
    kept: Kept


class Policy(Enum):
    """What becomes of an instance that comes again with other content."""

    KEEP_FIRST = "keep-first"
    """The first stays, the sender is told that it succeeded with a warning."""
    REPLACE = "replace"
    REJECT = "reject"
    """The sender is told that it failed."""


class Added(Enum):
    """What adding an instance came to."""

    NEW = "new"
    SAME = "same"
    """It was there with the same content."""
    CONFLICT = "conflict"
    """It was there with other content; the policy was applied."""


@dataclass(frozen=True, slots=True)
class Addition:
    """What became of an instance."""

    outcome: Added
    before: Kept | None = None
    """Of a conflict: what the index held before."""


class Level(Enum):
    """Levels of the study root information model (PS3.4 §C.6.2)."""

    STUDY = "STUDY"
    SERIES = "SERIES"
    IMAGE = "IMAGE"


@dataclass(frozen=True, slots=True)
class Located:
    """An instance as it is sent on: which, of what class, and where its bytes are."""

    sop_class: Uid
    sop_instance: Uid
    transfer_syntax: Uid
    blob: BlobId
    size: int
    series: Uid = field(default=Uid(""))
    study: Uid = field(default=Uid(""))


__all__ = ["Added", "Addition", "Entry", "Kept", "Level", "Located", "Policy"]
