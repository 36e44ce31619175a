"""Discovery between processes, on the embedded server, with certificates of the mesh's own authority."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bus.clock import SystemClock
from bus.services.discovery import MeshRegistry
from bus.services.protocol import Health, Seen
from bus.telemetry.counters import Counters
from bus.transport import nats
from bus.transport.nats import Credentials
from bus.transport.protocol import LinkState, Transport
from bus.transport.server import EmbeddedServer, ServerOptions
from bus.trust import Trust
from bus.trust.records import InstanceSeals
from schemas.subjects import site_id
from tests.contract.carriers import Changes, eventually
from tests.integration.bus.services.announcing import MESH, SITE
from tests.nats_server import require_server
from tests.shared_data import ROOT

pytestmark = pytest.mark.server


class Site(Changes):
    """The embedded server and one process that listens: the test's."""

    def __init__(self, data: Path) -> None:
        super().__init__()
        self.data = data
        self.counters = Counters()
        self.told: list[Seen] = []
        self._server = EmbeddedServer(
            data / "nats", options=ServerOptions(look_s=0.05, restart_wait_s=0.01)
        )
        self._processes: list[asyncio.subprocess.Process] = []
        self.transport: Transport
        self.registry: MeshRegistry
        self._trust: Trust

    async def start(self) -> None:
        access = await self._server.start()
        self.transport = await nats.connect(
            access.servers,
            name="watcher",
            credentials=Credentials(user=access.user, password=access.password),
        )
        clock = SystemClock()
        self._trust = await Trust.open(
            self.data / "trust", mesh=MESH, site=SITE, buckets=self.transport, clock=clock
        )
        identity = await self._trust.identity("watcher")
        self.registry = MeshRegistry(
            self.transport,
            InstanceSeals(identity, self._trust, clock),
            site=site_id(SITE),
            clock=clock,
            counters=self.counters,
        )
        self.registry.on_change(self._told)
        await self.registry.start()

    def _told(self, seen: Seen) -> None:
        self.told.append(seen)
        self.changed()

    async def run(self, service: str, connection: str) -> tuple[asyncio.subprocess.Process, str]:
        """A process with one instance, and the instance's id."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.integration.bus.services.announcing",
            str(self.data),
            service,
            connection,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
        )
        self._processes.append(process)
        assert process.stdout is not None
        return process, (await process.stdout.readline()).decode().strip()

    async def until_told(self, instance: str, health: Health, reason: str = "") -> None:
        def is_told() -> bool:
            return any(
                (one.instance.id, one.health, one.reason) == (instance, health, reason)
                for one in self.told
            )

        await self.until(is_told, f"{instance} is {health} {reason}")

    def ids(self) -> set[str]:
        return {seen.instance.id for seen in self.registry.instances("lab", 1)}

    def kill_server(self) -> None:
        os.kill(self._server.access.pid, signal.SIGKILL)

    async def stop(self) -> None:
        for process in self._processes:
            if process.returncode is None:
                process.kill()
            await process.wait()
        await self.registry.stop()
        await self._trust.stop()
        await self.transport.close()
        await self._server.stop()


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    require_server()
    made = Site(tmp_path)
    await made.start()
    yield made
    await made.stop()


def order(process: asyncio.subprocess.Process, text: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{text}\n".encode())


async def test_killed_process_is_out_of_the_table_by_the_end_of_its_connection(site: Site) -> None:
    (doomed, one), (_, two) = await asyncio.gather(
        site.run("lab", "lab/first"), site.run("lab", "lab/second")
    )
    await site.until(lambda: site.ids() == {one, two}, "both instances")
    doomed.kill()
    await site.until_told(one, Health.GONE, "disconnected")
    assert site.ids() == {two}
    assert site.counters.get("instance_gone", who="lab", reason="disconnected") == 1


@pytest.mark.slow
async def test_frozen_process_is_suspect_then_gone_and_comes_back(site: Site) -> None:
    process, one = await site.run("lab", "lab/first")
    await site.until_told(one, Health.HEALTHY)
    process.send_signal(signal.SIGSTOP)
    await site.until_told(one, Health.SUSPECT, "heartbeat_late")
    await site.until_told(one, Health.GONE, "lease_expired")
    site.told.clear()
    process.send_signal(signal.SIGCONT)
    await site.until_told(one, Health.HEALTHY)


@pytest.mark.slow
async def test_wedged_process_is_suspect_while_its_heartbeats_come(site: Site) -> None:
    process, one = await site.run("lab", "lab/first")
    await site.until_told(one, Health.HEALTHY)
    order(process, "wedge")
    await site.until_told(one, Health.SUSPECT, "wedged")
    assert site.ids() == {one}


async def test_process_that_stops_in_peace_is_told_to_drain_and_leave(site: Site) -> None:
    process, one = await site.run("lab", "lab/first")
    await site.until_told(one, Health.HEALTHY)
    order(process, "drain")
    await site.until_told(one, Health.DRAINING, "draining")
    order(process, "stop")
    await site.until_told(one, Health.GONE, "left")
    assert await process.wait() == 0


@pytest.mark.slow
async def test_table_stands_while_the_server_is_killed_and_fills_again_after(site: Site) -> None:
    (first, one), (_, two) = await asyncio.gather(
        site.run("lab", "lab/first"), site.run("lab", "lab/second")
    )
    await site.until(lambda: site.ids() == {one, two}, "both instances")
    site.kill_server()
    await eventually(lambda: site.transport.link is not LinkState.CONNECTED, "the loss")
    assert site.ids() == {one, two}
    first.kill()  # nobody can tell
    await eventually(lambda: site.transport.link is LinkState.CONNECTED, "the return")
    await site.until_told(one, Health.GONE, "lease_expired")
    assert site.ids() == {two}
    bucket = await site.transport.key_value("registry", max_age_s=5.0, in_memory=True)
    assert await bucket.keys() == [f"lab.{two}"]
    assert not any(seen.instance.id == two and seen.health is Health.GONE for seen in site.told)
