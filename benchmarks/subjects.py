"""How cost grows with the number of subjects, 1 to 10 000: delivering, and storing. CPU by process.

    python -m benchmarks.subjects [--json] [--rounds 3]

`deliver`: one connection with a subscription for each subject, another one that publishes round robin over them.
`store`: the same round robin into one stream, in groups of 64, fsynced. `client` and `server` are microseconds of
processor time a message; both connections are in the client's process.
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

import uvloop

from benchmarks.mllp import cpu_seconds
from bus.transport.nats import Credentials, NatsTransport, connect
from bus.transport.protocol import Incoming, Outgoing, Stored, StreamSpec
from bus.transport.server import EmbeddedServer

COUNTS = (1, 100, 1_000, 10_000)
DELIVERED = 30_000
STORED = 1_920
GROUP = 64
BODY = os.urandom(512)


async def deliver(
    one: NatsTransport, other: NatsTransport, count: int, server: int
) -> dict[str, float]:
    """Publish round robin over `count` subjects that are all subscribed to."""
    root, left, done = f"local.bench{secrets.token_hex(4)}", DELIVERED, asyncio.Event()

    def take(_: Incoming) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            done.set()

    subscriptions = await asyncio.gather(
        *(one.messenger.subscribe(f"{root}.{number}", take) for number in range(count))
    )
    for number in range(count):  # each subject's first message asks the server for its refusals
        await other.messenger.publish(f"{root}.{number}", BODY)
    before, begun, cpu = cpu_seconds(server), time.perf_counter(), time.process_time()
    for number in range(DELIVERED):
        await other.messenger.publish(f"{root}.{number % count}", BODY)
        if number % 512 == 0:
            await asyncio.sleep(0)
    async with asyncio.timeout(60):
        await done.wait()
    result = {
        "per_second": DELIVERED / (time.perf_counter() - begun),
        "client": (time.process_time() - cpu) / DELIVERED * 1e6,
        "server": (cpu_seconds(server) - before) / DELIVERED * 1e6,
    }
    await asyncio.gather(*(one.close() for one in subscriptions))
    return result


async def store(transport: NatsTransport, count: int, server: int) -> dict[str, float]:
    """Store round robin over `count` subjects of one stream that holds a message of each already."""
    name = f"bench-{count}"
    await transport.store.ensure_stream(StreamSpec(name=name, subjects=(f"evt.{name}.>",)))
    held = (await transport.store.stream_state(name)).messages

    async def put(numbers: range) -> None:
        batch = [
            Outgoing(
                subject=f"evt.{name}.{number % count}",
                payload=BODY,
                message_id=secrets.token_hex(16),
            )
            for number in numbers
        ]
        results = await transport.store.store(batch, timeout_s=30)
        assert all(isinstance(result, Stored) for result in results)

    for start in range(held, count, 512):
        await put(range(start, min(count, start + 512)))
    before, begun, cpu = cpu_seconds(server), time.perf_counter(), time.process_time()
    for start in range(0, STORED, GROUP):
        await put(range(start, start + GROUP))
    return {
        "per_second": STORED / (time.perf_counter() - begun),
        "client": (time.process_time() - cpu) / STORED * 1e6,
        "server": (cpu_seconds(server) - before) / STORED * 1e6,
    }


async def measure(rounds: int) -> dict[str, float]:
    """Medians by way and number of subjects."""
    cells: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="medmesh-bench-") as scratch:
        embedded = EmbeddedServer(Path(scratch) / "nats")
        access = await embedded.start()
        credentials = Credentials(user=access.user, password=access.password)
        one, other = [
            await connect(access.servers, name=name, credentials=credentials)
            for name in ("reader", "writer")
        ]
        for _ in range(rounds):
            for count in COUNTS:
                for way, figures in (
                    ("deliver", await deliver(one, other, count, access.pid)),
                    ("store", await store(other, count, access.pid)),
                ):
                    for key, value in figures.items():
                        cells.setdefault(f"{way}_{count}_{key}", []).append(value)
        await one.close()
        await other.close()
        await embedded.stop()
    return {name: statistics.median(values) for name, values in cells.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = uvloop.run(measure(given.rounds))
    if given.json:
        print(json.dumps(found))
        return
    print("         subjects  messages/s  client us  server us  against one subject (CPU)")
    for way in ("deliver", "store"):
        for count in COUNTS:
            rate, client, server = (
                found[f"{way}_{count}_{key}"] for key in ("per_second", "client", "server")
            )
            first = found[f"{way}_1_client"] + found[f"{way}_1_server"]
            print(
                f"{way:8} {count:8} {rate:11.0f} {client:10.1f} {server:10.1f}  {(client + server) / first:.2f}x"
            )


if __name__ == "__main__":
    main()
