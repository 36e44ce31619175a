"""Durable events as adapters and services see them: publish, consume, receipts. Sealing and storage lie behind."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar, Protocol, runtime_checkable

from bus.flow.priority import Priority
from schemas.errors import MeshError
from schemas.generated.medmesh.content.v1 import content_pb2 as content_pb


class Rejected(MeshError):
    """Raised by a handler: this message will never be accepted here. It becomes a dead letter at once."""

    code: ClassVar[str] = "rejected"


class Outcome(Enum):
    """What became of a message at a destination; the value is the number on the wire."""

    DELIVERED = 1
    APPLIED = 2
    REFUSED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What one destination did with one message."""

    message_id: bytes
    consumer: str
    outcome: Outcome
    answer: bytes = field(default=b"", repr=False)
    """The peer's own answer (an HL7 acknowledgement), byte for byte."""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """One event to be stored."""

    subject: str
    """A full event subject, built by `schemas.subjects.event`."""
    type: str
    body: bytes = field(repr=False)
    message_id: bytes = b""
    """16 bytes; the same id is stored once within the stream's duplicate window. Empty: a fresh random one."""
    index: content_pb.Index | None = field(default=None, repr=False)
    received_ms: int = 0
    traceparent: str = ""
    receipts_from: tuple[str, ...] = ()
    """Consumers whose receipts the publisher will wait for."""
    priority: Priority = Priority.ROUTINE
    """Where it stands among what waits to be stored. Events of one subject keep their order whatever this says."""
    on_behalf_of: str = ""
    """The service that asked for it, where another one publishes it (the scheduler)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """The event is durable: fsynced by the stream's server, and replicated where the stream is."""

    message_id: bytes
    stream: str
    seq: int
    duplicate: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedEvent:
    """One event, opened and verified, on its way to a handler."""

    subject: str
    message_id: bytes
    type: str
    body: bytes = field(repr=False)
    index: content_pb.Index = field(repr=False)
    source: str
    """Name of the service that published it, from its certificate."""
    received_ms: int
    stored_ms: int
    seq: int
    partition: int
    attempt: int
    """1 for the first time a handler sees it in this run of the program."""
    replayed: bool
    traceparent: str = ""
    schema_id: bytes = b""
    """SHA-256 of the schema that the body follows, by which it lies in the registry; empty where none is bound."""
    source_publishes: tuple[str, ...] = ()
    """Subject patterns that the publisher's certificate allows."""
    on_behalf_of: str = ""
    """The service for which `source` says that it published: trusted as far as `source` is."""
    fence: int = 0
    """Of a shared consumer: grows whenever the partition gets a new owner, so that an effect can be refused when it
    comes with a lower fence than one before. 0 where the consumer is not shared."""


Handler = Callable[[ReceivedEvent], Awaitable[Receipt | None]]
"""Works one event. Returning acknowledges it. A returned receipt is sent where the publisher asked for one.

Raising a `MeshError` with `retryable` True and code "unavailable" means that the destination is away: the message
waits, with backoff and for ever, and counts no attempt. Any other error counts an attempt and is retried with backoff;
after `RetryPolicy.max_attempts` the message becomes a dead letter and the lane goes on. `Rejected` is one at once.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How failures are tried again."""

    max_attempts: int = 8
    """Failures that count before a message steps aside as a dead letter; 0 never gives up and lets its lane wait."""
    first_delay_s: float = 0.5
    longest_delay_s: float = 30.0
    multiplier: float = 2.0
    jitter: float = 0.2
    """Share of each delay that is random."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumeSpec:
    """How a durable consumer works."""

    name: str
    """Durable name: one token; also the name in dead letters and receipts."""
    patterns: tuple[str, ...]
    lanes: int = 1
    """1: one message at a time in stream order. N: N at a time; order holds within each partition."""
    max_in_flight: int = 256
    """Messages held in memory: the credit given to the server."""
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    accept: Callable[[ReceivedEvent], bool] | None = None
    """A filter; what it turns down is acknowledged and counted as filtered."""
    deliver_new: bool = False
    shared: bool = False
    """Share the 64 partitions with every other process that consumes under this name: each partition is worked by one
    of them at a time, and moves when they come, go or die. `lanes` bounds what this process works at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumptionStats:
    """What a running consumption has done and what waits."""

    delivered: int
    filtered: int
    retried: int
    dead_lettered: int
    refused_envelopes: int
    sender_contradictions: int
    """Batches that contradict another one of the same sender: the sender was copied (a cloned machine), or its key is
    in strange hands. Each message is authentic and was worked. 0 in ordinary operation, failed publishes included."""
    in_flight: int
    pending: int
    oldest_wait_s: float
    seconds_to_drain: float | None = None
    """How long what waits will take at the present rate; None while nothing moves or nothing waits."""


class Consumption(Protocol):
    """A running consumption."""

    def stats(self) -> ConsumptionStats:
        """Counters since the start, and what waits now."""
        ...

    async def drain(self, *, timeout_s: float) -> bool:
        """Take nothing new, work what was taken, as far as the time goes; False when something is left."""
        ...

    async def stop(self) -> None:
        """Stop at once; what was not acknowledged comes again."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionView:
    """One partition of a shared consumer, for operators."""

    partition: int
    owner: str
    """The member that works it; empty while it is free."""
    is_here: bool
    """Whether this process works it."""
    fence: int
    """Grows with each owner; 0: it never had one."""
    lag: int | None
    """What waits, in messages; None where nobody could tell."""
    moved_ms: int
    reason: str
    """Why it moved last: `first`, `moved`, `left`, `expired`, `kept`."""


@runtime_checkable
class SharedConsumption(Consumption, Protocol):
    """A running consumption that shares its partitions; `consume` returns one for a spec that is `shared`."""

    def partitions(self) -> tuple[PartitionView, ...]:
        """Every partition of the group, as this member sees it."""
        ...


Fits = Callable[[str, str, bytes], bytes]
"""Whether content fits its subject: `fits(subject, content_type, body)` raises `SchemaRefused` where it does not.

It answers with the id of the schema that the subject is bound to; empty where there is none.
"""


class Events(Protocol):
    """Durable events in the name of one service."""

    async def publish(self, event: NewEvent, *, timeout_s: float = 30.0) -> StoredEvent:
        """Seal and store one event; returns when it is durable. Concurrent calls share signatures and commits.

        Raises `StreamFull`, `ResourceExhausted`, `DeadlineExceeded`, `Unavailable`, `PermissionRefused`: then it may be
        sent again with the same message id. Raises `SchemaRefused` for content that its subject is not bound to.
        """
        ...

    async def consume(self, spec: ConsumeSpec, handler: Handler) -> Consumption:
        """Take up the durable consumer `spec.name` and work its events."""
        ...

    async def await_receipt(self, message_id: bytes, consumer: str, *, timeout_s: float) -> Receipt:
        """Wait for what a destination did with a message, now or before. Raises `DeadlineExceeded`."""
        ...


__all__ = [
    "ConsumeSpec",
    "Consumption",
    "ConsumptionStats",
    "Events",
    "Fits",
    "Handler",
    "NewEvent",
    "Outcome",
    "PartitionView",
    "Priority",
    "Receipt",
    "ReceivedEvent",
    "Rejected",
    "RetryPolicy",
    "SharedConsumption",
    "StoredEvent",
]
