"""A site under random faults, in jumping time: what was stored is worked in order, and twice only after a death."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from bus.events.protocol import ConsumeSpec, ReceivedEvent, RetryPolicy
from bus.transport.memory import MemoryBroker
from schemas.errors import MeshError, Unavailable
from tests.unit.bus.events.kit import Bench, LoopClock, Service, event, run_jumping

PARTITIONS = 5
EACH = 30
LIMIT_S = 3600.0


class World:
    """Publishers, one consumer, and everything that goes wrong between them."""

    def __init__(self, seed: int, *, lanes: int, folder: Path) -> None:
        self.chance = random.Random(seed)
        self.lanes = lanes
        self.broker = MemoryBroker(clock=LoopClock())
        self.bench = Bench(self.broker, folder, chance=random.Random(seed + 1))
        self.effects: list[tuple[int, int]] = []
        self.in_hand: set[tuple[int, int]] = set()
        self.died_with: Counter[tuple[int, int]] = Counter()
        self.away = False
        self.stored: dict[int, list[tuple[int, int]]] = {p: [] for p in range(PARTITIONS)}
        self.done = asyncio.Event()

    async def handle(self, received: ReceivedEvent) -> None:
        partition, number = map(int, received.body.decode().split(":"))
        if self.away or self.chance.random() < 0.05:
            raise Unavailable("away")
        if self.chance.random() < 0.1:
            raise RuntimeError("poison for a moment")
        await asyncio.sleep(self.chance.random() * 0.05)
        self.effects.append((partition, number))
        self.in_hand.add((partition, number))
        await asyncio.sleep(self.chance.random() * 0.05)
        self.in_hand.discard((partition, number))
        if len(set(self.effects)) == PARTITIONS * EACH and not self.in_hand:
            self.done.set()

    async def publish(self, service: Service, partition: int) -> None:
        for number in range(EACH):
            message_id = self.chance.randbytes(16)
            while True:
                try:
                    stored = await service.events.publish(
                        event(number, partition=partition, message_id=message_id), timeout_s=1.0
                    )
                except MeshError:
                    await asyncio.sleep(self.chance.random())
                    continue
                self.stored[partition].append((stored.seq, number))
                break
            await asyncio.sleep(self.chance.random() * 0.2)

    async def consume(self) -> Service:
        while True:
            service = await self.bench.service("his-out")
            try:
                await service.events.consume(
                    ConsumeSpec(
                        name="his",
                        patterns=("evt.north.raw.>",),
                        lanes=self.lanes,
                        max_in_flight=self.chance.choice([1, 3, 16]),
                        retry=RetryPolicy(max_attempts=0, first_delay_s=0.05, longest_delay_s=1.0),
                    ),
                    self.handle,
                )
            except MeshError:
                await service.die()
                continue
            return service

    async def die(self, service: Service) -> Service:
        self.died_with.update(self.in_hand)
        self.in_hand.clear()
        await service.die()
        return await self.consume()

    async def wound(self, service: Service, publisher: Service) -> Service:
        """One fault, drawn by chance."""
        match self.chance.randrange(8):
            case 0 | 1:
                return await self.die(service)
            case 2:
                self.broker.faults.drop_acknowledgements(self.chance.randrange(1, 20))
            case 3:
                service.transport.disconnect()
                await asyncio.sleep(self.chance.random())
                service.transport.reconnect()
            case 4:
                self.broker.disconnect_all()
                await asyncio.sleep(self.chance.random() * 3)
                self.broker.reconnect_all()
            case 5:
                self.broker.faults.lose_store_answers(self.chance.randrange(1, 5))
            case 6:
                self.away = True
                await asyncio.sleep(self.chance.random() * 90)
                self.away = False
            case _:
                publisher.transport.disconnect()
                await asyncio.sleep(self.chance.random() * 2)
                publisher.transport.reconnect()
        return service

    async def tick(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self.broker.tick()

    async def run(self) -> None:
        ticking = asyncio.create_task(self.tick())
        publisher = await self.bench.service("emr-in")
        service = await self.consume()
        publishing = asyncio.gather(
            *(self.publish(publisher, partition) for partition in range(PARTITIONS))
        )
        for _ in range(25):
            await asyncio.sleep(self.chance.random() * 0.6)
            service = await self.wound(service, publisher)
        self.broker.faults.heal()
        async with asyncio.timeout(LIMIT_S):
            await publishing
            await self.done.wait()
        await asyncio.sleep(120)  # time enough for whatever might come twice
        service = await self.die(service)
        await asyncio.sleep(120)
        assert await service.events.drain(timeout_s=5)
        await publisher.events.stop()
        ticking.cancel()
        self.check()

    def check(self) -> None:
        for partition in range(PARTITIONS):
            order = [number for _, number in sorted(self.stored[partition])]
            assert order == list(range(EACH)), "stored in another order than published"
            seen = [number for p, number in self.effects if p == partition]
            first_seen = list(dict.fromkeys(seen))
            assert first_seen == order, "worked in another order than stored"
        for refusal in ("envelope_refused", "message_dead_lettered"):
            assert self.bench.counters.get(refusal) == 0, (
                f"{refusal}: a fault was taken for an attack"
            )
        for message, count in Counter(self.effects).items():
            assert count <= 1 + self.died_with[message], f"{message} worked {count} times"


def simulate(seed: int, lanes: int) -> World:
    with TemporaryDirectory() as folder:
        world_made: list[World] = []

        async def main() -> None:
            world = World(seed, lanes=lanes, folder=Path(folder))
            world_made.append(world)
            await world.run()

        run_jumping(main())
        return world_made[0]


@pytest.mark.parametrize("lanes", [1, 8])
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32))
def test_order_holds_and_nothing_is_worked_twice_without_a_death(lanes: int, seed: int) -> None:
    note(f"seed {seed}, {lanes} lanes")
    simulate(seed, lanes)
