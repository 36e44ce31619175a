"""Publishing over a real TCP connection with delay, loss and cuts: all of it stored once, in order, stat first."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import defaultdict
from pathlib import Path

import pytest

from bus.events.protocol import Priority
from tests.faults.wan.long_line import (
    STREAM,
    FarSite,
    LongLine,
    congestion_that_bears_losses,
    far_site,
    require_long_line,
)
from tests.nats_server import require_server

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(150)]

RATE_MBIT = 8.0
EVENT_BYTES = 2600
"""One event of 2 KiB on the wire: envelope, headers and packets included."""


@pytest.fixture(autouse=True)
def _line_is_possible() -> None:
    require_server()
    require_long_line()


async def check_all_stored_once_and_in_order(site: FarSite) -> None:
    stored = site.tally.stored
    places = [event.seq for event in stored.values()]
    assert len(set(places)) == len(places)
    state = await site.transport.store.stream_state(STREAM)
    assert state.messages == len(stored), "each once"
    callers: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for name, event in stored.items():
        caller, number = name.split("-")
        callers[caller].append((int(number), event.seq))
    for numbered in callers.values():
        seqs = [seq for _, seq in sorted(numbered)]
        assert seqs == sorted(seqs), "each caller's events in the order of its calls"


@pytest.mark.parametrize(("rtt_ms", "loss_percent"), [(50, 0.5), (100, 3.0)])
async def test_bulk_fills_the_line_and_stat_passes_it(
    tmp_path: Path, rtt_ms: float, loss_percent: float
) -> None:
    congestion = congestion_that_bears_losses()
    line = LongLine(
        tmp_path,
        rtt_ms=rtt_ms,
        loss_percent=loss_percent,
        rate_mbit=RATE_MBIT,
        congestion=congestion,
    )
    with line, line.here():
        async with far_site(line) as site:
            await site.publish("first-0", partition=0)
            await site.path_is_known()
            assert site.path.is_long
            began_s = time.perf_counter()
            bulk = asyncio.create_task(site.load(began_s + 10, 200, priority=Priority.BULK))
            await site.stored_so_far(300, within_s=30)
            number = 0
            while not bulk.done():
                name = f"stat-{number}"
                await site.publish(name, partition=63, priority=Priority.STAT)
                number += 1
            await bulk
            waits = {
                one: statistics.median(site.tally.waits[one])
                for one in Priority
                if site.tally.waits[one]
            }
            assert waits[Priority.STAT] < waits[Priority.BULK] / 2, (
                "stat does not stand behind bulk"
            )
            assert waits[Priority.STAT] < 10 * line.rtt_s
            share = site.tally.rate(began_s + 3, began_s + 10) * EVENT_BYTES / line.rate_bytes_s
            assert share > 0.1 or not congestion, "it never sinks to its smallest"
            await check_all_stored_once_and_in_order(site)


async def test_after_a_cut_of_five_seconds_publishing_goes_on_by_itself(tmp_path: Path) -> None:
    line = LongLine(tmp_path, rtt_ms=50, loss_percent=1.0, rate_mbit=RATE_MBIT)
    with line, line.here():
        async with far_site(line) as site:
            await site.publish("first-0", partition=0)
            await site.path_is_known()
            load = asyncio.create_task(
                site.load(time.perf_counter() + 20, 100, priority=Priority.ROUTINE)
            )
            await site.stored_so_far(300, within_s=30)
            line.order("cut")
            # the fault itself lasts five seconds; nobody waits for anything else here
            await asyncio.sleep(5)
            before = len(site.tally.stored)
            line.order("heal")
            healed_s = time.perf_counter()
            await site.stored_so_far(before + 500, within_s=30)
            await load
            assert site.tally.rate(healed_s + 10, healed_s + 12) > 0, "the load outlived the cut"
            assert site.path.in_flight == 0
            await check_all_stored_once_and_in_order(site)


async def test_a_near_store_is_not_taken_for_a_far_one(tmp_path: Path) -> None:
    with LongLine(tmp_path, rtt_ms=1) as line, line.here():
        async with far_site(line) as site:
            await site.publish("first-0", partition=0)
            await site.path_is_known()
            await site.load(time.perf_counter() + 2, 64, priority=Priority.ROUTINE)
            assert not site.path.is_long
            await check_all_stored_once_and_in_order(site)
