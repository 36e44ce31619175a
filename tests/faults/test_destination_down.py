"""A destination down while 100 000 messages come in: accepted, kept, delivered in order; memory stays bounded."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.hospital import Process, Sink, Site, eventually, mllp_in, mllp_out, running
from tests.hospital import start as start_process
from tests.peers.sender import Tally, control_id, send_all, synthetic
from tests.ports import free_port

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(420)]

OPENING = 500
MESSAGES = 100_000
CONNECTIONS = 64
LANES = 8
GROWTH_BYTES = 64 << 20
SERVER_BYTES = 512 << 20
"""The server holds blocks being written and the ids of two hours; a store in memory would be beyond."""


def resident_bytes(pid: int) -> int:
    """Resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))


async def load(port: int) -> Process:
    """Another process that sends everything, so that this one has time to look on."""
    return await start_process(
        [
            *("-m", "benchmarks.mllp_load", "send", "--port", str(port)),
            *("--connections", str(CONNECTIONS), "--messages", str(MESSAGES), "--timeout", "300"),
        ]
    )


def latest(site: Site, name: str) -> Mapping[str, Any]:
    """The last numbers that `medmesh up --json` printed about an adapter."""
    rows = [row for event in site.events("stats") for row in event["adapters"]]
    return next((row for row in reversed(rows) if row["name"] == name), {})


async def test_memory_stays_bounded_while_a_destination_is_down(tmp_path: Path) -> None:
    port, sink = free_port(), Sink(tmp_path)
    site = Site(tmp_path, mllp_in(port) + mllp_out(sink.port, more=f"lanes = {LANES}"))
    opening = [synthetic(number, patient=number) for number in range(OPENING)]
    async with running(site, sink):
        await send_all(port, opening, Tally())
        server = site.server_pid()
        assert server is not None
        before = peak = site.resident_bytes()
        server_peak = 0
        sender = await load(port)
        try:
            while sender.process.returncode is None:
                peak = max(peak, site.resident_bytes())
                server_peak = max(server_peak, resident_bytes(server))
                await asyncio.wait([asyncio.ensure_future(sender.process.wait())], timeout=0.2)
        finally:
            sender.kill()
            await sender.ended()
        told = json.loads(sender.lines[-1])
        assert told["codes"] == {"CA": MESSAGES}
        assert told["lost"] == 0
        assert peak - before < GROWTH_BYTES, f"grew by {(peak - before) >> 20} MiB"
        assert server_peak < SERVER_BYTES, f"the server took {server_peak >> 20} MiB"
        await eventually(
            lambda: latest(site, "his-out").get("waiting") == OPENING + MESSAGES,
            within_s=15,
            what="the operator sees how much waits",
        )
        assert latest(site, "his-out")["condition"] == "degraded"
        await sink.start()
        await sink.received(5_000, within_s=60)
        order: dict[str, int] = {}
        for place, (control, _) in enumerate(sink.journal.received):
            order.setdefault(control, place)
        places = [order[control_id(message).decode()] for message in opening]
        # Lanes go on side by side, each in order: the oldest are not overtaken by more than what is in hand.
        assert max(places) < OPENING + 256, "the oldest messages come first"
        in_order_of_sending = sorted(
            (control for control in order if control not in _controls(opening)),
            key=order.__getitem__,
        )
        due = [int(control[1:13], 16) for control in in_order_of_sending]
        assert due[-1] - due[0] < 0.5 * (_last_sent(told)), "and what is newer comes later"
        await eventually(
            lambda: latest(site, "his-out").get("waiting", 0) < OPENING + MESSAGES - 4_000,
            within_s=15,
            what="the operator sees the backlog shrink",
        )
        assert latest(site, "his-out")["drained_in_s"] > 0


def _controls(messages: list[bytes]) -> set[str]:
    return {control_id(message).decode() for message in messages}


def _last_sent(told: Mapping[str, Any]) -> float:
    """How long the load took in microseconds, the unit of its control ids."""
    return float(told["seconds"]) * 1e6
