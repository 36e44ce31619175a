"""The main job end to end: `medmesh up` on its embedded server, fsync always, sealed; all on one machine.

    python -m benchmarks.mllp [--json] [--rounds 3] [--messages 2000]

Each cell runs in several rounds, interleaved with the baseline (the receiver alone: a bare MLLP acknowledgement server
without any store), so that ratios come from one run. The last column holds the best open engines' figures on two cores,
each with the conditions of its own run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.group_commit import fsyncs_per_second
from tests.hospital import Site, eventually, mllp_in, mllp_out, running, start
from tests.ports import free_port

Result = dict[str, Any]


async def role(name: str, port: int, **options: object) -> Result:
    """Run one role of benchmarks.mllp_load to its end and return what it measured."""
    arguments = [part for key, value in options.items() for part in (f"--{key}", str(value))]
    child = await start(["-m", "benchmarks.mllp_load", name, "--port", str(port), *arguments])
    await child.ended()
    if not child.lines or child.process.returncode:
        raise RuntimeError(f"{name} failed: {''.join(child.errors[-5:])}")
    result: Result = json.loads(child.lines[-1])
    return result


@asynccontextmanager
async def receiver(port: int, expect: int) -> AsyncIterator[asyncio.Task[Result]]:
    """A sink that listens before anything is sent."""
    child = await start(
        [
            "-m",
            "benchmarks.mllp_load",
            "sink",
            "--port",
            str(port),
            "--expect",
            str(expect),
            "--timeout",
            "180",
        ]
    )
    await eventually(lambda: bool(child.lines), within_s=30, what="the sink listens")

    async def result() -> Result:
        await child.ended()
        if child.process.returncode:
            raise RuntimeError(f"sink failed: {''.join(child.errors[-5:])}")
        parsed: Result = json.loads(child.lines[-1])
        return parsed

    task = asyncio.create_task(result())
    try:
        yield task
    finally:
        child.kill()
        await asyncio.wait([task])


def disk_bytes(folder: Path) -> int:
    """Bytes that files below a folder take."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def cpu_seconds(pid: int | None) -> float:
    """CPU time that a process has used; 0 for none."""
    if pid is None:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass
class Cells:
    """Every figure of every round by name."""

    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, value: float | None) -> None:
        if value is not None:
            self.values.setdefault(name, []).append(value)

    def median(self, name: str) -> float:
        return statistics.median(self.values[name])


async def bare(cells: Cells, folder: Path, messages: int) -> None:
    """The baselines: the receiver alone, and what the disk can make durable one by one."""
    cells.add("fsync_per_second", fsyncs_per_second(folder, 300))
    port = free_port()
    async with receiver(port, messages) as seen:
        sent = await role("send", port, connections=8, messages=messages)
        await seen
    cells.add("bare_per_second", sent["per_second"])


async def acceptance(cells: Cells, folder: Path, messages: int) -> None:
    """Accept rate at 1, 8 and 64 connections; the receiver is away, so that nothing else is at work."""
    port = free_port()
    site = Site(folder, mllp_in(port) + mllp_out(free_port()))
    async with running(site):
        await role("send", port, connections=8, messages=300)
        assert site.child is not None
        before = disk_bytes(site.data)
        total = 0
        for connections in (1, 8, 64):
            cpu, server = cpu_seconds(site.child.pid), cpu_seconds(site.server_pid())
            sent = await role("send", port, connections=connections, messages=messages)
            assert sent["codes"] == {"CA": messages}, sent
            total += messages
            cells.add("message_bytes", sent["mean_bytes"])
            cells.add(f"accept_{connections}_per_second", sent["per_second"])
            cells.add(f"accept_{connections}_p50_ms", sent["p50_ms"])
            cells.add(f"accept_{connections}_p99_ms", sent["p99_ms"])
            cells.add(
                f"accept_{connections}_cpu_us", (cpu_seconds(site.child.pid) - cpu) / messages * 1e6
            )
            cells.add(
                f"accept_{connections}_server_cpu_us",
                (cpu_seconds(site.server_pid()) - server) / messages * 1e6,
            )
        cells.add("disk_bytes_per_message", (disk_bytes(site.data) - before) / total)
        cells.add("resident_mb", site.resident_bytes() / 1e6)
        await site.stop()


async def delivery(cells: Cells, folder: Path, messages: int, lanes: int) -> None:
    """Drain rate of a backlog: accepted while the receiver is away, delivered in `lanes` lanes when it comes."""
    port, out = free_port(), free_port()
    site = Site(folder, mllp_in(port) + mllp_out(out, more=f"lanes = {lanes}"))
    async with running(site):
        await role("send", port, connections=64, messages=messages)
        assert site.child is not None
        cpu, server = cpu_seconds(site.child.pid), cpu_seconds(site.server_pid())
        async with receiver(out, messages) as seen:
            got = await seen
        assert got["different"] == messages, got
        cells.add(f"deliver_{lanes}_per_second", got["per_second"])
        cells.add(f"deliver_{lanes}_duplicates", got["duplicates"])
        cells.add(f"deliver_{lanes}_cpu_us", (cpu_seconds(site.child.pid) - cpu) / messages * 1e6)
        cells.add(
            f"deliver_{lanes}_server_cpu_us",
            (cpu_seconds(site.server_pid()) - server) / messages * 1e6,
        )
        await site.stop()


async def open_loop(cells: Cells, folder: Path, messages: int) -> None:
    """Latency from the moment a message was due to its arrival at the receiver, at 50 messages a second."""
    port, out = free_port(), free_port()
    site = Site(folder, mllp_in(port) + mllp_out(out))
    async with receiver(out, messages) as seen, running(site):
        await role("send", port, connections=4, messages=messages, rate=50)
        got = await seen
        cells.add("open_50_p50_ms", got["p50_ms"])
        cells.add("open_50_p99_ms", got["p99_ms"])
        await site.stop()


BUDGETS: tuple[tuple[str, str, float, bool, str], ...] = (
    (
        "accept_8_per_second",
        "accepted (stored), 8 connections, messages/s",
        1400,
        True,
        "309 to 465",
    ),
    (
        "deliver_1_per_second",
        "delivered to one ordered receiver, messages/s",
        700,
        True,
        "137; 72 to 90",
    ),
    ("deliver_8_per_second", "delivered in 8 patient lanes, messages/s", 1400, True, "-"),
    ("open_50_p50_ms", "end to end at 50/s, p50 ms", 5, False, "213; 7.5"),
    ("open_50_p99_ms", "end to end at 50/s, p99 ms", 25, False, "919; 61"),
    ("disk_bytes_per_message", "bytes on disk per 1.3 KB message", 2600, False, "9 300; 7 400"),
)


def report(cells: Cells) -> list[Result]:
    """One row a budget: median, budget, and how far inside it (over 1 is inside)."""
    rows = []
    for name, label, budget, at_least, engines in BUDGETS:
        value = cells.median(name)
        ratio = value / budget if at_least else budget / value
        rows.append(
            {
                "what": label,
                "median": round(value, 2),
                "budget": budget,
                "ratio": round(ratio, 2),
                "engines": engines,
            }
        )
    return rows


async def measure(rounds: int, messages: int) -> Cells:
    """Run every cell in turn, `rounds` times."""
    cells = Cells()
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="medmesh-bench-") as scratch:
            folder = Path(scratch)
            for name in ("acceptance", "ordered", "lanes", "open"):
                (folder / name).mkdir()
            await bare(cells, folder, messages)
            await acceptance(cells, folder / "acceptance", messages)
            await delivery(cells, folder / "ordered", messages, 1)
            await delivery(cells, folder / "lanes", messages, 8)
            await open_loop(cells, folder / "open", min(messages, 400))
    return cells


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--messages", type=int, default=2000)
    arguments = parser.parse_args()
    cells = asyncio.run(measure(arguments.rounds, arguments.messages))
    rows = report(cells)
    if arguments.json:
        print(
            json.dumps(
                {
                    "budgets": rows,
                    "cells": {k: round(statistics.median(v), 2) for k, v in cells.values.items()},
                }
            )
        )
        return
    print(f"{'what':52} {'median':>10} {'budget':>8} {'ratio':>6}  best open engines")
    for row in rows:
        print(
            f"{row['what']:52} {row['median']:>10} {row['budget']:>8} {row['ratio']:>5}x  {row['engines']}"
        )
    print("\nmedians of all cells (bare = the receiver alone, the baseline of this run):")
    for name, values in sorted(cells.values.items()):
        print(
            f"  {name:34} {statistics.median(values):>12.2f}   {min(values):.2f} to {max(values):.2f}"
        )


if __name__ == "__main__":
    main()
