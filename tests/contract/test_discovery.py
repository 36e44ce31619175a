"""What discovery promises, on every carrier."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from bus.services.protocol import Health, Load
from bus.transport.protocol import Incoming, LinkState, Transport
from tests.contract.carriers import Carrier, eventually
from tests.unit.bus.services.discovery.kit import Watcher, Worker, World, offer

ONE, TWO = "1" * 16, "2" * 16


class Mesh:
    """Workers and watchers on one carrier; all end with the test."""

    def __init__(self, carrier: Carrier, stack: AsyncExitStack) -> None:
        self.carrier = carrier
        self.world = World()
        self._stack = stack

    async def worker(self, instance: str = ONE, *, version: str = "1.2.0") -> Worker:
        worker = Worker(
            await self.carrier.connect(),
            self.world,
            made=offer(version=version, zone="b2", weight=50, metadata={"schema": "lab/1"}),
            instance=instance,
        )
        await worker.announcer.start()
        self._stack.push_async_callback(worker.announcer.stop)
        return worker

    async def watcher(self, transport: Transport | None = None) -> Watcher:
        watcher = Watcher(transport or await self.carrier.connect(), self.world)
        await watcher.registry.start()
        self._stack.push_async_callback(watcher.registry.stop)
        return watcher


@pytest.fixture
async def mesh(carrier: Carrier) -> AsyncIterator[Mesh]:
    async with AsyncExitStack() as stack:
        yield Mesh(carrier, stack)


async def test_instance_that_runs_is_listed_when_the_registry_has_started(mesh: Mesh) -> None:
    await mesh.worker()
    watcher = await mesh.watcher()
    (seen,) = watcher.registry.instances("lab", 1)
    assert seen.health is Health.HEALTHY
    assert (seen.instance.id, seen.instance.version) == (ONE, "1.2.0")
    assert (seen.instance.zone, seen.instance.weight) == ("b2", 50)
    assert seen.instance.methods == ("echo",)
    assert seen.instance.protocols == ("medmesh/1",)
    assert seen.instance.metadata == {"schema": "lab/1"}


async def test_instance_that_comes_later_is_told(mesh: Mesh) -> None:
    watcher = await mesh.watcher()
    await mesh.worker(TWO)
    assert (await watcher.until_told("healthy")).instance.id == TWO
    assert watcher.counters.get("instance_appeared", who="lab") == 1


async def test_heartbeats_bring_the_load(mesh: Mesh) -> None:
    worker, watcher = await mesh.worker(), await mesh.watcher()
    worker.load = Load(in_flight=3, limit=8, oldest_s=0.25, answered=41)
    await eventually(
        lambda: watcher.registry.instances("lab", 1)[0].load == worker.load, "the load"
    )


async def test_instance_that_drains_is_told_and_then_gone_at_once(mesh: Mesh) -> None:
    worker, watcher = await mesh.worker(), await mesh.watcher()
    await worker.announcer.draining()
    await watcher.until_told("draining", "draining")
    assert watcher.registry.instances("lab", 1)[0].health is Health.DRAINING
    await worker.announcer.stop()
    await watcher.until_told("gone", "left")
    assert not watcher.ids()


async def test_major_versions_are_listed_apart(mesh: Mesh) -> None:
    await mesh.worker(ONE)
    await mesh.worker(TWO, version="2.0.1")
    watcher = await mesh.watcher()
    assert (watcher.ids(), watcher.ids(major=2)) == ([ONE], [TWO])
    assert [seen.instance.id for seen in watcher.registry.services()["lab"]] == [ONE, TWO]


async def test_table_stands_while_the_carrier_is_away_and_after_it_is_back(mesh: Mesh) -> None:
    await mesh.worker(ONE)
    await mesh.worker(TWO)
    transport = await mesh.carrier.connect()
    watcher = await mesh.watcher(transport)
    await mesh.carrier.cut()
    await eventually(lambda: transport.link is not LinkState.CONNECTED, "the loss")
    assert watcher.ids() == [ONE, TWO]
    await mesh.carrier.restore()
    await eventually(lambda: transport.link is LinkState.CONNECTED, "the return")
    heard = {seen.instance.id: seen.heard_s for seen in watcher.registry.instances("lab", 1)}
    await eventually(
        lambda: all(
            seen.heard_s > heard[seen.instance.id] for seen in watcher.registry.instances("lab", 1)
        ),
        "heartbeats after the return",
    )
    assert watcher.ids() == [ONE, TWO]
    assert "gone" not in [health for health, _ in watcher.states()]


async def test_everyone_registers_again_when_the_server_forgot_the_leases(mesh: Mesh) -> None:
    await mesh.worker(ONE)
    await mesh.carrier.cut()
    await mesh.carrier.restore()
    watcher = await mesh.watcher()
    await eventually(lambda: watcher.ids() == [ONE], "the registration")


async def test_stock_service_is_listed_for_operators_and_not_for_calls(mesh: Mesh) -> None:
    transport = await mesh.carrier.connect()
    answers: set[asyncio.Task[None]] = set()

    def ping(message: Incoming) -> None:
        answer = {
            "type": "io.nats.micro.v1.ping_response",
            "name": "Legacy",
            "id": "OqWbTr0DUn",
            "version": "3.1.0",
            "metadata": {"vendor": "x"},
        }
        work = transport.messenger.publish(message.reply, json.dumps(answer).encode())
        answers.add(asyncio.ensure_future(work))

    await transport.messenger.subscribe("$SRV.PING", ping)
    watcher = await mesh.watcher()
    await watcher.until_told("healthy")
    (seen,) = watcher.registry.services()["Legacy"]
    assert seen.instance.protocols == ("nats-micro",)
    assert not watcher.registry.instances("Legacy", 3)
    await asyncio.gather(*answers)
