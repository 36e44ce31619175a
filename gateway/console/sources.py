"""What the console shows, and where it gets it: seams that the composition root fills.

Every source answers for the whole site, so that any gateway shows the same.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from bus.events.replays import DeadLetterSummary, Replayed, UnreadableDeadLetter
from gateway.console.masking import Masked
from schemas.errors import MeshError

Letter = DeadLetterSummary | UnreadableDeadLetter


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """Events of one kind since somebody counts: `evt.north.patient.admitted`, partitions together."""

    subject: str
    count: int
    """Grows; rates are differences of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """What is stored."""

    name: str
    messages: int
    bytes: int
    last_seq: int
    is_synced: bool | None
    """Whether each write is on disk before it is acknowledged; None: not told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A durable consumer: how far a destination has come."""

    name: str
    kind: str
    """`adapter`, `program` or `shared`."""
    waiting: int
    """Events that it has still to take or to finish."""
    in_hand: int = 0
    """Those of them that were given to it and are not finished."""
    finished: int = 0
    """Grows when it finishes events (a sequence, not a number of events)."""
    oldest_ms: int = 0
    """When the one that waits longest was stored; 0: nothing waits, or it is not known."""
    is_upper_bound: bool = False
    """Whether what waits may be younger than `oldest_ms` says."""
    subjects: tuple[str, ...] = ()
    """What it reads, as far as that is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """What one instance says of one method since its start."""

    method: str
    requests: int
    errors: int
    average_ms: float
    last_error: str = ""


class Figures(Protocol):
    """How the site does now."""

    async def flows(self) -> Sequence[Flow]:
        """Counts by subject. Raises `MeshError`."""
        ...

    async def streams(self) -> Sequence[Stream]:
        """What is stored. Raises `MeshError`."""
        ...

    async def places(self) -> Sequence[Place]:
        """Every durable consumer. Raises `MeshError`."""
        ...

    async def timings(self, service: str, instance: str) -> Sequence[Timing]:
        """What an instance says of its methods; () where it does not answer."""
        ...


class Letters(Protocol):
    """Dead letters (`bus.events.replays.DeadLetters`)."""

    def list(
        self, consumer: str = "", *, known: Mapping[int, Letter] = ...
    ) -> AsyncIterator[Letter]:
        """All, oldest first; those that are known already are not opened again. Raises `MeshError`."""
        ...

    async def show(self, seq: int) -> Letter:
        """One. Raises `NotFound`."""
        ...

    async def replay(self, seqs: Sequence[int], *, reason: str, to: str = "") -> Replayed:
        """Have messages taken again."""
        ...


class Kind(Enum):
    """By what a message is looked for."""

    ANY = "any"
    """Whatever it is: each of the others is tried."""
    MESSAGE = "message"
    CONTROL = "control"
    PATIENT = "patient"
    ORDER = "order"
    VISIT = "visit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One message that answers a search."""

    message_id: bytes
    subject: str
    stored_ms: int
    source: str = ""
    """The service that published it."""
    state: str = ""
    """`delivered`, `waiting`, `dead`, …: a code; empty where nobody knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that happened to a message, or to one that was made of it."""

    at_ms: int
    what: str
    """A code: `received`, `stored`, `delivered`, `converted`, `retried`, `dead_letter`, `replayed`, …"""
    who: str = ""
    """The service or destination that did it."""
    words: str = ""
    """For an operator; never content."""
    subject: str = ""
    message_id: bytes = b""
    """Of the message it happened to, where that is another one (a conversion)."""
    is_bad: bool = False
    is_pending: bool = False
    """It has not happened yet: somebody still has to take it."""
    dead_letter: int = 0
    """Number of the dead letter; 0: it is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Journey:
    """One message, from its arrival to its last delivery."""

    message_id: bytes
    subject: str
    source: str
    type: str
    stored_ms: int
    seq: int
    """In the event stream."""
    steps: tuple[Step, ...] = ()
    related: tuple[Found, ...] = ()
    """Messages that were made of it, or of which it was made."""
    note: str = ""
    """What is not known of it, and why."""


class Finder(Protocol):
    """Where messages are."""

    async def find(self, kind: Kind, text: str, *, limit: int) -> Sequence[Found]:
        """Messages by an identifier, newest first. Raises `MeshError`."""
        ...

    async def journey(self, message_id: bytes) -> Journey:
        """What became of one message. Raises `NotFound`."""
        ...


class ContentClosed(MeshError):
    """The content of a message cannot be shown here; the words say why."""

    code = "content_closed"


class Contents(Protocol):
    """Opens what a message holds, as far as the gateway may."""

    async def masked(self, subject: str, seq: int) -> Masked:
        """What of it may be seen. Raises `ContentClosed`, `NotFound`."""
        ...

    async def revealed(self, subject: str, seq: int) -> Masked:
        """All of it. Raises as `masked` does. The caller has asked for a reason and recorded it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """All of them."""

    figures: Figures
    letters: Letters
    finder: Finder
    contents: Contents


__all__ = [
    "ContentClosed",
    "Contents",
    "Figures",
    "Finder",
    "Flow",
    "Found",
    "Journey",
    "Kind",
    "Letter",
    "Letters",
    "Place",
    "Sources",
    "Step",
    "Stream",
    "Timing",
]
