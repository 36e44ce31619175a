"""One seat, step by step: what it asks for, and what it does when nobody knows what became of that."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

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
from bus.events.partitions.leases import Seat
from bus.events.partitions.records import MemberRecord, PartitionRecord, Presence

A = TypeVar("A", bound=Action)
TIMES = LeaseTimes()


class Desk:
    """A seat, a clock, and answers by hand."""

    def __init__(self, partitions: int = 1) -> None:
        self.names = iter(f"me{n}" for n in range(9))
        self.seat = Seat(
            group="g",
            partitions=range(partitions),
            times=TIMES,
            fresh_id=lambda: next(self.names),
            first_fence=100,
            after=7,
        )
        self.now_s = 10.0
        self.revision = 0

    def react(self, after_s: float = 0.0) -> list[Action]:
        self.now_s += after_s
        return self.seat.react(self.now_s)

    def joined(self) -> None:
        (join,) = self.react()
        self.stands(join)

    def stands(self, action: Action) -> None:
        """The write was carried out."""
        self.revision += 1
        if isinstance(action, WriteMember):
            self.seat.member_written(action.member, action.record, self.revision, self.now_s)
        elif isinstance(action, WritePartition):
            self.seat.partition_changed(action.partition, action.record, self.revision)
            self.seat.partition_answered(action.partition)

    def settled(self) -> list[Action]:
        """After the members have been the same ones for a moment; renewals are confirmed."""
        actions = self.react() + self.react(TIMES.settle_s)
        for action in actions:
            if isinstance(action, WriteMember) and action.member == self.seat.member:
                self.stands(action)
        return [action for action in actions if not isinstance(action, WriteMember)]

    def working(self) -> PartitionRecord:
        """With partition 0 in work."""
        self.joined()
        (claim,) = self.settled()
        self.stands(claim)
        (begin,) = self.react()
        assert isinstance(begin, Begin)
        return begin.record

    def other(self, name: str, presence: Presence = Presence.IN) -> int:
        self.revision += 1
        self.seat.member_changed(name, MemberRecord(presence=presence), self.revision, self.now_s)
        return self.revision


def one(kind: type[A], actions: list[Action]) -> A:
    (found,) = [action for action in actions if isinstance(action, kind)]
    return found


def test_the_first_owner_gets_the_first_fence_and_begins_behind_what_the_group_skips() -> None:
    record = Desk().working()
    assert (record.owner, record.fence, record.floor, record.reason) == ("me0", 100, 7, "first")


def test_work_stops_by_the_own_clock_before_anyone_may_take_over() -> None:
    desk = Desk()
    record = desk.working()
    assert desk.seat.may_work(0, record.fence, desk.now_s)
    confirmed_s = desk.seat._session.until_s
    assert confirmed_s - desk.now_s < TIMES.lease_s
    assert not desk.seat.may_work(0, record.fence, confirmed_s)
    desk.now_s = confirmed_s
    assert one(Abandon, desk.react()).reason == "lease_lapsed"


def test_a_late_renewal_that_nobody_prevented_takes_the_work_up_again_under_the_same_fence() -> (
    None
):
    desk = Desk()
    record = desk.working()
    renew = one(WriteMember, desk.react(TIMES.heartbeat_s))
    desk.react(TIMES.lease_s)  # lapsed, and told to abandon
    desk.seat.ended(0, desk.now_s)
    assert not desk.react()
    desk.stands(renew)  # confirmed, but sent too long ago to be believed
    renew = one(WriteMember, desk.react())
    desk.stands(renew)
    assert one(Begin, desk.react()).record.fence == record.fence


def test_who_was_buried_stops_everything_and_comes_back_under_another_name() -> None:
    desk = Desk()
    desk.working()
    desk.seat.member_changed("me0", MemberRecord(presence=Presence.GONE), 999, desk.now_s)
    assert one(Abandon, desk.react()).reason == "lease_lost"
    assert not desk.react(TIMES.retry_s)  # not before the work has ended
    desk.seat.ended(0, desk.now_s)
    assert one(WriteMember, desk.react()).member == "me1"


def test_a_renewal_of_unknown_fate_is_looked_up_and_extends_nothing() -> None:
    desk = Desk()
    desk.working()
    until_s = desk.seat._session.until_s
    renew = one(WriteMember, desk.react(TIMES.heartbeat_s))
    desk.seat.member_failed("me0", desk.now_s)
    one(LookAtMember, desk.react())
    desk.seat.member_looked("me0", renew.record, 50, desk.now_s)
    assert desk.seat._session.until_s == until_s
    assert one(WriteMember, desk.react()).revision == 50


def test_a_silent_member_is_buried_at_the_revision_that_stood_still() -> None:
    desk = Desk()
    desk.joined()
    revision = desk.other("quiet")
    for _ in range(8):
        for action in desk.react(TIMES.lease_s / 8 + 0.001):
            if isinstance(action, WriteMember) and action.member == "me0":
                desk.stands(action)
            elif isinstance(action, WriteMember):
                assert (action.member, action.revision) == ("quiet", revision)
                assert action.record.presence is Presence.GONE
                return
    raise AssertionError("it was not buried")


def test_nothing_is_taken_from_a_member_that_may_still_believe_itself() -> None:
    desk = Desk()
    desk.joined()
    held = PartitionRecord(owner="other", fence=5, floor=0)
    desk.seat.partition_changed(0, held, 3)
    looks = [action for action in desk.settled() if isinstance(action, LookAtMember)]
    assert looks == [LookAtMember("other")]
    desk.seat.member_looked("other", None, 0, desk.now_s)  # its key has expired
    missing_s = desk.now_s
    while True:
        actions = desk.react(0.1)
        for action in actions:
            if isinstance(action, WriteMember):
                desk.stands(action)
            elif isinstance(action, WritePartition):
                assert desk.now_s - missing_s >= TIMES.lease_s
                assert (action.record.fence, action.record.was_released) == (6, False)
                assert action.measure
                return


def test_a_partition_planned_away_is_finished_before_it_is_released() -> None:
    desk = Desk(partitions=64)
    desk.joined()
    for claim in desk.settled():
        desk.stands(claim)
    assert len(desk.react()) == 64
    desk.other("new")
    finishing = [a.partition for a in desk.settled() if isinstance(a, Finish)]
    assert 30 <= len(finishing) <= 34
    assert not [a for a in desk.react() if isinstance(a, WritePartition)]
    desk.seat.ended(finishing[0], desk.now_s)
    release = one(WritePartition, desk.react())
    assert (release.partition, release.record.owner) == (finishing[0], "")
    assert (release.record.reason, release.record.was_released) == ("moved", True)


def test_after_a_release_of_unknown_fate_the_partition_is_never_worked_under_that_fence() -> None:
    """The write may still be on its way, and set the partition free while we work it."""
    desk = Desk()
    record = desk.working()
    # the only partition goes to the newcomer, or stays: choose names until it goes
    names = iter(f"new{n}" for n in range(20))
    actions: list[Action] = []
    while not [a for a in actions if isinstance(a, Finish)]:
        desk.other(next(names))
        actions = desk.settled()
    desk.seat.ended(0, desk.now_s)
    release = one(WritePartition, desk.react())
    desk.seat.partition_failed(0, desk.now_s)
    for name in [f"new{n}" for n in range(20)]:
        desk.other(name, Presence.GONE)  # all of them leave again: it is ours by plan
    actions = desk.react(TIMES.settle_s) + desk.react(TIMES.settle_s)
    for action in actions:
        if isinstance(action, WriteMember):
            desk.stands(action)
    one(LookAtPartition, actions)
    desk.seat.partition_changed(0, record, release.revision)
    desk.seat.partition_answered(0)
    (again,) = [a for a in desk.settled() if isinstance(a, WritePartition | Begin)]
    assert isinstance(again, WritePartition)
    assert again.revision == release.revision
    assert (again.record.owner, again.record.fence) == (record.owner, record.fence + 1)


def test_a_record_that_names_another_owner_ends_the_work_at_once() -> None:
    desk = Desk()
    record = desk.working()
    desk.seat.partition_changed(0, replace(record, owner="other", fence=record.fence + 1), 999)
    assert not desk.seat.may_work(0, record.fence + 1, desk.now_s)
    assert one(Abandon, desk.react()).reason == "taken"


def test_leaving_announces_finishes_releases_and_only_then_goes() -> None:
    desk = Desk()
    desk.working()
    desk.seat.leave()
    actions = desk.react()
    announce = one(WriteMember, actions)
    assert announce.record.presence is Presence.LEAVING
    one(Finish, actions)
    desk.stands(announce)
    desk.seat.ended(0, desk.now_s)
    release = one(WritePartition, desk.react())
    assert release.record.reason == "left"
    assert not desk.seat.is_gone
    desk.stands(release)
    desk.react()
    farewell = one(WriteMember, desk.react())
    assert farewell.record.presence is Presence.GONE
    desk.stands(farewell)
    assert desk.seat.is_gone
