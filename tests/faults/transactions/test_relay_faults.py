"""The server that stores the events is killed again and again: every committed row is in the stream once, in order."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from bus.clock import SystemClock
from bus.events.events import MeshEvents
from bus.events.protocol import ConsumeSpec, ReceivedEvent
from bus.telemetry.counters import Counters
from bus.transactions.database import opened
from bus.transactions.outbox import Outbox
from bus.transactions.relay import Relay, RelaySettings
from bus.transactions.sqlite import SqliteDatabase
from bus.transport.nats import NatsTransport, connect
from tests.conftest import StartNatsServer
from tests.hospital import eventually
from tests.unit.bus.events.kit import SITE, PaperSeals, Vault
from tests.unit.bus.transactions.kit import event

ROWS = 600
PARTITIONS = 5
KILLS = 3

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(180)]


async def events_on(transport: NatsTransport, folder: Path, vault: Vault) -> MeshEvents:
    events = MeshEvents(
        site=SITE,
        transport=transport,
        seals=PaperSeals(vault, service="ward"),
        clock=SystemClock(),
        chance=random.Random(1),
        counters=Counters(),
        folder=folder,
    )
    await events.start()
    return events


async def test_rows_outlive_the_death_of_the_server(
    tmp_path: Path, start_nats_server: StartNatsServer
) -> None:
    server = start_nats_server()
    transport = await connect([server.url], name="ward")
    events = await events_on(transport, tmp_path, Vault())
    worked: list[tuple[int, int]] = []

    async def work(received: ReceivedEvent) -> None:
        partition, number = map(int, received.body.decode().split(":"))
        worked.append((partition, number))

    await events.consume(ConsumeSpec(name="reader", patterns=("evt.north.>",)), work)
    async with opened(SqliteDatabase(tmp_path / "ward.db")) as database:
        outbox, counters = Outbox(database, clock=SystemClock()), Counters()
        relay = Relay(
            outbox, events, clock=SystemClock(), chance=random.Random(1), counters=counters,
            settings=RelaySettings(batch_rows=20, publish_timeout_s=5.0, longest_delay_s=0.5),
        )  # fmt: skip
        await relay.start()
        for number in range(ROWS):
            async with outbox.transaction() as transaction:
                transaction.publish(event(number, partition=number % PARTITIONS))
            if number % (ROWS // (KILLS + 1)) == ROWS // (KILLS + 1) - 1:
                server.kill()
                server.start()
        assert await relay.drain(timeout_s=60)
        await relay.stop()
        assert (await outbox.depth()).waiting == 0
    await eventually(lambda: len(worked) >= ROWS, within_s=30, what="every event is worked")
    await events.stop()
    await transport.close()
    print(f"{counters.get('outbox_published', reason='duplicate')} rows were published twice")
    assert max(Counter(worked).values()) == 1
    for partition in range(PARTITIONS):
        mine = [number for where, number in worked if where == partition]
        assert mine == sorted(mine)
        assert len(mine) == ROWS // PARTITIONS
