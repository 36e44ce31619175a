"""Following: nothing is lost, nothing comes twice, and nobody waits for the slow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import pytest

from bus.events.following.feed import Followed, MeshFeed, PositionLost
from bus.events.following.upstream import Source
from bus.events.streams import event_stream
from bus.transport.memory import MemoryBroker
from bus.transport.protocol import Outgoing
from schemas.errors import Closed
from tests.unit.bus.events.kit import SITE, Bench, LoopClock, Service, event

RAW = ("evt.north.raw.>",)
DEADLINE_S = 10.0


@dataclass
class Scene:
    publisher: Service
    reader: Service
    feed: MeshFeed

    async def publish(self, *numbers: int, partition: int = 0) -> None:
        for number in numbers:
            await self.publisher.events.publish(event(number, partition=partition))

    async def has_followers(self, count: int) -> None:
        while self.feed.followers < count:  # noqa: ASYNC110 - the feed tells nobody who joins
            await asyncio.sleep(0)

    async def taken(
        self, count: int, *, after_seq: int | None = 0, patterns: tuple[str, ...] = RAW
    ) -> list[Followed]:
        """So many events from a position on."""
        found: list[Followed] = []
        async with (
            asyncio.timeout(DEADLINE_S),
            aclosing(self.feed.follow(patterns, after_seq=after_seq)) as steps,
        ):
            async for step in steps:
                if step.event is not None:
                    found.append(step)
                if len(found) == count:
                    break
        return found


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    bench = Bench(MemoryBroker(clock=LoopClock()), tmp_path)
    publisher, reader = await bench.service("emr-in"), await bench.service("gateway")
    feed = MeshFeed(
        Source(
            store=reader.transport.store,
            stream=event_stream(SITE),
            inspector=reader.events.inspector(),
            counters=bench.counters,
        ),
        max_events=4,
    )
    yield Scene(publisher, reader, feed)
    await feed.close()
    await publisher.events.stop()
    await reader.events.stop()


def bodies(steps: list[Followed]) -> list[bytes]:
    return [step.event.body for step in steps if step.event is not None]


def numbered(*numbers: int, partition: int = 0) -> list[bytes]:
    return [f"{partition}:{number}".encode() for number in numbers]


async def test_what_was_stored_before_is_read_from_the_stream(scene: Scene) -> None:
    await scene.publish(*range(20))
    assert bodies(await scene.taken(20)) == numbered(*range(20))


async def test_going_on_behind_a_position_misses_and_repeats_nothing(scene: Scene) -> None:
    await scene.publish(*range(20))
    position, seen = 0, []
    for count in (1, 3, 5, 11):
        part = await scene.taken(count, after_seq=position)
        position = part[-1].seq
        seen += bodies(part)
    assert seen == numbered(*range(20))


async def test_now_means_what_comes_from_now_on(scene: Scene) -> None:
    await scene.publish(1, 2)
    async with aclosing(scene.feed.follow(RAW, after_seq=None)) as steps:
        first = asyncio.ensure_future(anext(steps))
        await scene.has_followers(1)
        await scene.publish(3)
        assert bodies([await first]) == numbered(3)


async def test_only_what_the_patterns_say_comes(scene: Scene) -> None:
    for number in range(5):
        await scene.publish(number, partition=1)
        await scene.publish(number, partition=2)
    found = await scene.taken(5, patterns=("evt.north.raw.hl7v2.2",))
    assert bodies(found) == numbered(*range(5), partition=2)


async def test_one_that_reads_slowly_gets_everything_and_holds_nobody_up(scene: Scene) -> None:
    """The ring holds four to eight events; the slow one falls far behind it."""
    slow = scene.feed.follow(RAW, after_seq=0)
    await scene.publish(0)
    seen = bodies([await anext(slow)])
    for number in range(1, 60):
        await scene.publish(number)
    quick = await scene.taken(60)
    assert bodies(quick) == numbered(*range(60))
    async with aclosing(slow) as steps, asyncio.timeout(DEADLINE_S):
        async for step in steps:
            seen += bodies([step])
            if len(seen) == 60:
                break
    assert seen == numbered(*range(60))


async def test_many_followers_share_one_reader(scene: Scene) -> None:
    followers = [asyncio.create_task(scene.taken(30, after_seq=None)) for _ in range(50)]
    await scene.has_followers(50)
    for number in range(30):
        await scene.publish(number)
        await asyncio.sleep(0)
    for found in await asyncio.gather(*followers):
        assert bodies(found) == numbered(*range(30))
    assert scene.feed.followers == 0
    assert await scene.reader.transport.administration.consumers(event_stream(SITE)) == {}


async def test_a_cut_connection_costs_no_event(scene: Scene) -> None:
    following = asyncio.create_task(scene.taken(40, after_seq=None))
    await scene.has_followers(1)
    for number in range(40):
        if number % 10 == 5:
            scene.reader.transport.disconnect()
        await scene.publish(number)
        if number % 10 == 8:
            scene.reader.transport.reconnect()
    assert bodies(await following) == numbered(*range(40))


async def test_a_position_that_retention_took_is_told_with_where_to_go_on(scene: Scene) -> None:
    await scene.publish(*range(10))
    await scene.reader.transport.administration.purge(event_stream(SITE), up_to_seq=6)
    with pytest.raises(PositionLost, match="the first that is left is 6; go on behind 5") as lost:
        await scene.taken(1, after_seq=3)
    assert lost.value.first == 6
    assert bodies(await scene.taken(5, after_seq=5)) == numbered(5, 6, 7, 8, 9)


async def test_what_cannot_be_opened_is_passed_over_and_counted(scene: Scene) -> None:
    await scene.publish(1)
    forged = Outgoing(subject="evt.north.raw.hl7v2.0", payload=b"no envelope", message_id="x")
    await scene.reader.transport.store.store([forged], timeout_s=1.0)
    await scene.publish(2)
    assert bodies(await scene.taken(2)) == numbered(1, 2)


async def test_a_position_by_time_is_found(scene: Scene) -> None:
    await scene.publish(1, 2, 3)
    state = await scene.reader.transport.store.stream_state(event_stream(SITE))
    third = await scene.reader.transport.store.read(event_stream(SITE), state.last_seq)
    assert await scene.feed.position_before(0) == state.first_seq - 1
    assert await scene.feed.position_before(third.stored_ms + 1) == state.last_seq


async def test_closing_ends_every_follower_with_a_reason(scene: Scene) -> None:
    following = asyncio.create_task(scene.taken(1, after_seq=None))
    await scene.has_followers(1)
    await scene.feed.close()
    with pytest.raises(Closed, match="the feed is closed"):
        await following
    with pytest.raises(Closed):
        await scene.taken(1)
