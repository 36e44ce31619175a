"""What bounds publishing over a long line: the adaptive window, AIMD, or two commits under way.

    python -m benchmarks.congestion [--json] [--rounds 1] [--rate-mbit 20] [--congestion bbr]

An emulated line (tests/peers/wanlink.py; needs root) with a real nats-server at its end. Many callers keep it full with
bulk events of 2 KiB; beside them a stat event is published every 50 ms. Each cell is the events stored in a second, and
how long stat took, at the 99th percentile; the ratios are against two commits under way on the same line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import statistics
import tempfile
import time
from pathlib import Path

import uvloop

from bus.clock import SystemClock
from bus.events.path import StorePath
from bus.events.protocol import Priority
from bus.flow import AimdWindow, DelayWindow, Distance
from tests.faults.wan.long_line import (
    FarSite,
    LongLine,
    congestion_that_bears_losses,
    far_site,
    why_impossible,
)

RTTS_MS = (1, 25, 100)
LOSSES_PERCENT = (0.0, 1.0)
WAYS = ("two commits", "aimd", "adaptive")
CALLERS = 1500
WARM_S, MEASURE_S = 3.0, 6.0
STAT_EVERY_S = 0.05


def path_of(way: str) -> StorePath:
    """The path that a way of bounding stands for."""
    clock = SystemClock()
    match way:
        case "adaptive":
            return StorePath(clock, window=DelayWindow())
        case "aimd":
            return StorePath(clock, window=AimdWindow())
        case _:
            return StorePath(clock, distance=Distance(math.inf))


async def stat_beside(site: FarSite, until_s: float) -> None:
    """One stat event after the other, at a slow pace."""
    number = 0
    while time.perf_counter() < until_s:
        await site.publish(f"s-{number}", partition=63, priority=Priority.STAT)
        number += 1
        await asyncio.sleep(STAT_EVERY_S)


async def cell(line: LongLine, way: str) -> tuple[float, float]:
    """Events a second, and the 99th percentile of what stat took, in seconds."""
    async with far_site(line, path=path_of(way)) as site:
        await site.publish("first-0", partition=0)
        await site.path_is_known()
        began_s = time.perf_counter()
        end_s = began_s + WARM_S + MEASURE_S
        bulk = asyncio.create_task(site.load(end_s, CALLERS, priority=Priority.BULK))
        await asyncio.sleep(WARM_S)
        await stat_beside(site, end_s)
        rate = site.tally.rate(began_s + WARM_S, end_s)
        bulk.cancel()
        await asyncio.gather(bulk, return_exceptions=True)
        waits = sorted(site.tally.waits[Priority.STAT])
        return rate, waits[math.ceil(0.99 * len(waits)) - 1]


def measure(rounds: int, rate_mbit: float, congestion: str) -> list[dict[str, object]]:
    """One row a line: medians by way."""
    rows: list[dict[str, object]] = []
    for rtt_ms in RTTS_MS:
        for loss in LOSSES_PERCENT:
            cells: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
            for _ in range(rounds):
                for way in WAYS:
                    with (
                        tempfile.TemporaryDirectory(prefix="medmesh-bench-") as scratch,
                        LongLine(
                            Path(scratch), rtt_ms=rtt_ms, loss_percent=loss,
                            rate_mbit=rate_mbit, congestion=congestion,
                        ) as line,
                        line.here(),
                    ):  # fmt: skip
                        cells[way].append(uvloop.run(cell(line, way)))
            row: dict[str, object] = {"rtt_ms": rtt_ms, "loss_percent": loss}
            for way, found in cells.items():
                row[way] = {
                    "events_per_s": round(statistics.median(rate for rate, _ in found)),
                    "stat_p99_ms": round(statistics.median(wait for _, wait in found) * 1000, 1),
                }
            rows.append(row)
            print(spoken(row), flush=True)
    return rows


def spoken(row: dict[str, object]) -> str:
    """One line of the table."""
    base = row["two commits"]
    assert isinstance(base, dict)
    parts = [f"{row['rtt_ms']:>4} ms {row['loss_percent']:>4} %"]
    for way in WAYS:
        found = row[way]
        assert isinstance(found, dict)
        faster = found["events_per_s"] / base["events_per_s"]
        sooner = base["stat_p99_ms"] / found["stat_p99_ms"]
        parts.append(
            f"{way}: {found['events_per_s']:>5}/s ({faster:.2f}x), "
            f"stat {found['stat_p99_ms']:>6.0f} ms ({sooner:.1f}x sooner)"
        )
    return "  ".join(parts)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--rate-mbit", type=float, default=20.0)
    parser.add_argument("--congestion", default=congestion_that_bears_losses())
    told = parser.parse_args()
    reason = why_impossible()
    if reason:
        print(f"not measured: {reason}")
        return
    rows = measure(told.rounds, told.rate_mbit, told.congestion)
    if told.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
