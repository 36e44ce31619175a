"""A member of a shared consumer as a process of its own: journals when each handler begins and how it ends.

`python tests/peers/member.py --server nats://… --folder … --name a`. Prints `ready`, and ends in good order on SIGTERM.
A line of the journal: begin or end or cancelled, monotonic seconds (the same clock in every process of a machine),
name, partition, number, fence.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bus.clock import SystemClock
from bus.events.events import MeshEvents
from bus.events.protocol import ConsumeSpec, ReceivedEvent
from bus.telemetry.counters import Counters
from bus.transport.nats import connect
from tests.unit.bus.events.kit import SITE, PaperSeals, Vault


class _Packages(dict[bytes, bytes]):
    """The packages of publishers in other processes: each is there."""

    def __contains__(self, epoch: object) -> bool:
        return True


class Journal:
    """Appends lines, each with one write: a kill leaves whole ones."""

    def __init__(self, path: Path, name: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._name = name

    def note(self, what: str, received: ReceivedEvent) -> None:
        partition, number = received.body.decode().split(":")
        line = f"{what} {time.monotonic():.6f} {self._name} {partition} {number} {received.fence}\n"
        os.write(self._file, line.encode())


async def main() -> None:
    parser = argparse.ArgumentParser()
    for option in ("server", "folder", "name"):
        parser.add_argument(f"--{option}", required=True)
    parser.add_argument("--work-s", type=float, default=0.003)
    options = parser.parse_args()
    folder = Path(options.folder)
    journal = Journal(folder / f"{options.name}.journal", options.name)

    async def handle(received: ReceivedEvent) -> None:
        journal.note("begin", received)
        try:
            await asyncio.sleep(options.work_s)
        except asyncio.CancelledError:
            journal.note("cancelled", received)
            raise
        journal.note("end", received)

    transport = await connect([options.server], name=options.name)
    events = MeshEvents(
        site=SITE,
        transport=transport,
        seals=PaperSeals(Vault(packages=_Packages()), service="lab"),
        clock=SystemClock(),
        chance=random.SystemRandom(),
        counters=Counters(),
        folder=folder / options.name,
    )
    await events.start()
    await events.consume(
        ConsumeSpec(name="lab", patterns=("evt.north.>",), shared=True, lanes=64), handle
    )
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    print("ready", flush=True)
    await ended.wait()
    await events.drain(timeout_s=15)
    await events.stop()
    await transport.close()


if __name__ == "__main__":
    asyncio.run(main())
