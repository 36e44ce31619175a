"""What sharing a consumer costs, and how the cost grows with partitions and instances.

    python -m benchmarks.partitions [--json] [--messages 6400]

One server with sync_interval always. A backlog spread over 64 partitions is drained by an ordinary consumer and by
shared ones, with stand-ins for seals, so that consumers are measured and no cryptography. Instances have a connection
and a folder each, in this process: CPU per message is theirs together. `idle` is what a group costs that has nothing to
do, a second: CPU of its members and durable writes. A run begins with new places, each of which the server syncs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bus.clock import SystemClock
from bus.events.events import MeshEvents
from bus.events.partitions.records import MEMBER_BUCKET, PARTITION_BUCKET
from bus.events.protocol import (
    ConsumeSpec,
    Consumption,
    Handler,
    NewEvent,
    ReceivedEvent,
    SharedConsumption,
)
from bus.telemetry.counters import Counters
from bus.transport.nats import Credentials, connect
from bus.transport.protocol import Transport
from bus.transport.server import EmbeddedServer
from schemas.subjects import PARTITIONS
from tests.hospital import eventually
from tests.unit.bus.events.kit import SITE, PaperSeals, Vault

SPREADS = (1, 4, 16, 64)
CROWDS = (1, 2, 4, 8)
IDLE_S = 3.0


class Site:
    """A server, and services on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.vault = Vault()
        self.server = EmbeddedServer(folder / "nats")

    async def begin(self) -> None:
        access = await self.server.start()
        self.access = access
        self.transport, self.publisher = await self.service("emr-in")

    async def service(self, name: str) -> tuple[Transport, MeshEvents]:
        transport = await connect(
            self.access.servers,
            name=name,
            credentials=Credentials(user=self.access.user, password=self.access.password),
        )
        events = MeshEvents(
            site=SITE,
            transport=transport,
            seals=PaperSeals(self.vault, service=name, epoch_batches=1000),
            clock=SystemClock(),
            chance=random.Random(name),
            counters=Counters(),
            folder=self.folder / name,
        )
        await events.start()
        return transport, events

    async def publish(self, count: int) -> None:
        for first in range(0, count, 256):
            await asyncio.gather(
                *(
                    self.publisher.publish(
                        NewEvent(
                            subject=f"evt.north.raw.hl7v2.{n % PARTITIONS}",
                            type="hl7v2/ADT^A01",
                            body=bytes(1300),
                        )
                    )
                    for n in range(first, min(first + 256, count))
                )
            )

    async def writes(self) -> int:
        """How many records the buckets of groups were given so far."""
        states = await asyncio.gather(
            *(self.transport.store.stream_state(f"KV_{b}") for b in (PARTITION_BUCKET, MEMBER_BUCKET))
        )  # fmt: skip
        return sum(state.last_seq for state in states)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One run."""

    taken_s: float
    """Until every partition was held by somebody."""
    per_s: float
    cpu_us: float
    """Of all instances and the measuring, a message."""
    idle_cpu_ms: float
    """A second."""
    idle_writes: float
    """A second."""


@asynccontextmanager
async def instances(
    site: Site, group: str, count: int, spec: ConsumeSpec, handler: Handler
) -> AsyncIterator[list[Consumption]]:
    """So many instances of one consumer."""
    services = [await site.service(f"{group}-{n}") for n in range(count)]
    yield [await events.consume(spec, handler) for _, events in services]
    for transport, events in services:
        await events.drain(timeout_s=20)
        await events.stop()
        await transport.close()


async def run(
    site: Site, group: str, *, count: int, spread: int, messages: int, shared: bool
) -> Cell:
    """Take up, drain a backlog of `messages` in `spread` partitions, and be idle for a while."""
    wanted = messages * spread // PARTITIONS
    done, worked = asyncio.Event(), 0

    async def handle(received: ReceivedEvent) -> None:
        nonlocal worked
        worked += 1
        if worked >= wanted:
            done.set()

    patterns = tuple(f"evt.north.raw.*.{p}" for p in range(spread))
    if spread == PARTITIONS:
        patterns = ("evt.north.raw.>",)
    spec = ConsumeSpec(name=group, patterns=patterns, lanes=PARTITIONS, shared=shared)
    began, cpu = time.perf_counter(), time.process_time()
    async with instances(site, group, count, spec, handle) as running:
        await eventually(
            lambda: not shared or len(_held(running)) == spread, within_s=60, what="all are taken"
        )
        taken_s = time.perf_counter() - began
        async with asyncio.timeout(120):
            await done.wait()
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        before, idle_cpu = await site.writes() if shared else 0, time.process_time()
        await asyncio.sleep(IDLE_S)
        idle_cpu = time.process_time() - idle_cpu
        writes = await site.writes() - before if shared else 0
    return Cell(
        taken_s=taken_s,
        per_s=wanted / seconds,
        cpu_us=cpu / wanted * 1e6,
        idle_cpu_ms=idle_cpu / IDLE_S * 1e3,
        idle_writes=writes / IDLE_S,
    )


def _held(running: list[Consumption]) -> set[int]:
    return {
        view.partition
        for one in running
        if isinstance(one, SharedConsumption)
        for view in one.partitions()
        if view.is_here
    }


async def measure(messages: int) -> dict[str, Cell]:
    """Every cell, on one backlog."""
    cells = {}
    with tempfile.TemporaryDirectory(prefix="medmesh-bench-") as scratch:
        site = Site(Path(scratch))
        await site.begin()
        await site.publish(messages)
        cells["ordinary, 64 lanes"] = await run(
            site, "plain", count=1, spread=64, messages=messages, shared=False
        )
        for spread in SPREADS:
            cells[f"1 instance, {spread} partitions"] = await run(
                site, f"s{spread}", count=1, spread=spread, messages=messages, shared=True
            )
        for count in CROWDS[1:]:
            cells[f"{count} instances, 64 partitions"] = await run(
                site, f"c{count}", count=count, spread=64, messages=messages, shared=True
            )
        await site.publisher.stop()
        await site.transport.close()
        await site.server.stop()
    return cells


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--messages", type=int, default=6400)
    arguments = parser.parse_args()
    cells = asyncio.run(measure(arguments.messages))
    fields = list(Cell.__dataclass_fields__)
    if arguments.json:
        rows = {name: {f: round(getattr(cell, f), 3) for f in fields} for name, cell in cells.items()}  # fmt: skip
        print(json.dumps({"cells": rows}))
        return
    print(f"{'':<28}" + "".join(f"{field:>13}" for field in fields))
    for name, cell in cells.items():
        print(f"{name:<28}" + "".join(f"{getattr(cell, field):>13.2f}" for field in fields))


if __name__ == "__main__":
    main()
