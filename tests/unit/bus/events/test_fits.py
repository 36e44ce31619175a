"""A publisher is held to what its subject is bound to, and whoever publishes for others goes on when it is refused."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bus.events.protocol import ConsumeSpec, ReceivedEvent, Rejected
from bus.events.schedules.orders import Schedules
from bus.events.schedules.scheduler import SCHEDULER, Scheduler
from bus.events.schedules.when import When
from bus.events.streams import schedule_stream
from bus.transport.memory import MemoryBroker
from schemas.registry.errors import Misfit, SchemaRefused
from tests.unit.bus.events.kit import SITE, Bench, LoopClock, Service, event, run_jumping

SCHEMA = bytes(range(32))


class Bound:
    """Bound to nothing until it is closed; then nothing fits."""

    def __init__(self) -> None:
        self.is_closed = False

    def __call__(self, subject: str, content_type: str, body: bytes) -> bytes:
        if self.is_closed:
            raise SchemaRefused(
                pattern="evt.north.>",
                misfit=Misfit.CONTENT_TYPE,
                expected="text/plain",
                seen="another",
            )
        return SCHEMA


async def site(folder: Path) -> tuple[Bench, Bound, Service]:
    bound = Bound()
    bench = Bench(MemoryBroker(clock=LoopClock(), timers=True), folder, fits=bound)
    return bench, bound, await bench.service("emr-in")


def test_content_that_does_not_fit_is_refused_and_not_stored(tmp_path: Path) -> None:
    async def main() -> None:
        bench, bound, service = await site(tmp_path)
        await service.events.publish(event(1))
        bound.is_closed = True
        with pytest.raises(SchemaRefused):
            await service.events.publish(event(2))
        assert bench.counters.get("message_stored") == 1

    run_jumping(main())


def test_reader_is_told_which_schema_the_body_follows(tmp_path: Path) -> None:
    async def main() -> None:
        bench, _, service = await site(tmp_path)
        seen: list[bytes] = []

        async def see(received: ReceivedEvent) -> None:
            seen.append(received.schema_id)

        await service.events.publish(event(1))
        reader = await bench.service("his-out")
        await reader.events.consume(ConsumeSpec(name="his-out", patterns=("evt.north.>",)), see)
        await asyncio.sleep(5)
        assert seen == [SCHEMA]

    run_jumping(main())


def test_what_was_stored_before_still_becomes_a_dead_letter(tmp_path: Path) -> None:
    async def main() -> None:
        bench, bound, service = await site(tmp_path)

        async def refuse(received: ReceivedEvent) -> None:
            raise Rejected("never")

        await service.events.publish(event(1))
        bound.is_closed = True
        reader = await bench.service("his-out")
        consumption = await reader.events.consume(
            ConsumeSpec(name="his-out", patterns=("evt.north.>",)), refuse
        )
        await asyncio.sleep(30)
        assert consumption.stats().dead_lettered == 1

    run_jumping(main())


def test_schedule_is_refused_when_it_is_placed_and_steps_aside_when_it_is_due(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        bench, bound, service = await site(tmp_path)
        clock = LoopClock()
        orders = Schedules(
            site=SITE, transport=service.transport, seals=service.seals, clock=clock, fits=bound
        )
        working = await bench.service(SCHEDULER)
        scheduler = Scheduler(
            site=SITE, events=working.events, clock=clock, counters=bench.counters,
            schedules=Schedules(
                site=SITE, transport=working.transport, seals=working.seals, clock=clock
            ),
        )  # fmt: skip
        await scheduler.start()
        await orders.place("first", event(1), When(at_ms=clock.now_ms() + 60_000))
        await orders.place("second", event(2), When(at_ms=clock.now_ms() + 600_000))
        bound.is_closed = True
        with pytest.raises(SchemaRefused):
            await orders.place("third", event(3), When(at_ms=clock.now_ms() + 60_000))
        await asyncio.sleep(120)
        assert bench.counters.get("schedule_refused", reason="schema_refused") == 1
        bound.is_closed = False
        await asyncio.sleep(600)
        assert bench.counters.get("schedule_worked", reason="published") == 1, "the lane goes on"
        state = await service.transport.store.stream_state(schedule_stream(SITE))
        assert state.last_seq > 0

    run_jumping(main())
