"""The seam between the mesh and what carries it: NATS, the in-memory twin and any later carrier pass one suite.

No type of a client library crosses this border, and every error that does is a `MeshError`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from bus.transport.types import (
    SCHEDULE_HEADER,
    SCHEDULE_TARGET_HEADER,
    ConsumerSpec,
    ConsumerState,
    Delivery,
    Entry,
    Incoming,
    LinkState,
    NoResponders,
    NotFound,
    Outgoing,
    PayloadTooLarge,
    Retention,
    Stored,
    StreamFull,
    StreamSpec,
    StreamState,
    WrongRevision,
    schedule_headers,
)
from schemas.errors import MeshError


class ConsumerEvents(Protocol):
    """What a consumer tells its reader. Called synchronously from the carrier's loop: must not block."""

    def delivered(self, delivery: Delivery) -> None:
        """Take one message; in stream order, and nothing comes between `interrupted` and the answering `rewind`.

        The one exception: a message that was neither acknowledged nor extended within `ack_wait_s` comes again, with a
        `seq` that the reader was given before and `deliveries` above 1. Each call uses up one credit.
        """
        ...

    def interrupted(self, reason: str) -> None:
        """Say that deliveries may have been lost (reconnect, gap). The reader answers with `DurableConsumer.rewind`.

        Acknowledgements of messages delivered before the rewind no longer count: those messages come again.
        """
        ...


class DurableConsumer(Protocol):
    """A running pull consumer. Credits bound what is under way; nothing comes without one."""

    def credit(self, messages: int) -> None:
        """Allow so many more deliveries. Outstanding credit survives a reconnect."""
        ...

    def acknowledge(self, delivery: Delivery) -> None:
        """Mark as done; not waited for. A lost acknowledgement means a redelivery, which the reader knows."""
        ...

    def extend(self, delivery: Delivery) -> None:
        """Say that work on the message goes on: the server's redelivery timer starts again."""
        ...

    async def rewind(self, seq: int) -> None:
        """Deliver again from stream sequence `seq` on, in order, including what was acknowledged above it."""
        ...

    async def state(self) -> ConsumerState:
        """Ask the server where the consumer stands."""
        ...

    async def close(self) -> None:
        """Stop deliveries and flush acknowledgements. The durable place stays."""
        ...


class Subscription(Protocol):
    """A running core subscription."""

    async def close(self) -> None:
        """Stop it; messages that had arrived are still handed over."""
        ...


class Messenger(Protocol):
    """Messages that are not stored: requests, control, watching."""

    async def publish(
        self,
        subject: str,
        payload: bytes,
        *,
        reply: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Send without an answer. Waits when the pending bound is reached. Raises `PermissionRefused`, `Closed`."""
        ...

    def send(
        self,
        subject: str,
        payload: bytes,
        *,
        reply: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Send without an answer and without waiting. A refusal by the server is counted, not raised.

        Raises `Unavailable` while disconnected, `ResourceExhausted` at the pending bound, `Closed`.
        """
        ...

    async def request(
        self,
        subject: str,
        payload: bytes,
        *,
        timeout_s: float,
        headers: Mapping[str, str] | None = None,
    ) -> Incoming:
        """Send and wait for one answer. Raises `DeadlineExceeded`, `NoResponders`, `PermissionRefused`."""
        ...

    async def subscribe(
        self, pattern: str, handler: Callable[[Incoming], None], *, queue: str = ""
    ) -> Subscription:
        """Call `handler` (synchronously; it must not block) for each message. Raises `PermissionRefused`."""
        ...


class EventStore(Protocol):
    """Streams: what is stored before it is acknowledged."""

    async def ensure_stream(self, spec: StreamSpec) -> StreamState:
        """Create the stream, or bring its limits to `spec`."""
        ...

    async def store(
        self,
        batch: Sequence[Outgoing],
        *,
        timeout_s: float,
        settled: Callable[[int, Stored | MeshError], None] | None = None,
    ) -> list[Stored | MeshError]:
        """Store messages of one stream in their order; one truthful result each, in the order given.

        `settled` is called with the place and the result of each message as soon as it is known, maybe before the call
        returns. Several calls may be under way: what they store keeps the order in which the calls were made.

        Resends on doubt (time-out, reconnect) until the deadline; a message whose fate stays unknown gives
        `DeadlineExceeded` or `Unavailable`, and sending it again with the same id is safe.
        Full streams and disks give `StreamFull`.
        """
        ...

    async def read(self, stream: str, seq: int) -> Delivery:
        """Read one stored message by its sequence. Raises `NotFound`."""
        ...

    async def delete(self, stream: str, seq: int) -> None:
        """Delete one message. Raises `NotFound`."""
        ...

    async def stream_state(self, stream: str) -> StreamState:
        """Ask what the stream holds. Raises `NotFound`."""
        ...

    async def consume(self, spec: ConsumerSpec, events: ConsumerEvents) -> DurableConsumer:
        """Create or take up a durable consumer. No delivery comes before the first `credit`."""
        ...


class StreamAdministration(Protocol):
    """What operators and the retention keeper need beyond `EventStore`."""

    async def streams(self) -> list[StreamState]:
        """All streams of the account."""
        ...

    async def consumers(self, stream: str) -> dict[str, ConsumerState]:
        """All durable consumers of a stream by name."""
        ...

    async def delete_consumer(self, stream: str, name: str) -> None:
        """Forget a durable consumer and its place; a reader that runs on it makes it anew. Raises `NotFound`."""
        ...

    async def purge(self, stream: str, *, up_to_seq: int) -> int:
        """Drop everything below `up_to_seq` (exclusive) and return how many messages went."""
        ...

    async def last_for_subject(self, stream: str, subject: str) -> Delivery:
        """The newest stored message of one subject. Raises `NotFound`."""
        ...

    async def next_for_subject(self, stream: str, pattern: str, *, from_seq: int) -> Delivery:
        """The oldest stored message at or behind a sequence that a pattern covers. Raises `NotFound`."""
        ...

    async def subject_counts(self, stream: str, pattern: str) -> Mapping[str, int]:
        """How many messages are stored on each subject that a pattern covers. Raises `NotFound`."""
        ...


class KeyValue(Protocol):
    """A bucket of versioned keys. Keys are tokens joined by dots, as in subjects."""

    async def get(self, key: str) -> Entry:
        """Read the newest value. Raises `NotFound`."""
        ...

    async def put(self, key: str, value: bytes) -> int:
        """Write and return the new revision."""
        ...

    async def swap(self, key: str, value: bytes, *, revision: int) -> int:
        """Write only if the key stands at `revision` (0: does not exist). Raises `WrongRevision`."""
        ...

    async def delete(self, key: str) -> None:
        """Mark the key as deleted."""
        ...

    async def keys(self) -> list[str]:
        """All live keys."""
        ...

    async def watch(self, pattern: str, changed: Callable[[Entry], None]) -> Subscription:
        """Report the current value of each key that matches, then each change. Survives reconnects."""
        ...


class Transport(Protocol):
    """One connection to the carrier, with its three faces."""

    @property
    def messenger(self) -> Messenger:
        """Messages that are not stored."""
        ...

    @property
    def store(self) -> EventStore:
        """Streams."""
        ...

    @property
    def administration(self) -> StreamAdministration:
        """Operators' view of the streams."""
        ...

    @property
    def link(self) -> LinkState:
        """Whether the carrier can be reached now."""
        ...

    @property
    def max_payload(self) -> int:
        """The largest message that the carrier takes, in bytes, as it last said; with headers."""
        ...

    async def key_value(
        self, bucket: str, *, history: int = 1, max_age_s: float = 0.0, in_memory: bool = False
    ) -> KeyValue:
        """Open a bucket, creating it when it is missing.

        One `in_memory` costs no fsync and is empty after the carrier's server was restarted: watches then report its
        keys as gone, and go on. For what its writers renew all the time: leases.
        """
        ...

    async def departures(self, gone: Callable[[str], None]) -> Subscription:
        """Call `gone` with the name of each connection to the carrier that ends, well within a second.

        Raises `PermissionRefused` where this connection may not know. A carrier that is not set up to tell never calls:
        whoever relies on it needs another sign as well.
        """
        ...

    async def close(self) -> None:
        """Flush what is pending and disconnect."""
        ...


Connect = Callable[[], Awaitable[Transport]]
"""How to get a transport; what composition hands to tests."""

__all__ = [
    "SCHEDULE_HEADER",
    "SCHEDULE_TARGET_HEADER",
    "Connect",
    "ConsumerEvents",
    "ConsumerSpec",
    "ConsumerState",
    "Delivery",
    "DurableConsumer",
    "Entry",
    "EventStore",
    "Incoming",
    "KeyValue",
    "LinkState",
    "Messenger",
    "NoResponders",
    "NotFound",
    "Outgoing",
    "PayloadTooLarge",
    "Retention",
    "Stored",
    "StreamAdministration",
    "StreamFull",
    "StreamSpec",
    "StreamState",
    "Subscription",
    "Transport",
    "WrongRevision",
    "schedule_headers",
]
