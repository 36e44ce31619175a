"""A site on servers that are not its own: `[nats] servers`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medmesh.demo.messages import day
from tests.hospital import Site, archive, eventually, mllp_in, running, start
from tests.nats_server import NatsServer
from tests.peers.sender import Tally, send_all
from tests.ports import free_port

pytestmark = [pytest.mark.server, pytest.mark.timeout(180)]


async def test_a_site_runs_on_a_server_of_its_own_choice_and_survives_its_restart(
    tmp_path: Path,
) -> None:
    server = NatsServer(tmp_path / "nats")
    server.start()
    port = free_port()
    nats = f'[nats]\nservers = ["{server.url}"]\nmonitor = "{server.monitor_url}"\n'
    site = Site(tmp_path, mllp_in(port) + archive(tmp_path / "archive"), extra=nats)
    messages = [message.raw for message in day(20)]
    try:
        async with running(site):
            ready = site.events("ready")[0]
            assert (ready["embedded"], ready["durability"]) == (False, "synced")
            tally = Tally()
            await send_all(port, messages[:10], tally)
            server.restart()
            await send_all(port, messages[10:], tally)
            assert len(tally.accepted) == 20
            await eventually(
                lambda: (
                    len([p for p in (tmp_path / "archive").iterdir() if p.name[0] != "."]) == 20
                ),
                within_s=60,
                what="the archive is whole",
            )
            states = [event["state"] for event in site.events("link")]
            assert states in ([], ["reconnecting", "connected"])
            doctor = await start(["-m", "medmesh", "doctor", "-c", str(site.config), "--json"])
            await doctor.ended()
            findings = [json.loads(line) for line in doctor.lines]
            durability = [one for one in findings if one["check"] == "durability"]
            assert [one["verdict"] for one in durability] == ["good"]
            assert await site.stop() == 0
    finally:
        server.stop()


async def test_no_server_at_the_address_is_said_so(tmp_path: Path) -> None:
    nats = f'[nats]\nservers = ["nats://127.0.0.1:{free_port()}"]\n'
    site = Site(tmp_path, mllp_in(0) + archive(tmp_path / "archive"), extra=nats)
    child = await start(["-m", "medmesh", "up", "-c", str(site.config), "--json"])
    await child.ended()
    assert child.process.returncode == 1
    assert json.loads(child.lines[0])["event"] == "error"
    assert "nats://127.0.0.1" in json.loads(child.lines[0])["message"]
