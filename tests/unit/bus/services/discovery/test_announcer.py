from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from bus.services.discovery.records import RecordRefused
from bus.services.protocol import Health, Registry, Seen
from bus.telemetry.counters import Counters
from bus.transport.memory import MemoryBroker
from tests.contract.carriers import eventually
from tests.unit.bus.services.discovery.kit import QUICK, Watcher, Worker, World, offer

ID = "a" * 16


async def test_connection_that_is_cut_takes_its_instance_along(memory_broker: MemoryBroker) -> None:
    world = World()
    transport = await memory_broker.connect(name="lab/1")
    worker = Worker(transport, world, connection="lab/1")
    watcher = Watcher(await memory_broker.connect(), world)
    await worker.announcer.start()
    await watcher.registry.start()
    transport.disconnect()
    await watcher.until_told("gone", "disconnected")
    transport.reconnect()
    await eventually(lambda: watcher.ids() == [ID], "the return")
    await worker.announcer.stop()
    await watcher.registry.stop()


async def test_registry_that_may_not_know_of_departures_goes_by_silence(
    memory_broker: MemoryBroker,
) -> None:
    world = World()
    transport = await memory_broker.connect(name="lab/1")
    worker = Worker(transport, world, connection="lab/1")
    limited = await memory_broker.connect(deny_subscribe=("$SYS.>",))
    watcher = Watcher(limited, world)
    await worker.announcer.start()
    await watcher.registry.start()
    assert not (await watcher.registry.health()).departures
    transport.disconnect()
    await watcher.until_told("suspect", "heartbeat_late")
    await watcher.until_told("gone", "lease_expired")
    assert watcher.counters.get("discovery_degraded", who="departures", reason="permission_refused")
    await worker.announcer.stop()
    await watcher.registry.stop()


async def test_instance_that_callers_miss_is_out_until_it_is_heard_of(
    memory_broker: MemoryBroker,
) -> None:
    world = World()
    worker = Worker(await memory_broker.connect(), world)
    watcher = Watcher(await memory_broker.connect(), world)
    await worker.announcer.start()
    await watcher.registry.start()
    (seen,) = watcher.registry.instances("lab", 1)
    watcher.registry.missing(seen.instance)
    assert not watcher.registry.instances("lab", 1)
    assert watcher.registry.services() == {}
    await watcher.until_told("gone", "missing")
    await eventually(lambda: watcher.ids() == [ID], "the return")
    await worker.announcer.stop()
    await watcher.registry.stop()


async def test_new_certificate_signs_the_lease_anew(memory_broker: MemoryBroker) -> None:
    world = World()
    worker = Worker(await memory_broker.connect(), world)
    watcher = Watcher(await memory_broker.connect(), world)
    await worker.announcer.start()
    await watcher.registry.start()
    fresh = world.identity("lab", ID)
    worker.identity.certificate, worker.identity.signing_key = (
        fresh.certificate,
        fresh.signing_key,
    )
    del world.certificates[next(iter(world.certificates))]
    asked = world.asked
    await eventually(lambda: world.asked > asked, "the new signature")
    assert watcher.ids() == [ID]
    assert watcher.counters.get("record_refused") == 0
    await worker.announcer.stop()
    await watcher.registry.stop()


async def test_announcer_that_may_not_write_says_so_and_goes_on(
    memory_broker: MemoryBroker,
) -> None:
    counters = Counters()
    limited = await memory_broker.connect(deny_publish=("$KV.registry",))
    worker = Worker(limited, World(), counters=counters)
    await worker.announcer.start()
    assert not worker.announcer.is_announced
    await eventually(
        lambda: counters.get("lease_failed", who="lab", reason="permission_refused") > 2,
        "refusals",
    )
    await worker.announcer.stop()


async def test_stop_ends_soon_while_the_carrier_is_away(memory_broker: MemoryBroker) -> None:
    transport = await memory_broker.connect()
    worker, watcher = Worker(transport, World()), Watcher(transport, World())
    await worker.announcer.start()
    await watcher.registry.start()
    transport.disconnect()
    async with asyncio.timeout(QUICK.timeout_s / 2):
        await worker.announcer.stop()
        await watcher.registry.stop()
        await worker.announcer.stop()
        await watcher.registry.stop()


async def test_registry_started_while_the_carrier_is_away_fills_when_it_is_back(
    memory_broker: MemoryBroker,
) -> None:
    world, quick = World(), replace(QUICK, timeout_s=0.1)
    transport = await memory_broker.connect()
    worker = Worker(await memory_broker.connect(), world)
    await worker.announcer.start()
    transport.disconnect()
    watcher = Watcher(transport, world, settings=quick)
    await watcher.registry.start()
    assert watcher.registry.instances("lab", 1) == ()
    assert not (await watcher.registry.health()).is_linked
    transport.reconnect()
    await eventually(lambda: watcher.ids() == [ID], "the table")
    await worker.announcer.stop()
    await watcher.registry.stop()


async def test_listener_is_told_nothing_after_it_stopped(
    memory_broker: MemoryBroker,
) -> None:
    world, told = World(), list[Seen]()
    watcher = Watcher(await memory_broker.connect(), world)
    registry: Registry = watcher.registry
    stop = registry.on_change(told.append)
    stop()
    stop()
    await watcher.registry.start()
    worker = Worker(await memory_broker.connect(), world)
    await worker.announcer.start()
    assert (await watcher.until_told("healthy")).health is Health.HEALTHY
    assert told == []
    await worker.announcer.stop()
    await watcher.registry.stop()


async def test_offer_that_nobody_would_believe_is_refused_before_it_is_announced(
    memory_broker: MemoryBroker,
) -> None:
    with pytest.raises(RecordRefused, match="version"):
        Worker(await memory_broker.connect(), World(), made=offer(version="one"))
