"""A destination down while 100 000 messages come in: accepted, kept, delivered in order; memory stays bounded."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.hospital import Sink, Site, free_port, mllp_in, mllp_out, running
from tests.peers.sender import Tally, control_id, send_all, synthetic

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(900)]

MESSAGES = 100_000
SENDERS = 64
GROWTH_BYTES = 64 << 20


async def test_memory_stays_bounded_while_a_destination_is_down(tmp_path: Path) -> None:
    port, sink = free_port(), Sink(tmp_path)
    site = Site(tmp_path, mllp_in(port) + mllp_out(sink.port, more="lanes = 8"))
    async with running(site, sink):
        tally = Tally()
        await send_all(port, [synthetic(n, patient=n) for n in range(500)], tally)
        before = site.resident_bytes()
        peak = before
        share = range(500, MESSAGES)

        async def sender(number: int) -> None:
            nonlocal peak
            for begin in range(500 + number, len(share), SENDERS * 50):
                batch = [
                    synthetic(n, patient=number)
                    for n in range(begin, min(begin + SENDERS * 50, MESSAGES), SENDERS)
                ]
                await send_all(port, batch, tally)
                peak = max(peak, site.resident_bytes())

        async with asyncio.TaskGroup() as group:
            for number in range(SENDERS):
                group.create_task(sender(number))
        assert len(tally.accepted) >= MESSAGES - SENDERS
        assert peak - before < GROWTH_BYTES, f"grew by {(peak - before) >> 20} MiB"
        await sink.start()
        await sink.received(5_000, within_s=120)
        first: dict[str, int] = {}
        for place, (control, _) in enumerate(sink.journal.received):
            first.setdefault(control, place)
        opening = [control_id(synthetic(n)).decode() for n in range(500)]
        assert all(control in first for control in opening), "the oldest messages come first"
