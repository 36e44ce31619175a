"""What became of a message, and who is asked for it: the seam of the index, the CLI and the console.

Nothing here holds content. An identifier that somebody looks for exists in clear only in a `Query`, on its way to the
index; the index keeps keyed hashes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol

MAX_FOUND: Final = 1_000
"""More matches than these are never answered at once."""


class HopKind(StrEnum):
    """What happened; the values are stable and go on the wire."""

    PUBLISHED = "published"
    DELIVERED = "delivered"
    ANSWERED = "answered"
    CONVERTED = "converted"
    REFUSED = "refused"
    DEAD_LETTERED = "dead_lettered"
    REPLAYED = "replayed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """One thing that happened to one message."""

    at_ms: int
    """Milliseconds since 1970-01-01T00:00:00Z, by the clock of whoever did it."""
    kind: HopKind
    message_id: bytes
    subject: str
    by: str
    """The service, instance or adapter that did it."""
    to: str = ""
    """For whom, where there is somebody: a consumer, a receiver."""
    cause: str = ""
    """The stable `code` of a `MeshError` where it failed, never its words."""
    attempt: int = 1
    took_us: int | None = None
    """Microseconds; None: not measured."""
    derived_from: bytes = b""
    """The message of which this one was made; empty: it is an original."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """Every known hop of a message and of those that were made of it, oldest first."""

    message_id: bytes
    hops: tuple[Hop, ...]
    is_cut: bool = False
    """Whether there are more hops than were read."""

    def copies(self) -> dict[bytes, tuple[Hop, ...]]:
        """Return the hops by message, in the order in which the messages first appear."""
        grouped: dict[bytes, list[Hop]] = {}
        for hop in self.hops:
            grouped.setdefault(hop.message_id, []).append(hop)
        return {message_id: tuple(hops) for message_id, hops in grouped.items()}


class QueryKind(StrEnum):
    """By what a message is looked for; the values are stable: they are part of each key."""

    MESSAGE = "message"
    CONTROL = "control"
    PATIENT = "patient"
    ORDER = "order"
    VISIT = "visit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One identifier. Its value is left out of `repr`: it may be a patient's."""

    kind: QueryKind
    value: str = field(repr=False)
    assigner: str = field(default="", repr=False)
    """Who gave the identifier; empty: whoever it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """One message that answers a query."""

    message_id: bytes
    subject: str
    at_ms: int
    """When it was published."""
    by: str
    """Who published it."""


class Finder(Protocol):
    """Where messages are, and what became of them."""

    async def find(self, query: Query, *, limit: int = 100) -> Sequence[Match]:
        """Messages that hold the identifier, newest first; at most `limit`, which is at most `MAX_FOUND`.

        Raises `PermissionRefused` where the caller may not search, `Unavailable` where no index answers.
        """
        ...

    async def timeline(self, message_id: bytes) -> Timeline:
        """What became of one message and of its copies; without hops where it is not known. Raises as `find`."""
        ...


__all__ = [
    "MAX_FOUND",
    "Finder",
    "Hop",
    "HopKind",
    "Match",
    "Query",
    "QueryKind",
    "Timeline",
]
