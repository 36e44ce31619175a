"""One member's seat in a group: what it may work, what it takes, gives and lets go, as events come in. Pure.

Inputs are what the buckets say, answers of the driver and the clock; `react` gives what must be done now, `due_s` when
to ask again. A partition is worked only while its record names this member and the member's lease is valid:

    free (released, or its owner is dead) -> claimed by compare-and-set, fence + 1 -> worked -> finished -> released

What an operation did is never guessed: after a failure or a doubt the record is read, and only the record counts. Where
a release is in doubt the partition is not worked under that revision again: it could still be released by a late write.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto

from bus.events.partitions.actions import (
    Abandon,
    Action,
    Begin,
    Finish,
    LeaseTimes,
    LookAtMember,
    LookAtPartition,
    WriteMember,
    WritePartition,
)
from bus.events.partitions.others import Others
from bus.events.partitions.plan import assign
from bus.events.partitions.records import MemberRecord, PartitionRecord, Presence
from bus.events.partitions.session import Session


class Phase(Enum):
    """Where a partition stands with this member."""

    IDLE = auto()
    WORKING = auto()
    FINISHING = auto()
    ENDING = auto()
    """Told to stop at once; it has not said yet that it did."""


@dataclass(slots=True)
class _Partition:
    """What is known of one partition."""

    record: PartitionRecord | None = None
    revision: int = 0
    phase: Phase = Phase.IDLE
    fence: int = 0
    """Under which it is or was worked here."""
    is_busy: bool = False
    must_look: bool = False
    not_before_s: float = -math.inf
    release_tried: int = -1
    """The revision at which a release was tried, whatever became of it."""
    rebuilt: int = -1
    """The fence under which its place was rebuilt here."""


class Seat:
    """The state machine of one member of one group."""

    def __init__(
        self,
        *,
        group: str,
        partitions: Sequence[int],
        times: LeaseTimes,
        fresh_id: Callable[[], str],
        first_fence: int,
        after: int,
    ) -> None:
        self._group = group
        self._times = times
        self._first_fence = first_fence
        self._after = after
        self._session = Session(times, fresh_id)
        self._others = Others(times)
        self._partitions = {p: _Partition() for p in partitions}
        self._asked: set[str] = set()
        self._doubtful: set[str] = set()
        self._not_before_s = -math.inf
        self._is_leaving = False
        self._plan: dict[int, str] = {}
        self._planned: tuple[str, ...] = ()
        self._next: tuple[str, ...] = ()
        self._next_since_s = self._unquiet_since_s = 0.0

    # ── what others may ask ───────────────────────────────────────────────────────────────────────────────────────

    @property
    def member(self) -> str:
        """The present name of this member; empty while it has none."""
        return self._session.member

    @property
    def is_gone(self) -> bool:
        """Whether it has left for good."""
        return self._session.is_gone

    @property
    def members(self) -> tuple[str, ...]:
        """Whom the present plan counts."""
        return self._planned

    def is_valid(self, now_s: float) -> bool:
        """Whether this member's lease is valid by its own clock."""
        return self._session.is_valid(now_s)

    def may_work(self, partition: int, fence: int, now_s: float) -> bool:
        """Whether the partition may be worked under this fence right now. Asked before everything that counts."""
        one = self._partitions[partition]
        working = one.phase in (Phase.WORKING, Phase.FINISHING) and one.fence == fence
        return working and self._session.is_valid(now_s)

    def held(self) -> dict[int, PartitionRecord]:
        """What this member works, or finishes."""
        return {
            p: one.record
            for p, one in self._partitions.items()
            if one.phase is not Phase.IDLE and one.record is not None
        }

    def records(self) -> dict[int, PartitionRecord | None]:
        """Every partition's record as it was last seen."""
        return {p: one.record for p, one in self._partitions.items()}

    def planned_here(self) -> int:
        """How many partitions the plan gives to this member."""
        return sum(owner == self.member for owner in self._plan.values()) if self.member else 0

    # ── what the driver tells ─────────────────────────────────────────────────────────────────────────────────────

    def leave(self) -> None:
        """Finish what is in hand, release everything, and go."""
        self._is_leaving = True
        self._session.want(Presence.LEAVING)

    def member_changed(
        self, member: str, record: MemberRecord | None, revision: int, now_s: float
    ) -> None:
        """The bucket of members reported a record; None when a key went."""
        if member != self.member:
            self._others.changed(member, record, revision, now_s)
        elif record is not None and record.presence is Presence.GONE:
            self._session.lost(now_s)

    def member_looked(
        self, member: str, record: MemberRecord | None, revision: int, now_s: float
    ) -> None:
        """A `LookAtMember` was answered."""
        self._asked.discard(member)
        self._doubtful.discard(member)
        if member == self.member:
            self._session.looked(record, revision, now_s)
        else:
            self._others.changed(member, record, revision, now_s)

    def member_written(
        self, member: str, record: MemberRecord, revision: int, now_s: float
    ) -> None:
        """A `WriteMember` stands."""
        self._asked.discard(member)
        if member != self.member:
            self._others.changed(member, record, revision, now_s)
        elif self._session.written(revision, now_s):
            self._others.spare(now_s)

    def member_failed(self, member: str, now_s: float) -> None:
        """A `WriteMember` or a `LookAtMember` failed, or nobody knows."""
        if member == self.member:
            self._session.failed(now_s)
            return
        self._asked.discard(member)
        self._doubtful.add(member)
        self._not_before_s = now_s + self._times.retry_s

    def partition_changed(
        self, partition: int, record: PartitionRecord | None, revision: int
    ) -> None:
        """A record was written, read or reported."""
        one = self._partitions.get(partition)
        if one is None or revision < one.revision:
            return
        one.record, one.revision = record, revision

    def partition_answered(self, partition: int) -> None:
        """What was asked for last of this partition is answered, and reported by `partition_changed`."""
        one = self._partitions[partition]
        one.is_busy = one.must_look = False

    def partition_failed(self, partition: int, now_s: float) -> None:
        """What was asked for last failed, or nobody knows: its record is read first."""
        one = self._partitions[partition]
        one.is_busy, one.must_look = False, True
        one.not_before_s = now_s + self._times.retry_s

    def rebuilt(self, partition: int, fence: int) -> None:
        """The place was rebuilt: no stale reader has it any more."""
        self._partitions[partition].rebuilt = fence

    def ended(self, partition: int, now_s: float) -> None:
        """The work has ended: finished, abandoned, or by itself (then it begins again)."""
        one = self._partitions[partition]
        if one.phase is Phase.WORKING:
            one.not_before_s = now_s + self._times.retry_s
        one.phase = Phase.IDLE

    # ── what must be done ─────────────────────────────────────────────────────────────────────────────────────────

    def react(self, now_s: float) -> list[Action]:
        """Everything that must be done now; each is asked for once until it is answered."""
        actions: list[Action] = []
        if not self._session.is_valid(now_s):
            reason = "lease_lapsed" if self.member else "lease_lost"
            for partition in self._partitions:
                actions += self._abandon(partition, reason)
        if self.member or not self._is_working():
            actions += self._session.react(now_s)
        if self._session.is_valid(now_s):
            actions += self._bury(now_s)
            self._replan(now_s)
            for partition in self._partitions:
                actions += self._tend(partition, now_s)
            actions += self._look(now_s)
        self._say_goodbye()
        return actions

    def due_s(self, now_s: float) -> float:
        """When `react` has something new to say, if nothing comes before."""
        times = [
            self._session.due_s(),
            self._session.until_s,
            self._others.due_s(now_s),
            self._settles_s(),
            self._not_before_s,
            *[one.not_before_s for one in self._partitions.values() if one.not_before_s > now_s],
        ]
        return min([time for time in times if time > now_s], default=math.inf)

    def _is_working(self) -> bool:
        return any(one.phase is not Phase.IDLE for one in self._partitions.values())

    def _say_goodbye(self) -> None:
        if not self._is_leaving or self._is_working():
            return
        mine = [one for one in self._partitions.values() if self._is_mine(one) or one.is_busy]
        if not mine and (self._session.has_announced or not self.member):
            self._session.want(Presence.GONE)

    def _is_mine(self, one: _Partition) -> bool:
        return one.record is not None and bool(self.member) and one.record.owner == self.member

    # ── members ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _bury(self, now_s: float) -> list[Action]:
        if now_s < self._not_before_s:
            return []
        gone = MemberRecord(presence=Presence.GONE)
        silent = [
            WriteMember(member, revision, gone)
            for member, revision in self._others.silent(now_s)
            if member not in self._asked | self._doubtful
        ]
        self._asked.update(action.member for action in silent)
        return list(silent)

    def _look(self, now_s: float) -> list[Action]:
        """Read the records of members of whom nothing certain is known."""
        if now_s < self._not_before_s:
            return []
        names = self._doubtful - self._asked
        self._asked |= names
        return [LookAtMember(name) for name in sorted(names)]

    def _replan(self, now_s: float) -> None:
        """Take up the members that are there, once they have been the same ones for a moment."""
        present = set(self._others.present())
        if not self._is_leaving:
            present.add(self.member)
        members = tuple(sorted(present))
        if members != self._next:
            if self._next == self._planned:
                self._unquiet_since_s = now_s
            self._next, self._next_since_s = members, now_s
        if self._next != self._planned and now_s >= self._settles_s():
            self._planned = self._next
            self._plan = assign(self._group, self._partitions, members)
            owners = {one.record.owner for one in self._partitions.values() if one.record}
            self._others.forget(owners)

    def _settles_s(self) -> float:
        if self._next == self._planned:
            return math.inf
        quiet_s = self._next_since_s + self._times.settle_s
        return min(quiet_s, self._unquiet_since_s + self._times.settle_most_s)

    # ── partitions ────────────────────────────────────────────────────────────────────────────────────────────────

    def _abandon(self, partition: int, reason: str) -> list[Action]:
        one = self._partitions[partition]
        if one.phase not in (Phase.WORKING, Phase.FINISHING):
            return []
        one.phase = Phase.ENDING
        return [Abandon(partition, reason)]

    def _tend(self, partition: int, now_s: float) -> list[Action]:
        one, record = self._partitions[partition], self._partitions[partition].record
        is_planned = self._plan.get(partition) == self._session.member and not self._is_leaving
        if one.phase is not Phase.IDLE:
            is_same = record is not None and record.owner == self._session.member
            if not is_same or (record is not None and record.fence != one.fence):
                return self._abandon(partition, "taken")
        match one.phase:
            case Phase.WORKING if not is_planned:
                one.phase = Phase.FINISHING
                return [Finish(partition)]
            case Phase.IDLE if not one.is_busy and now_s >= one.not_before_s:
                return self._move(partition, one, is_planned, now_s)
        return []

    def _move(
        self, partition: int, one: _Partition, is_planned: bool, now_s: float
    ) -> list[Action]:
        """What to do with a partition that is not worked here."""
        if one.must_look:
            one.is_busy = True
            return [LookAtPartition(partition)]
        if self._is_mine(one):
            if not is_planned:
                return self._release(partition, one)
            if one.release_tried == one.revision:
                return self._claim(partition, one, "kept")
            return self._begin(partition, one)
        return self._take(partition, one, now_s) if is_planned else []

    def _begin(self, partition: int, one: _Partition) -> list[Action]:
        if one.record is None:
            return []
        one.phase, one.fence = Phase.WORKING, one.record.fence
        rebuild = not one.record.was_released and one.rebuilt != one.fence
        return [Begin(partition, one.record, rebuild)]

    def _release(self, partition: int, one: _Partition) -> list[Action]:
        if one.record is None:
            return []
        one.is_busy, one.release_tried = True, one.revision
        # a place that was not rebuilt yet may still have a stale reader: the next owner must see to it
        is_clean = one.record.was_released or one.rebuilt == one.record.fence
        reason = "left" if self._is_leaving else "moved"
        record = replace(one.record, owner="", was_released=is_clean, reason=reason)
        return [WritePartition(partition, one.revision, record)]

    def _take(self, partition: int, one: _Partition, now_s: float) -> list[Action]:
        """Claim what is free; ask after an owner that nobody has seen."""
        record = one.record
        if record is None:
            return self._claim(partition, one, "first")
        if not record.owner:
            return self._claim(partition, one, record.reason)
        if self._others.is_dead(record.owner, now_s):
            return self._claim(partition, one, "expired")
        if not self._others.is_known(record.owner):
            self._doubtful.add(record.owner)
        return []

    def _claim(self, partition: int, one: _Partition, reason: str) -> list[Action]:
        one.is_busy = True
        old = one.record or PartitionRecord(
            owner="", fence=self._first_fence - 1, floor=self._after, was_released=True
        )
        is_own = one.record is not None and old.owner == self.member
        is_clean = (old.was_released and old.owner == "") or (
            is_own and (old.was_released or one.rebuilt == old.fence)
        )
        record = replace(
            old, owner=self.member, fence=old.fence + 1, was_released=is_clean, reason=reason
        )
        return [WritePartition(partition, one.revision, record, measure=not is_clean)]


__all__ = ["Phase", "Seat"]
