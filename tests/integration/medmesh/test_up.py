"""`medmesh up`: ready means ready, a stop leaves nothing behind, and a start that cannot be says what to do."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from pathlib import Path

import pytest

from medmesh.demo.messages import day
from tests.hospital import (
    Sink,
    Site,
    archive,
    eventually,
    mllp_in,
    mllp_out,
    running,
    start,
)
from tests.peers.sender import Tally, send_all
from tests.ports import free_port

pytestmark = [pytest.mark.server, pytest.mark.timeout(180)]


async def test_the_first_event_is_ready_and_every_listener_accepts(tmp_path: Path) -> None:
    port, other = free_port(), free_port()
    second = mllp_in(other).replace("emr-in", "lab-in")
    site = Site(tmp_path, mllp_in(port) + second + archive(tmp_path / "archive"))
    async with running(site):
        ready = site.events()[0]
        assert ready["event"] == "ready"
        assert (ready["site"], ready["durability"], ready["embedded"]) == ("north", "synced", True)
        listeners = {row["name"]: row["listen"] for row in ready["adapters"]}
        assert listeners == {
            "emr-in": [f"127.0.0.1:{port}"],
            "lab-in": [f"127.0.0.1:{other}"],
            "archive": [],
        }
        for one in (port, other):
            _, writer = await asyncio.open_connection("127.0.0.1", one)
            writer.close()
        assert await site.stop() == 0
    assert [event["event"] for event in site.events() if event["event"] != "stats"][-3:] == [
        "draining",
        "drained",
        "stopped",
    ]


async def test_a_port_of_zero_is_reported_as_the_port_that_was_found(tmp_path: Path) -> None:
    site = Site(tmp_path, mllp_in(0) + archive(tmp_path / "archive"))
    async with running(site):
        listen = site.events("ready")[0]["adapters"][0]["listen"][0]
        tally = Tally()
        await send_all(int(listen.rpartition(":")[2]), [day(1)[0].raw], tally)
        assert len(tally.accepted) == 1


async def test_sigterm_under_load_leaves_nothing_that_was_accepted_behind(tmp_path: Path) -> None:
    """Senders keep sending while the site stops; after the next start the receiver has what was acknowledged."""
    port, sink = free_port(), Sink(tmp_path)
    site = Site(tmp_path, mllp_in(port) + mllp_out(sink.port, more="lanes = 4"))
    messages = [message.raw for message in day(4000)]
    await sink.start()
    async with running(site, sink):
        tally = Tally()
        lanes = [asyncio.create_task(send_all(port, messages[lane::8], tally)) for lane in range(8)]
        await eventually(lambda: len(tally.accepted) > 200, within_s=60, what="load")
        assert await site.stop() == 0
        (drained,) = site.events("drained")
        assert drained["complete"], f"all that was taken from the stream was worked: {drained}"
        assert drained["in_hand"] == {}
        at_stop = set(tally.accepted)
        for lane in lanes:
            lane.cancel()
        await asyncio.gather(*lanes, return_exceptions=True)
        assert len(tally.accepted) < len(messages), "the stop came in the middle of the load"
        await site.start()
        await sink.received(len(at_stop), within_s=60)
        received = [control.encode() for control, _ in sink.journal.received]
        assert at_stop <= set(received)
        assert len(received) == len(set(received)), "a drain finishes what is in hand: no repeats"
        assert await site.stop() == 0


async def test_stats_say_how_fast_and_how_much_waits(tmp_path: Path) -> None:
    port, sink = free_port(), Sink(tmp_path)
    site = Site(tmp_path, mllp_in(port) + mllp_out(sink.port))
    async with running(site, sink):
        await send_all(port, [message.raw for message in day(30)], Tally())

        def waiting() -> list[int]:
            return [
                row["waiting"]
                for event in site.events("stats")
                for row in event["adapters"]
                if row["name"] == "his-out"
            ]

        await eventually(lambda: 30 in waiting(), within_s=30, what="thirty wait for the HIS")
        states = [event for event in site.events("adapter") if event["name"] == "his-out"]
        assert states
        assert states[0]["condition"] == "degraded"
        await sink.start()
        await eventually(lambda: waiting()[-1] == 0, within_s=60, what="nothing waits any more")
        stored = [
            row["stored"]
            for event in site.events("stats")
            for row in event["adapters"]
            if row["name"] == "emr-in"
        ]
        assert stored[-1] == 30
        assert await site.stop() == 0


async def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    """A receiver that never answers holds the drain; the operator need not wait for it."""
    port, sink = free_port(), Sink(tmp_path)
    site = Site(tmp_path, mllp_in(port) + mllp_out(sink.port))
    await sink.start("--delay", "600")
    async with running(site, sink):
        await send_all(port, [day(1)[0].raw], Tally())
        await sink.received(1, within_s=30)
        assert site.child is not None
        os.kill(site.child.pid, signal.SIGTERM)
        await eventually(lambda: bool(site.events("draining")), within_s=10, what="draining")
        os.kill(site.child.pid, signal.SIGINT)
        async with asyncio.timeout(10):
            await site.child.ended()
        assert site.child.process.returncode == 130


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("", "neither an [[adapter]] nor a [gateway] is configured"),
        ('[[adapter]]\nname = "a"\nkind = "x"', 'adapter[0] "a".kind: "x" is no kind of adapter'),
    ],
)
async def test_a_start_that_cannot_be_says_why(tmp_path: Path, config: str, words: str) -> None:
    (tmp_path / "mesh.toml").write_text(config)
    child = await start(["-m", "medmesh", "up", "-c", str(tmp_path / "mesh.toml"), "--json"])
    await child.ended()
    assert child.process.returncode == 1
    assert words in "".join(child.errors)
    assert json.loads(child.lines[0])["event"] == "error"


async def test_a_taken_port_names_the_program_that_has_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        site = Site(tmp_path, mllp_in(port) + archive(tmp_path / "archive"))
        child = await start(["-m", "medmesh", "up", "-c", str(site.config)])
        await child.ended()
    assert child.process.returncode == 1
    said = "".join(child.errors)
    assert f"cannot listen on 127.0.0.1:{port}" in said
    assert f"(process {os.getpid()})" in said


async def test_two_sites_on_one_folder_are_refused(tmp_path: Path) -> None:
    site = Site(tmp_path, mllp_in(0) + archive(tmp_path / "archive"))
    async with running(site):
        second = await start(["-m", "medmesh", "up", "-c", str(site.config)])
        await second.ended()
        assert second.process.returncode == 1
        assert "another `medmesh up` runs on" in "".join(second.errors)


async def test_without_a_server_program_it_says_where_to_get_one(tmp_path: Path) -> None:
    site = Site(tmp_path, mllp_in(0) + archive(tmp_path / "archive"))
    child = await start(
        ["-m", "medmesh", "up", "-c", str(site.config)],
        environment={"MEDMESH_NATS_SERVER": str(tmp_path / "nowhere")},
    )
    await child.ended()
    assert child.process.returncode == 1
    assert "MEDMESH_NATS_SERVER" in "".join(child.errors)


async def test_a_key_that_others_may_read_stops_the_start_with_the_command_that_mends_it(
    tmp_path: Path,
) -> None:
    site = Site(tmp_path, mllp_in(0) + archive(tmp_path / "archive"))
    async with running(site):
        assert await site.stop() == 0
    key = site.data / "trust" / "keystore" / "site-key"
    key.chmod(0o644)
    child = await start(["-m", "medmesh", "up", "-c", str(site.config)])
    await child.ended()
    assert child.process.returncode == 4
    assert f"chmod 600 {key}" in "".join(child.errors)


async def test_an_adapter_that_is_added_later_begins_with_what_comes_then(tmp_path: Path) -> None:
    """What was stored before was sealed for others: it must not become a heap of dead letters."""
    port, sink = free_port(), Sink(tmp_path)
    kept = mllp_in(port) + archive(tmp_path / "archive")
    messages = [message.raw for message in day(8)]
    site = Site(tmp_path, kept)
    async with running(site):
        await send_all(port, messages[:5], Tally())
        assert await site.stop() == 0
    await sink.start()
    site = Site(tmp_path, kept + mllp_out(sink.port))
    async with running(site, sink):
        await send_all(port, messages[5:], Tally())
        await sink.received(3, within_s=30)
        letters = await start(["-m", "medmesh", "dlq", "ls", "-c", str(site.config), "--json"])
        await letters.ended()
        assert (letters.process.returncode, letters.lines) == (0, [])
        assert await site.stop() == 0
    assert len(sink.journal.received) == 3


@pytest.mark.parametrize(
    "module", ["pydantic", "medmesh.config", "bus.transport.nats", "medmesh.runtime"]
)
async def test_a_stop_while_modules_load_ends_cleanly(tmp_path: Path, module: str) -> None:
    site = Site(tmp_path, mllp_in(free_port()) + archive(tmp_path / "archive"))
    child = await start(
        ["-X", "importtime", "-m", "medmesh", "up", "-c", str(site.config), "--json"]
    )
    await eventually(
        lambda: any(line.rstrip().endswith(f" {module}") for line in child.errors),
        within_s=30,
        what=f"the import of {module}",
    )
    assert await child.stop() == 0, "".join(child.errors[-5:])
    assert not any("Traceback" in line for line in child.errors)
