"""What the state machine of a group's member asks its driver to do, and the times by which it goes. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from bus.events.partitions.records import MemberRecord, PartitionRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseTimes:
    """The times of a lease; the same in all members of a group."""

    lease_s: float = 3.0
    """How long a member is believed after a renewal: others take what it has only after that, so that a crash costs its
    partitions this long, and one `settle_s`."""
    margin_s: float = 0.75
    """How much earlier a member stops to believe itself: covers clocks that run differently and a busy event loop."""
    heartbeat_s: float = 0.75
    """How often a lease is renewed: one small durable write each."""
    settle_s: float = 0.3
    """How long members must be the same ones before partitions move, so that a rolling restart moves them once."""
    settle_most_s: float = 2.0
    """However unquiet it is, they move after this long."""
    retry_s: float = 0.25
    """How soon an operation that failed is tried again."""

    @property
    def believed_s(self) -> float:
        """How long a member believes itself after it sent a renewal that was then confirmed."""
        return self.lease_s - self.margin_s


@dataclass(frozen=True, slots=True)
class WriteMember:
    """Compare-and-set one's own or another member's record. Answer `Seat.member_written` or `.member_failed`."""

    member: str
    revision: int
    record: MemberRecord


@dataclass(frozen=True, slots=True)
class LookAtMember:
    """Read a member's record. Answer `Seat.member_looked` or `.member_failed`."""

    member: str


@dataclass(frozen=True, slots=True)
class WritePartition:
    """Compare-and-set a partition's record. Answer `Seat.partition_changed` or `.partition_failed`.

    With `measure` the owner before did not release it: the driver first raises `record.floor` to what the server knows.
    """

    partition: int
    revision: int
    record: PartitionRecord
    measure: bool = False


@dataclass(frozen=True, slots=True)
class LookAtPartition:
    """Read a partition's record. Answer `Seat.partition_changed` or `.partition_failed`."""

    partition: int


@dataclass(frozen=True, slots=True)
class Begin:
    """Work the partition under this fence; `rebuild` its place first: a stale reader may still have it.

    Answer `Seat.rebuilt` once that is done, and `Seat.ended` if the work ends by itself.
    """

    partition: int
    record: PartitionRecord
    rebuild: bool


@dataclass(frozen=True, slots=True)
class Finish:
    """Take nothing new, finish what is in hand within a bound, flush acknowledgements. Answer `Seat.ended`."""

    partition: int


@dataclass(frozen=True, slots=True)
class Abandon:
    """Stop at once, handlers included. Answer `Seat.ended`."""

    partition: int
    reason: str


Action = WriteMember | LookAtMember | WritePartition | LookAtPartition | Begin | Finish | Abandon

__all__ = [
    "Abandon",
    "Action",
    "Begin",
    "Finish",
    "LeaseTimes",
    "LookAtMember",
    "LookAtPartition",
    "WriteMember",
    "WritePartition",
]
