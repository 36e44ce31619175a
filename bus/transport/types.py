"""What goes over the seam between the mesh and its carrier: messages, streams, places, and what can go wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import ClassVar, Final

from schemas.errors import MeshError, ResourceExhausted

SCHEDULE_HEADER: Final = "Nats-Schedule"
SCHEDULE_TARGET_HEADER: Final = "Nats-Schedule-Target"


class StreamFull(ResourceExhausted):
    """The stream is at its limit or its disk is full: the message was refused and is not stored."""

    code: ClassVar[str] = "stream_full"


class NoResponders(MeshError, ConnectionError):
    """Nobody listens on the subject of a request."""

    code: ClassVar[str] = "no_responders"
    retryable: ClassVar[bool] = True


class PayloadTooLarge(MeshError, ValueError):
    """The message is larger than the carrier takes (`max_payload` of the server)."""

    code: ClassVar[str] = "payload_too_large"


class WrongRevision(MeshError):
    """A compare-and-set write lost: the key has another revision than the one named."""

    code: ClassVar[str] = "wrong_revision"
    retryable: ClassVar[bool] = True


class NotFound(MeshError, LookupError):
    """The stream, consumer, message, bucket or key does not exist."""

    code: ClassVar[str] = "not_found"


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """One message as it came from the carrier."""

    subject: str
    payload: bytes
    reply: str = ""
    headers: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """One message on its way into a stream. `message_id` makes a resend harmless: it goes as Nats-Msg-Id."""

    subject: str
    payload: bytes
    message_id: str
    headers: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A truthful answer of the store: the message is durable, as `StreamState.durability` says."""

    stream: str
    seq: int
    duplicate: bool = False
    """True when the stream had this message id already: nothing was stored a second time."""


class Retention(Enum):
    """What a stream keeps. A stream never drops a message that it accepted before a consumer had it."""

    LIMITS = "limits"
    WORKQUEUE = "workqueue"


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSpec:
    """A stream. At a limit it refuses the new message (`StreamFull`); it never drops an old one."""

    name: str
    subjects: tuple[str, ...]
    retention: Retention = Retention.LIMITS
    max_bytes: int = -1
    max_messages: int = -1
    max_age_s: float = 0.0
    """0 keeps for ever. Only streams whose loss by age is meant (receipts) set it."""
    max_messages_per_subject: int = -1
    discard_old_per_subject: bool = False
    """With max_messages_per_subject: keep the newest of each subject instead of refusing."""
    duplicate_window_s: float = 7200.0
    replicas: int = 1
    allow_atomic: bool = True
    allow_schedules: bool = False
    """Whether messages with `schedule_headers` are held back until they are due. Such a stream has no limits of its
    own: JetStream would drop old messages at one. Cannot be taken back."""

    def __post_init__(self) -> None:
        """Refuse what would lose messages. Raises `ValueError`."""
        limits = max(
            self.max_bytes, self.max_messages, self.max_messages_per_subject, self.max_age_s
        )
        if self.allow_schedules and limits > 0:
            raise ValueError(f"stream {self.name}: one with schedules has no limits")


def schedule_headers(at_ms: int, target: str) -> dict[str, str]:
    """Headers of a message that the stream holds back and stores on `target`, a subject of its own, when it is due.

    `at_ms`: milliseconds since 1970; the carrier counts whole seconds, and what is past is due at once. One message is
    held back on a subject: a later one takes its place, and deleting it cancels it (ADR-51).
    """
    due = datetime.fromtimestamp(-(-at_ms // 1000), UTC)
    return {
        SCHEDULE_HEADER: f"@at {due.strftime('%Y-%m-%dT%H:%M:%SZ')}",
        SCHEDULE_TARGET_HEADER: target,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamState:
    """What a stream holds now."""

    name: str
    messages: int
    bytes: int
    first_seq: int
    last_seq: int
    replicas: int
    sync_always: bool | None
    """Whether each write is fsynced before it is acknowledged; None when the server does not tell."""
    created_ms: int = 0
    """When the stream was created: sequences remembered from before belong to another stream. 0: not told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerSpec:
    """A durable consumer: a place in a stream that survives restarts. One running reader at a time.

    With `passing_s` it is none: then `name` is fresh for each.
    """

    stream: str
    name: str
    patterns: tuple[str, ...]
    ack_wait_s: float = 60.0
    max_ack_pending: int = 4096
    deliver_new: bool = False
    """When the consumer is created: begin with messages stored from now on instead of with the oldest."""
    start_seq: int = 0
    """When the consumer is created: begin with this sequence, or the first above it that is still there."""
    passing_s: float = 0.0
    """Above 0: a reader without a place. Nothing is acknowledged or comes again, retention does not wait for it, and
    the carrier forgets it when nobody has read for so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerState:
    """Where a consumer stands."""

    ack_floor: int
    """Every stream sequence up to this one is acknowledged."""
    delivered: int
    pending: int
    """Messages not delivered yet."""
    unacknowledged: int
    patterns: tuple[str, ...] = field(default=(), compare=False)
    """What it reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One message of a stream, given to a consumer."""

    subject: str
    payload: bytes
    seq: int
    """Sequence in the stream."""
    deliveries: int
    """1 for the first time; the server's count, not proof that a handler ran."""
    stored_ms: int
    pending: int
    reply: str = field(repr=False)
    """Opaque token by which the carrier acknowledges."""
    headers: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One value of a bucket. `value` is None when the key was deleted or expired."""

    key: str
    value: bytes | None
    revision: int


class LinkState(Enum):
    """Whether the carrier can be reached now."""

    CONNECTED = "connected"
    RECONNECTING = "reconnecting"
    CLOSED = "closed"


__all__ = [
    "SCHEDULE_HEADER",
    "SCHEDULE_TARGET_HEADER",
    "ConsumerSpec",
    "ConsumerState",
    "Delivery",
    "Entry",
    "Incoming",
    "LinkState",
    "NoResponders",
    "NotFound",
    "Outgoing",
    "PayloadTooLarge",
    "Retention",
    "Stored",
    "StreamFull",
    "StreamSpec",
    "StreamState",
    "WrongRevision",
    "schedule_headers",
]
