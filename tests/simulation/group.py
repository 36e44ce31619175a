"""A group of members on a simulated server: the real seats, trackers and leases; places and handlers in simulation.

Every promise is checked while it goes: who works where, under which fence, and which effects happened in which order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
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
from bus.events.partitions.records import MemberRecord, PartitionRecord
from bus.events.tracking import Arrival, Tracker
from tests.simulation.kit import Link, Process, Registers, Server, Simulation, Timer, Weather

T = TypeVar("T")
TIMES = LeaseTimes()
OPERATION_S = 2.0
CREDIT = 4
FINISH_S = 3.0
DRIFT = 0.01


@dataclass
class Place:
    """A durable place in a partition's part of the stream, with the requests that stand there."""

    log: list[int]
    after: int = 0
    acknowledged: set[int] = field(default_factory=set)
    cursor: int = 0
    given: int = 0
    epoch: int = 0
    requests: list[list[object]] = field(default_factory=list)
    """Reader and what it still may get."""

    @property
    def floor(self) -> int:
        floor = self.after
        for seq in self.log:
            if seq > floor and seq not in self.acknowledged:
                break
            floor = max(floor, seq)
        return floor

    def rewind(self, seq: int) -> int:
        """As the server does it: requests of other readers stay, and go on to swallow messages."""
        self.after = seq - 1
        self.acknowledged.clear()
        self.cursor = sum(one < seq for one in self.log)
        self.given = 0
        self.epoch += 1
        return self.epoch

    def pump(self) -> None:
        while self.requests and self.cursor < len(self.log):
            first = self.requests[0]
            reader, left = first
            assert isinstance(reader, Worker)
            assert isinstance(left, int)
            first[1] = left - 1
            if left <= 1:
                self.requests.pop(0)
            seq = self.log[self.cursor]
            self.cursor += 1
            self.given += 1
            reader.push(self.epoch, self.given, seq)


@dataclass
class Effects:
    """What handlers did, refused where it came with a fence that was outdated."""

    fences: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    done: dict[int, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    """Of each partition: sequence and fence."""
    refused: int = 0
    distinct: set[int] = field(default_factory=set)

    def commit(self, partition: int, seq: int, fence: int) -> bool:
        if fence < self.fences[partition]:
            self.refused += 1
            return False
        self.fences[partition] = fence
        self.done[partition].append((seq, fence))
        self.distinct.add(seq)
        return True


class World:
    """Server, buckets, places, and who works where."""

    def __init__(self, seed: int, *, partitions: int) -> None:
        self.simulation = Simulation(seed)
        self.partitions = tuple(range(partitions))
        self.server = Server()
        self.weather = Weather()
        self.members: Registers[MemberRecord] = Registers()
        self.records: Registers[PartitionRecord] = Registers()
        self.logs: dict[int, list[int]] = {p: [] for p in self.partitions}
        self.places: dict[int, Place] = {}
        self.effects = Effects()
        self.working: dict[int, Worker] = {}
        self.begun: dict[int, int] = defaultdict(int)
        self.hands: list[Hand] = []
        self.stored = 0
        self.moves = 0

    def publish(self, partition: int) -> None:
        self.stored += 1
        self.logs[partition].append(self.stored)
        if partition in self.places:
            self.places[partition].pump()

    def handler_begins(self, worker: Worker) -> None:
        """Nobody who runs may be in the same partition."""
        other = self.working.get(worker.partition)
        assert other is None or not other.is_running(), (
            f"two at work in partition {worker.partition}: fences {other.fence} and {worker.fence}"
        )
        assert worker.fence >= self.begun[worker.partition], (
            "an older fence began after a newer one"
        )
        self.begun[worker.partition] = worker.fence
        self.working[worker.partition] = worker

    def handler_ends(self, worker: Worker) -> None:
        if self.working.get(worker.partition) is worker:
            del self.working[worker.partition]

    def is_done(self) -> bool:
        return len(self.effects.distinct) == self.stored

    def check_effects(self) -> None:
        """Nothing lost, first effects in order, nothing twice under one owner, nothing skipped at a change."""
        for partition in self.partitions:
            done = self.effects.done[partition]
            firsts = list(dict.fromkeys(seq for seq, _ in done))
            assert firsts == self.logs[partition], f"partition {partition}: lost or out of order"
            assert len(set(done)) == len(done), f"partition {partition}: twice under one fence"
            for (a, fence), (b, later) in pairwise(done):
                assert fence <= later
                assert fence < later or a < b, f"partition {partition}: back without a new owner"


class Hand:
    """A member: the real seat in a simulated process."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.process = Process(world.simulation, drift=DRIFT)
        self.link = Link(self.process, world.server, world.weather)
        self.finished: dict[int, set[int]] = defaultdict(set)
        """The ledgers of its machine."""
        self.workers: dict[int, Worker] = {}
        self._timer: Timer | None = None
        self._due_s = 0.0
        self._is_waking = False
        self.seat = Seat(
            group="g",
            partitions=world.partitions,
            times=TIMES,
            fresh_id=lambda: f"{world.simulation.chance.getrandbits(32):08x}",
            first_fence=1,
            after=0,
        )
        world.hands.append(self)
        world.members.watch(self.link, self._member_changed)
        world.records.watch(self.link, self._record_changed)
        self.react()

    def _member_changed(self, key: str, record: MemberRecord, revision: int) -> None:
        self.seat.member_changed(key, record, revision, self.process.now_s())
        self.wake()

    def _record_changed(self, key: str, record: PartitionRecord, revision: int) -> None:
        self.seat.partition_changed(int(key), record, revision)
        self.wake()

    def leave(self) -> None:
        self.process.get(self._leave)

    def _leave(self) -> None:
        self.seat.leave()
        self.wake()

    def wake(self) -> None:
        """Look at it all once more in the next turn, as the driver does: what comes together is seen together."""
        if not self._is_waking:
            self._is_waking = True
            self.process.after(0.0005, self.react)

    def react(self) -> None:
        self._is_waking = False
        now_s = self.process.now_s()
        for action in self.seat.react(now_s):
            self._carry_out(action)
        due_s = self.seat.due_s(now_s)
        if self._timer is None or self._timer.do is None or due_s < self._due_s:
            if self._timer is not None:
                self._timer.cancel()
            self._due_s = due_s
            if due_s < 1e9:
                self._timer = self.process.after(max(0.0, due_s - now_s) + 1e-6, self.react)

    def _carry_out(self, action: Action) -> None:
        match action:
            case WriteMember(member=member):
                self._ask(
                    lambda: self.world.members.swap(member, action.record, action.revision),
                    lambda new: self._member_written(action, new),
                    lambda: self.seat.member_failed(member, self.process.now_s()),
                )
            case LookAtMember(member=member):
                self._ask(
                    lambda: self.world.members.get(member),
                    lambda found: self.seat.member_looked(
                        member,
                        found.value if found else None,
                        found.revision if found else 0,
                        self.process.now_s(),
                    ),
                    lambda: self.seat.member_failed(member, self.process.now_s()),
                )
            case WritePartition():
                self._write(action)
            case LookAtPartition(partition=partition):
                self._ask(
                    lambda: self.world.records.get(str(partition)),
                    lambda found: self._answered(
                        partition, found.value if found else None, found.revision if found else 0
                    ),
                    lambda: self.seat.partition_failed(partition, self.process.now_s()),
                )
            case Begin(partition=partition, record=record, rebuild=rebuild):
                self.workers[partition] = Worker(self, partition, record, rebuild=rebuild)
            case Finish(partition=partition):
                self.workers[partition].finish()
            case Abandon(partition=partition):
                worker = self.workers[partition]
                worker.abandon()
                self.process.after(0.001, worker.end)

    def _ask(
        self, request: Callable[[], T], answered: Callable[[T], None], failed: Callable[[], None]
    ) -> None:
        self.link.ask(
            request,
            lambda result: self._then(lambda: answered(result)),
            lambda: self._then(failed),
            timeout_s=OPERATION_S,
        )

    def _then(self, tell: Callable[[], None]) -> None:
        tell()
        self.wake()

    def _member_written(self, action: WriteMember, revision: int | None) -> None:
        now_s = self.process.now_s()
        if revision is None:
            self.seat.member_failed(action.member, now_s)
        else:
            self.seat.member_written(action.member, action.record, revision, now_s)

    def _write(self, action: WritePartition) -> None:
        partition, record = action.partition, action.record
        place = self.world.places.get(partition)
        if not record.owner and partition in self.workers:
            record = replace(record, floor=self.workers[partition].floor)
        if action.measure and place is not None:
            record = replace(record, floor=max(record.floor, place.floor))

        def written(revision: int | None) -> None:
            if revision is None:
                self.seat.partition_failed(partition, self.process.now_s())
                return
            self.world.moves += bool(record.owner)
            self._answered(partition, record, revision)

        self._ask(
            lambda: self.world.records.swap(str(partition), record, action.revision),
            written,
            lambda: self.seat.partition_failed(partition, self.process.now_s()),
        )

    def _answered(self, partition: int, record: PartitionRecord | None, revision: int) -> None:
        self.seat.partition_changed(partition, record, revision)
        self.seat.partition_answered(partition)

    def cut(self) -> None:
        self.link.is_up = False

    def heal(self) -> None:
        """The link is back: watches report again what they missed, readers go back to what they have not finished."""
        self.link.is_up = True
        self.world.members.catch_up(self.link)
        self.world.records.catch_up(self.link)
        for worker in self.workers.values():
            self.process.get(worker.rewind)


class Worker:
    """The reader and the one lane of a partition, with the real tracker."""

    def __init__(
        self, hand: Hand, partition: int, record: PartitionRecord, *, rebuild: bool
    ) -> None:
        self.hand = hand
        self.world = hand.world
        self.partition = partition
        self.fence = record.fence
        self._record = record
        self._finished = hand.finished[partition]
        self._tracker = Tracker(self, start=1)
        self._tracker.rewound(record.floor + 1)
        self._queue: list[int] = []
        self._epoch = self._next = -1
        self._timer: Timer | None = None
        self._is_open = self._is_closing = self._is_over = self._is_rewinding = False
        self._rebuild = rebuild
        self._open()

    def is_finished(self, seq: int) -> bool:
        return seq <= self._record.floor or seq in self._finished

    @property
    def floor(self) -> int:
        return self._tracker.lowest_unfinished() - 1

    def is_running(self) -> bool:
        process = self.hand.process
        return self._timer is not None and not process.is_paused and not process.is_dead

    def _is_held(self) -> bool:
        return self.hand.seat.may_work(self.partition, self.fence, self.hand.process.now_s())

    # the place

    def _open(self) -> None:
        def request() -> int:
            if self._rebuild or self.partition not in self.world.places:
                place = Place(self.world.logs[self.partition], after=self._record.floor)
                self.world.places[self.partition] = place
            return self.world.places[self.partition].floor

        def opened(floor: int) -> None:
            if self._is_over:
                return
            self._is_open = True
            if self._rebuild:
                self.hand.seat.rebuilt(self.partition, self.fence)
            self._tracker.rewound(max(floor, self._record.floor) + 1)
            self.rewind()
            self._beat()

        self.hand.link.ask(request, opened, self._retry_open, timeout_s=OPERATION_S)

    def _retry_open(self) -> None:
        if not self._is_over and not self._is_closing:
            self._open()

    def rewind(self) -> None:
        if not self._is_open or self._is_over or self._is_rewinding or not self._is_held():
            return
        self._is_rewinding, self._epoch = True, -1
        seq = self._tracker.lowest_unfinished()

        def request() -> int:
            place = self.world.places[self.partition]
            place.requests = [one for one in place.requests if one[0] is not self]
            return place.rewind(seq)

        def done(epoch: int) -> None:
            self._is_rewinding = False
            if self._is_over:
                return
            self._tracker.rewound(seq)
            self._epoch, self._next = epoch, 1
            self._request(max(1, CREDIT - self._tracker.held))

        def failed() -> None:
            self._is_rewinding = False
            self.rewind()

        self.hand.link.ask(request, done, failed, timeout_s=OPERATION_S)

    def _request(self, count: int) -> None:
        def request() -> None:
            place = self.world.places[self.partition]
            place.requests.append([self, count])
            place.pump()

        self.hand.link.tell(request)

    def _beat(self) -> None:
        """Idle heartbeats: whether something was given that never came, or a request was lost."""
        if self._is_over:
            return

        def request() -> tuple[int, int, bool]:
            place = self.world.places[self.partition]
            return place.epoch, place.given, any(one[0] is self for one in place.requests)

        def answered(told: tuple[int, int, bool]) -> None:
            epoch, given, stands = told
            idle = not self._queue and self._timer is None
            if self._epoch >= 0 and (epoch != self._epoch or given >= self._next or (idle and not stands)):  # fmt: skip
                self.rewind()

        if not self._is_rewinding and self._epoch >= 0:
            self.hand.link.ask(request, answered, lambda: None, timeout_s=OPERATION_S)
        self.hand.process.after(1.0, self._beat)

    def push(self, epoch: int, number: int, seq: int) -> None:
        self.hand.link.push(lambda: self._arrived(epoch, number, seq))

    def _arrived(self, epoch: int, number: int, seq: int) -> None:
        if epoch != self._epoch or self._is_over or self._is_closing or self._is_rewinding:
            return
        if number != self._next:
            self.rewind()
            return
        self._next += 1
        match self._tracker.arrive(seq):
            case Arrival.NEW:
                self._queue.append(seq)
                self._work()
            case Arrival.FINISHED:
                self._acknowledge(seq)
                self._request(1)
            case Arrival.HELD:
                self._request(1)
            case Arrival.BEHIND:
                self.rewind()

    def _acknowledge(self, seq: int) -> None:
        if not self._is_held():
            return
        epoch = self._epoch

        def request() -> None:
            place = self.world.places[self.partition]
            if place.epoch == epoch:
                place.acknowledged.add(seq)

        self.hand.link.tell(request)

    # the lane

    def _work(self) -> None:
        if self._timer is not None or not self._queue or self._is_closing or self._is_over:
            return
        if not self._is_held():
            return
        self.world.handler_begins(self)
        chance = self.world.simulation.chance
        takes_s = chance.random() * 0.1 if chance.random() < 0.95 else chance.random() * 5.0
        self._timer = self.hand.process.after(takes_s, self._worked)

    def _worked(self) -> None:
        self._timer = None
        self.world.handler_ends(self)
        seq = self._queue[0]
        if self._is_over:
            return
        if self.world.effects.commit(self.partition, seq, self.fence):
            self._queue.pop(0)
            self._finished.add(seq)
            self._acknowledge(seq)
            self._tracker.finish(seq)
            self._request(1)
        if self._is_closing:
            self._close()
        else:
            self._work()

    def finish(self) -> None:
        """Finish what the handler has in hand, within a bound, and let the place go."""
        self._is_closing = True
        if self._timer is None:
            self._close()
        else:
            self.hand.process.after(FINISH_S, self._close)

    def _close(self) -> None:
        if not self._is_over:
            self.abandon()
            self.end()

    def abandon(self) -> None:
        """Stop at once: a handler is cancelled, standing requests are given up where the link allows it."""
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self.world.handler_ends(self)
        place = self.world.places.get(self.partition)
        if place is not None and self.hand.link.is_up:
            place.requests = [one for one in place.requests if one[0] is not self]

    def end(self) -> None:
        self.hand.seat.ended(self.partition, self.hand.process.now_s())
        self.hand.wake()
