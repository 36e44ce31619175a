"""What the state machine tells of what came in. Fragments hold views that are valid only until more bytes are fed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from adapters.dicom.upper.errors import ProtocolViolation
from adapters.dicom.upper.pdus import Abort, AssociateAccept, AssociateReject, AssociateRequest


@dataclass(frozen=True, slots=True)
class Requested:
    """A peer wants an association: answer by `accept` or `reject`."""

    request: AssociateRequest


@dataclass(frozen=True, slots=True)
class Accepted:
    """The peer took our request."""

    accept: AssociateAccept


@dataclass(frozen=True, slots=True)
class Rejected:
    """The peer did not take our request; the connection is to be closed."""

    reject: AssociateReject


@dataclass(frozen=True, slots=True)
class Fragment:
    """A piece of a message: of one presentation data value, or a part of one as it came from the network."""

    context: int
    is_command: bool
    is_last: bool
    """Whether the command set or the data set ends with this piece."""
    data: memoryview = field(repr=False)


@dataclass(frozen=True, slots=True)
class ReleaseRequested:
    """The peer wants to end: answer by `release`, after what is in hand."""


@dataclass(frozen=True, slots=True)
class Released:
    """The association ended in order."""


@dataclass(frozen=True, slots=True)
class Aborted:
    """The peer ended the association at once."""

    abort: Abort


@dataclass(frozen=True, slots=True)
class Violated:
    """The peer broke the protocol; an A-ABORT is ready to be sent, after which the connection is to be closed."""

    error: ProtocolViolation


Event: TypeAlias = (
    Requested | Accepted | Rejected | Fragment | ReleaseRequested | Released | Aborted | Violated
)

__all__ = [
    "Aborted",
    "Accepted",
    "Event",
    "Fragment",
    "Rejected",
    "ReleaseRequested",
    "Released",
    "Requested",
    "Violated",
]
