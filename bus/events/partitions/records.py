"""What a group keeps in its buckets, as JSON: who works a partition, who is there, where the group began. Pure.

Partitions lie in a bucket that forgets nothing, at `<group>.p.<partition>`: their fence only grows, since each change
is a compare-and-set on the one before. Members lie in a second bucket whose keys expire, at `<group>.<member>`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Final, TypeVar

from schemas.errors import MeshError

PARTITION_BUCKET: Final = "partitions"
MEMBER_BUCKET: Final = "members"
MEMBER_AGE_S: Final = 60.0
"""How long a member's key lives after its last renewal or its burial: long after its lease."""


class UnreadableRecord(MeshError):
    """A record of a group is not what medmesh writes."""

    code = "unreadable_record"


class Presence(StrEnum):
    """What a member says of itself, or others of it."""

    IN = "in"
    LEAVING = "leaving"
    """It works what it has to the end and takes nothing new."""
    GONE = "gone"
    """It ended its work, or its lease was over and another member said so: it never comes back under this name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberRecord:
    """A member's lease: alive while `beat` goes on."""

    presence: Presence = Presence.IN
    beat: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionRecord:
    """Who may work a partition."""

    owner: str
    """A member; empty when it was released in good order."""
    fence: int
    """Grows with every new owner. An effect that carries a lower one than seen before comes from a stale owner."""
    floor: int
    """Every stream sequence of the partition up to this one was finished when it changed hands."""
    stream: str = ""
    """Of which stream, with the time of its creation."""
    was_released: bool = True
    """Whether the owner before it had released it: nobody else reads at its place any more."""
    moved_ms: int = 0
    reason: str = ""
    """Why it was moved last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRecord:
    """Where a group began, decided once by its first member."""

    stream: str
    """Which stream, with the time of its creation."""
    after: int
    """The group is not concerned with sequences up to this one."""


_R = TypeVar("_R", MemberRecord, PartitionRecord, GroupRecord)


def encode(record: MemberRecord | PartitionRecord | GroupRecord) -> bytes:
    """As it lies in the bucket."""
    return json.dumps(asdict(record), separators=(",", ":")).encode()


def decode(kind: type[_R], raw: bytes) -> _R:
    """Read a record; fields of a newer version are ignored. Raises `UnreadableRecord`."""
    try:
        table = json.loads(raw)
        fields = {name: table[name] for name in kind.__dataclass_fields__ if name in table}
        if kind is MemberRecord:
            fields["presence"] = Presence(fields["presence"])
        return kind(**fields)
    except (ValueError, TypeError, KeyError):
        raise UnreadableRecord(f"a {kind.__name__} cannot be read: {len(raw)} bytes") from None


def partition_key(group: str, partition: int) -> str:
    """`<group>.p.<partition>` in the bucket of partitions."""
    return f"{group}.p.{partition}"


def group_key(group: str) -> str:
    """`<group>.group` in the bucket of partitions."""
    return f"{group}.group"


def member_key(group: str, member: str) -> str:
    """`<group>.<member>` in the bucket of members."""
    return f"{group}.{member}"


__all__ = [
    "MEMBER_AGE_S",
    "MEMBER_BUCKET",
    "PARTITION_BUCKET",
    "GroupRecord",
    "MemberRecord",
    "PartitionRecord",
    "Presence",
    "UnreadableRecord",
    "decode",
    "encode",
    "group_key",
    "member_key",
    "partition_key",
]
