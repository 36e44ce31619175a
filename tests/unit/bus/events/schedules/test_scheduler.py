"""What a schedule promises: its event comes when it is due, once each time, from who may publish it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bus.events.protocol import ConsumeSpec, ReceivedEvent
from bus.events.schedules.orders import LONGEST_HOP_MS, Schedules
from bus.events.schedules.scheduler import SCHEDULER, Scheduler
from bus.events.schedules.when import When
from bus.events.streams import schedule_stream
from bus.transport.memory import MemoryBroker
from bus.transport.protocol import Outgoing
from schemas import subjects
from schemas.errors import SubjectError
from tests.unit.bus.events.kit import (
    NOBODY,
    SITE,
    Bench,
    LoopClock,
    PaperSeals,
    event,
    run_jumping,
)


class Scene:
    """A service that orders, the scheduler, and a reader of what is published."""

    def __init__(self, folder: Path, *, hop_ms: int = LONGEST_HOP_MS) -> None:
        self.hop_ms = hop_ms
        self.bench = Bench(MemoryBroker(clock=LoopClock(), timers=True), folder)
        self.seen: list[tuple[int, ReceivedEvent]] = []
        self.clock = LoopClock()

    async def begin(self, orders_as: str = "lab") -> None:
        reader = await self.bench.service("reader")
        await reader.events.consume(ConsumeSpec(name="reader", patterns=("evt.north.>",)), self.see)
        self.orders = await self.schedules(orders_as)
        await self.start_scheduler()

    async def schedules(self, name: str) -> Schedules:
        service = await self.bench.service(name)
        return Schedules(
            site=SITE, transport=service.transport, seals=service.seals, clock=self.clock,
            longest_hop_ms=self.hop_ms,
        )  # fmt: skip

    async def start_scheduler(self) -> None:
        self.service = await self.bench.service(SCHEDULER)
        orders = Schedules(
            site=SITE, transport=self.service.transport, seals=self.service.seals, clock=self.clock,
            longest_hop_ms=self.hop_ms,
        )  # fmt: skip
        self.scheduler = Scheduler(
            site=SITE, events=self.service.events, schedules=orders,
            clock=self.clock, counters=self.bench.counters,
        )  # fmt: skip
        await self.scheduler.start()

    async def see(self, received: ReceivedEvent) -> None:
        self.seen.append((self.clock.now_ms(), received))

    @property
    def bodies(self) -> list[bytes]:
        return [received.body for _, received in self.seen]


def test_event_is_published_when_it_is_due_in_the_name_of_who_asked(tmp_path: Path) -> None:
    async def main() -> None:
        scene = Scene(tmp_path)
        await scene.begin()
        due = scene.clock.now_ms() + 90_000
        assert await scene.orders.place("recall", event(1), When(at_ms=due)) == due
        await asyncio.sleep(80)
        assert scene.bodies == []
        await asyncio.sleep(20)
        assert scene.bodies == [b"0:1"]
        at, received = scene.seen[0]
        assert due - 1500 <= at < due + 5000
        assert (received.source, received.on_behalf_of) == (SCHEDULER, "lab")
        await asyncio.sleep(10_000)
        assert len(scene.seen) == 1

    run_jumping(main())


def test_period_goes_on_and_each_event_has_an_id_of_its_own(tmp_path: Path) -> None:
    async def main() -> None:
        scene = Scene(tmp_path)
        await scene.begin()
        await scene.orders.place("every-hour", event(1), When(every_s=3600))
        await asyncio.sleep(5 * 3600 + 60)
        assert len(scene.seen) == 5
        assert len({received.message_id for _, received in scene.seen}) == 5
        gaps = {
            round((b[0] - a[0]) / 60_000) for a, b in zip(scene.seen, scene.seen[1:], strict=False)
        }
        assert gaps == {60}

    run_jumping(main())


def test_cancelled_schedule_publishes_nothing_more(tmp_path: Path) -> None:
    async def main() -> None:
        scene = Scene(tmp_path)
        await scene.begin()
        await scene.orders.place("every-hour", event(1), When(every_s=3600))
        await asyncio.sleep(2 * 3600 + 60)
        assert await scene.orders.wakes_ms("every-hour") is not None
        assert await scene.orders.cancel("every-hour")
        assert not await scene.orders.cancel("every-hour")
        assert await scene.orders.wakes_ms("every-hour") is None
        await asyncio.sleep(10 * 3600)
        assert len(scene.seen) == 2

    run_jumping(main())


def test_event_far_ahead_is_sealed_again_on_its_way(tmp_path: Path) -> None:
    async def main() -> None:
        scene = Scene(tmp_path, hop_ms=600_000)
        await scene.begin()
        due = scene.clock.now_ms() + 3_600_000
        await scene.orders.place("recall", event(1), When(at_ms=due))
        wakes = await scene.orders.wakes_ms("recall")
        assert wakes is not None
        assert wakes <= scene.clock.now_ms() + 601_000
        await asyncio.sleep(3500)
        assert scene.bodies == []
        await asyncio.sleep(200)
        assert scene.bodies == [b"0:1"]

    run_jumping(main())


def test_what_was_due_while_the_scheduler_was_dead_comes_when_it_is_back(tmp_path: Path) -> None:
    async def main() -> None:
        scene = Scene(tmp_path)
        await scene.begin()
        await scene.orders.place("once", event(1), When(at_ms=scene.clock.now_ms() + 60_000))
        await scene.orders.place("often", event(2), When(every_s=60))
        await scene.service.die()
        await asyncio.sleep(3600)
        assert scene.bodies == []
        await scene.start_scheduler()
        await asyncio.sleep(30)
        assert sorted(scene.bodies) == [b"0:1", b"0:2"], "once each: what was missed is left out"
        await asyncio.sleep(120)
        assert sorted(scene.bodies) == [b"0:1"] + 3 * [b"0:2"]

    run_jumping(main())


def test_service_cannot_have_published_what_it_may_not_publish_itself(tmp_path: Path) -> None:
    async def main() -> None:
        scene = Scene(tmp_path)
        await scene.begin(orders_as=NOBODY)
        await scene.orders.place("forged", event(1), When(at_ms=1))
        await asyncio.sleep(60)
        assert scene.bodies == []
        refused = [c for c in scene.bench.counters.snapshot() if "schedule_refused" in str(c)]
        assert refused

    run_jumping(main())


def test_order_in_the_name_of_another_service_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        scene = Scene(tmp_path)
        await scene.begin()
        await scene.orders.place("mine", event(1), When(at_ms=scene.clock.now_ms() + 60_000))
        held = await scene.service.transport.administration.last_for_subject(
            schedule_stream(SITE), subjects.schedule_set(SITE, "lab", "mine")
        )
        # a broker that moves the order of one service to the name of another
        stolen = Outgoing(
            subject=subjects.schedule_due(SITE, "his", "mine"), payload=held.payload, message_id=""
        )
        await scene.service.transport.store.store([stolen], timeout_s=5)
        await asyncio.sleep(30)
        assert scene.bodies == []

    run_jumping(main())


def test_order_that_the_carrier_gives_too_early_or_twice_publishes_once_and_in_time(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        scene = Scene(tmp_path)
        await scene.begin()
        due = scene.clock.now_ms() + 600_000
        await scene.orders.place("mine", event(1), When(at_ms=due))
        held = await scene.service.transport.administration.last_for_subject(
            schedule_stream(SITE), subjects.schedule_set(SITE, "lab", "mine")
        )
        early = Outgoing(
            subject=subjects.schedule_due(SITE, "lab", "mine"), payload=held.payload, message_id=""
        )
        await scene.service.transport.store.store([early], timeout_s=5)
        await asyncio.sleep(300)
        assert scene.bodies == []
        await asyncio.sleep(400)
        assert scene.bodies == [b"0:1"]

    run_jumping(main())


def test_events_of_other_sites_cannot_be_scheduled(tmp_path: Path) -> None:
    async def main() -> None:
        scene = Scene(tmp_path)
        await scene.begin()
        foreign = event(1)
        with pytest.raises(SubjectError):
            await Schedules(
                site=subjects.site_id("south"),
                transport=scene.service.transport,
                seals=PaperSeals(scene.bench.vault, service="lab"),
                clock=scene.clock,
            ).place("x", foreign, When(at_ms=1))

    run_jumping(main())
