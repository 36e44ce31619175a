"""What one durable publish costs, alone and in company: the numbers behind the threshold of atomic batches.

    python -m benchmarks.group_commit [--json] [--rounds 3]

One server, file storage, sync_interval always. Each size is stored in both ways, interleaved; beside them stands the
cost of an fsync of a file on the same disk, which bounds what one by one can reach.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import statistics
import tempfile
import time
from pathlib import Path

from bus.transport.nats import Credentials, NatsOptions, connect
from bus.transport.protocol import Outgoing, Stored, StreamSpec, Transport
from bus.transport.server import EmbeddedServer

SIZES = (1, 8, 16, 24, 64, 256)
BODY_BYTES = 1800
BUDGET = 10.0


def fsyncs_per_second(folder: Path, count: int = 100) -> float:
    """How many writes of one message a second the disk can make durable."""
    handle = os.open(folder / "fsync", os.O_CREAT | os.O_WRONLY, 0o600)
    began = time.perf_counter()
    for _ in range(count):
        os.write(handle, bytes(BODY_BYTES))
        os.fsync(handle)
    seconds = time.perf_counter() - began
    os.close(handle)
    return count / seconds


async def rate(transport: Transport, size: int, *, messages: int = 256) -> float:
    """Messages a second, stored in groups of `size`."""
    body = os.urandom(BODY_BYTES)
    groups = max(1, messages // size)
    began = time.perf_counter()
    for _ in range(groups):
        batch = [
            Outgoing(subject="evt.bench.raw.x.1", payload=body, message_id=secrets.token_hex(16))
            for _ in range(size)
        ]
        results = await transport.store.store(batch, timeout_s=30)
        assert all(isinstance(result, Stored) for result in results)
    return groups * size / (time.perf_counter() - began)


async def measure(rounds: int) -> dict[str, float]:
    """Median messages a second by way and size, and the disk's own rate."""
    cells: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="medmesh-bench-") as scratch:
        server = EmbeddedServer(Path(scratch) / "nats")
        access = await server.start()
        credentials = Credentials(user=access.user, password=access.password)
        single, atomic = [
            await connect(
                access.servers,
                name=name,
                credentials=credentials,
                options=NatsOptions(atomic_threshold=threshold),
            )
            for name, threshold in (("single", 100_000), ("atomic", 2))
        ]
        await single.store.ensure_stream(StreamSpec(name="bench", subjects=("evt.bench.>",)))
        for _ in range(rounds):
            cells.setdefault("fsync", []).append(fsyncs_per_second(Path(scratch)))
            for size in SIZES:
                cells.setdefault(f"single_{size}", []).append(await rate(single, size))
                if size > 1:
                    cells.setdefault(f"atomic_{size}", []).append(await rate(atomic, size))
        await single.close()
        await atomic.close()
        await server.stop()
    return {name: statistics.median(values) for name, values in cells.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    cells = asyncio.run(measure(arguments.rounds))
    alone = cells["single_1"]
    best = max(value for name, value in cells.items() if name != "fsync")
    if arguments.json:
        print(
            json.dumps(
                {
                    "cells": {k: round(v) for k, v in cells.items()},
                    "ratio": best / alone,
                    "budget": BUDGET,
                }
            )
        )
        return
    print(f"fsync of a file on this disk: {cells['fsync']:.0f}/s")
    print(f"{'group':>6} {'pipelined':>12} {'atomic':>12}   messages/s")
    for size in SIZES:
        atomic = cells.get(f"atomic_{size}")
        print(
            f"{size:>6} {cells[f'single_{size}']:>12.0f} {f'{atomic:.0f}' if atomic else '-':>12}"
        )
    print(f"group commit against one by one: {best / alone:.1f}x (budget {BUDGET:.0f}x)")


if __name__ == "__main__":
    main()
