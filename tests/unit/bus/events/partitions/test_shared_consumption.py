"""A shared consumer end to end on the in-memory broker, in jumping time: who works what, and what moves when."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

from bus.events.partitions.records import PARTITION_BUCKET, PartitionRecord, decode, partition_key
from bus.events.partitions.view import group_partitions, groups
from bus.events.protocol import (
    ConsumeSpec,
    ReceivedEvent,
    Rejected,
    RetryPolicy,
    SharedConsumption,
)
from bus.events.replays import DeadLetterSummary
from bus.transport.memory import MemoryBroker
from schemas.errors import SubjectError
from tests.hospital import eventually
from tests.unit.bus.events.kit import SITE, Bench, LoopClock, Service, event, run_jumping

QUICK = RetryPolicy(max_attempts=2, first_delay_s=0.1, longest_delay_s=0.5)


class Hand:
    """One member of the group `lab`, and what its handler saw."""

    def __init__(self, scene: Scene, service: Service, consumption: SharedConsumption) -> None:
        self.scene = scene
        self.service = service
        self.consumption = consumption

    @property
    def held(self) -> set[int]:
        return {one.partition for one in self.consumption.partitions() if one.is_here}


class Scene:
    """A publisher and any number of members."""

    def __init__(self, folder: Path, *, work_s: float = 0.0) -> None:
        self.bench = Bench(MemoryBroker(clock=LoopClock()), folder)
        self.folder = folder
        self.work_s = work_s
        self.seen: list[tuple[str, ReceivedEvent]] = []
        self.working: Counter[int] = Counter()
        self.overlaps = 0
        self.at_once = self.most_at_once = 0
        self.reject: Callable[[ReceivedEvent], bool] = lambda received: False

    async def begin(self) -> None:
        self.publisher = await self.bench.service("emr-in")

    async def member(self, name: str, *, lanes: int = 64, **spec: object) -> Hand:
        self.bench.folder = self.folder / name  # a machine of its own
        service = await self.bench.service(name)

        async def handle(received: ReceivedEvent) -> None:
            self.working[received.partition] += 1
            self.overlaps += self.working[received.partition] > 1
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            try:
                await asyncio.sleep(self.work_s)
                if self.reject(received):
                    raise Rejected("on order")
                self.seen.append((name, received))
            finally:
                self.at_once -= 1
                self.working[received.partition] -= 1

        wanted = {
            "name": "lab", "patterns": ("evt.north.raw.>",), "retry": QUICK, "shared": True, "lanes": lanes, **spec
        }  # fmt: skip
        consumption = await service.events.consume(
            ConsumeSpec(**wanted),  # type: ignore[arg-type]  # a test's own keywords
            handle,
        )
        assert isinstance(consumption, SharedConsumption)
        return Hand(self, service, consumption)

    async def publish(self, numbers: range, partitions: range) -> None:
        for number in numbers:
            for partition in partitions:
                await self.publisher.events.publish(event(number, partition=partition))

    async def until(self, done: Callable[[], bool], *, within_s: float = 30.0) -> None:
        await eventually(done, within_s=within_s, what="what the test waits for")

    def orders(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = defaultdict(list)
        for _, received in self.seen:
            partition, number = received.body.decode().split(":")
            found[int(partition)].append(int(number))
        return found


def test_one_member_takes_every_partition_and_works_it_in_order(tmp_path: Path) -> None:
    async def main() -> None:
        scene = Scene(tmp_path)
        await scene.begin()
        await scene.publish(range(3), range(64))
        hand = await scene.member("a")
        await scene.until(lambda: len(scene.seen) == 192)
        assert scene.orders() == {p: [0, 1, 2] for p in range(64)}
        assert hand.held == set(range(64))
        assert hand.consumption.stats().delivered == 192
        await hand.service.events.stop()

    run_jumping(main())


def test_members_that_come_and_go_in_good_order_lose_nothing_and_repeat_nothing(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        scene = Scene(tmp_path, work_s=0.01)
        await scene.begin()
        await scene.publish(range(4), range(64))
        first = await scene.member("a")
        await scene.until(lambda: len(scene.seen) > 40)
        second = await scene.member("b")
        await scene.publish(range(4, 8), range(64))
        await scene.until(lambda: len(second.held) > 20 and not first.held & second.held)
        assert await first.consumption.drain(timeout_s=20)
        await scene.publish(range(8, 10), range(64))
        await scene.until(lambda: len(scene.seen) >= 640 and second.held == set(range(64)))
        assert scene.orders() == {p: list(range(10)) for p in range(64)}
        assert scene.overlaps == 0
        counters = scene.bench.counters
        assert counters.get("partition_released", who="lab", reason="moved") > 20
        assert counters.get("partition_released", who="lab", reason="left") > 20
        await second.service.events.stop()

    run_jumping(main())


def test_partitions_of_a_dead_member_are_worked_again_within_five_seconds(tmp_path: Path) -> None:
    async def main() -> None:
        scene = Scene(tmp_path, work_s=0.01)
        await scene.begin()
        first, second = await scene.member("a"), await scene.member("b")
        await scene.until(lambda: len(first.held) > 20 and len(second.held | first.held) == 64)
        await scene.publish(range(5), range(64))
        await scene.until(lambda: len(scene.seen) > 100)
        await first.service.die()
        died_s = LoopClock().monotonic_s()
        await scene.publish(range(5, 8), range(64))
        await scene.until(lambda: second.held == set(range(64)))
        assert LoopClock().monotonic_s() - died_s < 5.0
        await scene.until(lambda: len({r.body for _, r in scene.seen}) == 512)
        for numbers in scene.orders().values():
            firsts = list(dict.fromkeys(numbers))
            assert firsts == list(range(8))
        assert scene.overlaps == 0
        assert scene.bench.counters.get("partition_taken", who="lab", reason="expired") > 20
        await second.service.events.stop()

    run_jumping(main())


def test_fences_grow_with_each_owner_and_reach_the_handler(tmp_path: Path) -> None:
    async def main() -> None:
        scene = Scene(tmp_path)
        await scene.begin()
        fences: dict[int, list[int]] = defaultdict(list)
        for turn, name in enumerate(("a", "b", "a")):
            hand = await scene.member(name)
            await scene.publish(range(turn, turn + 1), range(64))
            await scene.until(lambda turn=turn: len(scene.seen) == 64 * (turn + 1))  # type: ignore[misc]
            await hand.service.events.drain(timeout_s=10)
        for _, received in scene.seen:
            fences[received.partition].append(received.fence)
        for seen in fences.values():
            assert seen == sorted(set(seen))
            assert seen[0] > 0
        bucket = await scene.publisher.transport.key_value(PARTITION_BUCKET)
        record = decode(PartitionRecord, (await bucket.get(partition_key("lab", 7))).value or b"")
        assert record.owner == ""
        assert record.fence == fences[7][-1]

    run_jumping(main())


def test_lanes_bound_what_one_member_works_at_a_time(tmp_path: Path) -> None:
    async def main() -> None:
        scene = Scene(tmp_path, work_s=0.05)
        await scene.begin()
        await scene.publish(range(1), range(64))
        hand = await scene.member("a", lanes=3)
        await scene.until(lambda: len(scene.seen) == 64)
        assert scene.most_at_once == 3
        await hand.service.events.stop()

    run_jumping(main())


def test_an_order_to_replay_is_taken_by_the_one_that_has_the_partition(tmp_path: Path) -> None:
    async def main() -> None:
        scene = Scene(tmp_path)
        await scene.begin()
        operator = await scene.bench.service("operator")
        letters = operator.events.dead_letters()
        first, second = await scene.member("a"), await scene.member("b")
        await scene.until(lambda: len(first.held) > 20 and len(second.held | first.held) == 64)
        scene.reject = lambda received: True
        await scene.publish(range(1), range(64))
        counters = scene.bench.counters
        await scene.until(lambda: counters.get("message_dead_lettered", who="lab") == 64)
        scene.reject = lambda received: False
        found = [one async for one in letters.list() if isinstance(one, DeadLetterSummary)]
        await letters.replay([found[0].seq], reason="tried again")
        await scene.until(lambda: len(scene.seen) == 1)
        await scene.until(lambda: counters.get("event_finished", reason="elsewhere") == 63)
        name, received = scene.seen[0]
        assert received.replayed
        assert received.partition in (first if name == "a" else second).held
        await scene.until(lambda: not first.consumption.stats().in_flight)
        assert len(scene.seen) == 1
        for hand in (first, second):
            await hand.service.events.stop()

    run_jumping(main())


def test_a_group_that_wants_only_what_is_new_begins_behind_what_there_is_for_all_partitions(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        scene = Scene(tmp_path)
        await scene.begin()
        await scene.publish(range(1), range(64))
        hand = await scene.member("a", deliver_new=True)
        await scene.publish(range(1, 2), range(64))  # before any partition was taken
        await scene.until(lambda: len(scene.seen) == 64)
        assert scene.orders() == {p: [1] for p in range(64)}
        await hand.service.events.stop()

    run_jumping(main())


def test_patterns_that_cannot_be_narrowed_are_refused(tmp_path: Path) -> None:
    async def main() -> None:
        scene = Scene(tmp_path)
        await scene.begin()
        with pytest.raises(SubjectError, match="cannot be shared by partition"):
            await scene.member("a", patterns=("evt.north.raw",))

    run_jumping(main())


def test_an_operator_sees_who_works_what_and_why_it_moved_and_what_waits(tmp_path: Path) -> None:
    async def main() -> None:
        scene = Scene(tmp_path, work_s=1000.0)
        await scene.begin()
        hand = await scene.member("a")
        await scene.publish(range(2), range(2))
        await scene.until(lambda: scene.at_once == 2)
        transport = scene.publisher.transport
        assert await groups(transport) == ("lab",)
        views = await group_partitions(transport, SITE, "lab")
        assert [view.partition for view in views] == list(range(64))
        assert {view.reason for view in views} == {"first"}
        assert len({view.owner for view in views}) == 1
        assert [view.lag for view in views[:3]] == [2, 2, 0]
        here = {view.partition: view for view in hand.consumption.partitions()}
        assert here[1].owner == views[1].owner
        assert here[1].fence == views[1].fence
        await hand.service.events.stop()

    run_jumping(main())


def test_a_member_that_loses_its_link_stops_its_handlers_before_another_takes_over(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        scene = Scene(tmp_path, work_s=20.0)
        await scene.begin()
        first, second = await scene.member("a"), await scene.member("b")
        await scene.until(lambda: len(first.held) > 20 and len(second.held | first.held) == 64)
        await scene.publish(range(1), range(64))
        await scene.until(lambda: scene.at_once == 64)
        first.service.transport.disconnect()
        await scene.until(lambda: second.held == set(range(64)))
        await scene.until(lambda: len(scene.seen) == 64, within_s=60)
        assert scene.overlaps == 0
        assert {name for name, _ in scene.seen} == {"b"}
        assert scene.bench.counters.get("partition_lost", who="lab", reason="lease_lapsed") > 20
        await asyncio.gather(first.service.events.stop(), second.service.events.stop())

    run_jumping(main())
