"""kill -9 of the real server under load: what was acknowledged is worked, in order, once."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path

import pytest

from bus.clock import SystemClock
from bus.events.events import MeshEvents
from bus.events.protocol import ConsumeSpec, ReceivedEvent, RetryPolicy
from bus.telemetry.counters import Counters
from bus.transport.nats import NatsTransport, connect
from schemas.errors import MeshError
from tests.conftest import StartNatsServer
from tests.unit.bus.events.kit import SITE, PaperSeals, Vault, event

PARTITIONS = 6
KILLS = 5

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(180)]


class Load:
    """Publishers that go on until they are told to stop, each with a partition of its own."""

    def __init__(self) -> None:
        self.acknowledged: dict[int, list[tuple[int, int]]] = {p: [] for p in range(PARTITIONS)}
        self.worked: list[tuple[int, int]] = []
        self.enough = asyncio.Event()
        self.progress = asyncio.Event()

    async def publish(self, events: MeshEvents, partition: int) -> None:
        number = 0
        while not self.enough.is_set():
            message_id = b"%08d%08d" % (partition, number)
            new = event(number, partition=partition, message_id=message_id)
            while True:
                try:
                    stored = await events.publish(new, timeout_s=5.0)
                except MeshError:
                    continue
                self.acknowledged[partition].append((stored.seq, number))
                break
            number += 1

    async def work(self, received: ReceivedEvent) -> None:
        partition, number = map(int, received.body.decode().split(":"))
        self.worked.append((partition, number))
        self.progress.set()

    async def worked_after(self, count: int) -> None:
        while len(self.worked) < count:
            self.progress.clear()
            await self.progress.wait()

    @property
    def total(self) -> int:
        return sum(map(len, self.acknowledged.values()))

    def check(self) -> None:
        for partition, stored in self.acknowledged.items():
            assert [n for _, n in sorted(stored)] == list(range(len(stored)))
            mine = [n for p, n in self.worked if p == partition]
            assert mine == list(range(len(stored))), f"partition {partition}"
        assert max(Counter(self.worked).values()) == 1


async def service(
    url: str, name: str, vault: Vault, folder: Path, counters: Counters
) -> tuple[NatsTransport, MeshEvents]:
    transport = await connect([url], name=name)
    events = MeshEvents(
        site=SITE,
        transport=transport,
        seals=PaperSeals(vault, service=name, epoch_batches=50),
        clock=SystemClock(),
        chance=random.Random(name),
        counters=counters,
        folder=folder,
    )
    await events.start()
    return transport, events


@pytest.mark.parametrize("lanes", [1, 8])
async def test_a_killed_server_loses_reorders_and_repeats_nothing(
    start_nats_server: StartNatsServer, tmp_path: Path, lanes: int
) -> None:
    server = start_nats_server()
    chance, vault, counters, load = random.Random(lanes), Vault(), Counters(), Load()
    sending, publisher = await service(server.url, "emr-in", vault, tmp_path, counters)
    reading, consumer = await service(server.url, "his-out", vault, tmp_path, counters)
    consumption = await consumer.consume(
        ConsumeSpec(name="his", patterns=("evt.north.>",), lanes=lanes, retry=RetryPolicy()),
        load.work,
    )
    publishing = [asyncio.create_task(load.publish(publisher, p)) for p in range(PARTITIONS)]
    async with asyncio.timeout(120):
        for _ in range(KILLS):
            await load.worked_after(len(load.worked) + chance.randrange(100, 600))
            await asyncio.to_thread(server.restart)
        await load.worked_after(len(load.worked) + 200)
        load.enough.set()
        await asyncio.gather(*publishing)
        await load.worked_after(load.total)
    assert await consumption.drain(timeout_s=20)
    await publisher.stop()
    await sending.close()
    await reading.close()
    load.check()
    assert counters.get("envelope_refused") == 0
    assert counters.get("delivery_interrupted") >= KILLS


async def test_a_killed_program_and_a_killed_server_repeat_only_what_was_in_hand(
    start_nats_server: StartNatsServer, tmp_path: Path
) -> None:
    server = start_nats_server()
    chance, vault, counters, load = random.Random(3), Vault(), Counters(), Load()
    sending, publisher = await service(server.url, "emr-in", vault, tmp_path, counters)
    connections = [sending]
    spec = ConsumeSpec(name="his", patterns=("evt.north.>",), lanes=4, retry=RetryPolicy())
    publishing = [asyncio.create_task(load.publish(publisher, p)) for p in range(PARTITIONS)]
    async with asyncio.timeout(120):
        for _ in range(KILLS):
            reading, consumer = await service(server.url, "his-out", vault, tmp_path, counters)
            consumption = await consumer.consume(spec, load.work)
            await load.worked_after(len(load.worked) + chance.randrange(100, 400))
            # the server dies first, so that nothing of the program's end reaches it
            await asyncio.to_thread(server.kill)
            await consumption.stop()
            await asyncio.to_thread(server.start)
            connections.append(reading)
        reading, consumer = await service(server.url, "his-out", vault, tmp_path, counters)
        consumption = await consumer.consume(spec, load.work)
        load.enough.set()
        await asyncio.gather(*publishing)
        await load.worked_after(load.total)
    assert await consumption.drain(timeout_s=20)
    await publisher.stop()
    for connection in (*connections, reading):
        await connection.close()
    load.check()
    assert counters.get("envelope_refused") == 0
