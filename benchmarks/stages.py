"""Where the time of one message goes: each stage of the main job alone, at the group sizes of 1 and 8 senders.

    python -m benchmarks.stages [--json] [--rounds 5]

The same synthetic messages as benchmarks/mllp.py. Pure stages are CPU time; store and send are wall time, since they
wait for the disk and for the receiver. The next bottleneck is the largest share.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from adapters.contract import Rights
from adapters.hl7v2.codec import AckCode, build_acknowledgement, parse_acknowledgement, peek
from adapters.hl7v2.codec.mllp import FrameDecoder, frame
from adapters.hl7v2.convert import Intent, to_event
from benchmarks.group_commit import fsyncs_per_second
from benchmarks.mllp_load import END, START, templates
from bus.clock import SystemClock
from bus.envelope.types import Plain, SealedEnvelope
from bus.events.content import to_content
from bus.events.protocol import NewEvent
from bus.telemetry.counters import Counters
from bus.transport.nats import Credentials, connect
from bus.transport.protocol import Outgoing, StreamSpec
from bus.transport.server import EmbeddedServer
from medmesh.runtime.memory import MemoryConnection
from medmesh.runtime.services import Service, Services
from schemas.subjects import SiteId
from tests.hospital import start
from tests.ports import free_port

SITE = SiteId("bench")
STAGES = ("parse", "answer", "seal", "publish", "fsync", "open", "send")
T = TypeVar("T")


def cpu(work: Callable[[], T]) -> tuple[float, T]:
    """Microseconds of this thread's CPU, and the result."""
    began = time.thread_time()
    result = work()
    return (time.thread_time() - began) * 1e6, result


def messages(count: int) -> list[bytes]:
    """Synthetic messages with control ids of their own."""
    cut = templates()
    return [
        (cut[n % len(cut)][0] + secrets.token_hex(9).encode() + cut[n % len(cut)][1])[
            len(START) : -len(END)
        ]
        for n in range(count)
    ]


def parse(batch: Sequence[bytes], intent: Intent) -> list[NewEvent]:
    """Frames to events, as the MLLP server does it."""
    decoder = FrameDecoder(max_message_bytes=1 << 20)
    events = []
    for message in batch:
        for event in decoder.feed(frame(message)):
            payload = getattr(event, "payload", b"")
            events.append(to_event(payload, peek(payload), intent, received_ms=0))
    return events


def answer(batch: Sequence[bytes]) -> None:
    """The acknowledgement of each."""
    for message in batch:
        build_acknowledgement(peek(message), AckCode.AA, control_id="1", now_ms=1_800_000_000_000)


def seal(service: Service, events: Sequence[NewEvent]) -> Sequence[SealedEnvelope]:
    """One signed batch."""
    plains = [
        Plain(
            subject=event.subject,
            content=to_content(
                event, message_id=event.message_id, source="emr-in", now_ms=1_800_000_000_000
            ),
        )
        for event in events
    ]
    return service.seals.seal(plains).envelopes


class Bench:
    """Everything that the stages stand on."""

    def __init__(self, reader: Service, writer: Service, intent: Intent) -> None:
        self.reader, self.writer, self.intent = reader, writer, intent
        self.opener = reader.seals.opener()
        self.cells: dict[str, list[float]] = {}

    def add(self, stage: str, size: int, microseconds: float) -> None:
        self.cells.setdefault(f"{stage}_{size}", []).append(microseconds / size)

    async def warm(self) -> None:
        """Publish the epoch's key once, as every sender does at its start."""
        events = parse(messages(1), self.intent)
        plain = Plain(
            subject=events[0].subject,
            content=to_content(
                events[0],
                message_id=events[0].message_id,
                source="emr-in",
                now_ms=1_800_000_000_000,
            ),
        )
        batch = self.writer.seals.seal([plain])
        for epoch, package in batch.key_packages:
            await self.writer.seals.publish_package(epoch, package)
            self.opener.opener.learn(package)  # type: ignore[attr-defined] # ServiceOpening, which keeps it public

    def pure(self, size: int) -> tuple[Sequence[NewEvent], Sequence[SealedEnvelope]]:
        """Parse, answer, seal and open one group."""
        batch = messages(size)
        spent, events = cpu(lambda: parse(batch, self.intent))
        self.add("parse", size, spent)
        self.add("answer", size, cpu(lambda: answer(batch))[0])
        spent, sealed = cpu(lambda: seal(self.writer, events))
        self.add("seal", size, spent)
        spent, _ = cpu(
            lambda: [
                self.opener.open(event.subject, one)
                for event, one in zip(events, sealed, strict=True)
            ]
        )
        self.add("open", size, spent)
        return events, sealed


async def exchange(port: int, batch: Sequence[bytes]) -> float:
    """Seconds to hand messages to a receiver, one after the other."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began = time.perf_counter()
    for message in batch:
        writer.write(START + message + END)
        raw = await reader.readuntil(END)
        parse_acknowledgement(raw[len(START) : -len(END)])
    seconds = time.perf_counter() - began
    writer.close()
    await writer.wait_closed()
    return seconds


async def measure(rounds: int) -> dict[str, float]:
    """Median microseconds a message by stage and group size."""
    clock, counters = SystemClock(), Counters()
    connection = MemoryConnection(SITE, clock, counters, name="stages")
    await connection.start()
    services = Services(connection, clock=clock, counters=counters, chance=random.Random())
    await services.start()
    writer = await services.open("emr-in", Rights(publish=(f"evt.{SITE}.>",)))
    reader = await services.open("his-out", Rights(subscribe=(f"evt.{SITE}.>",)))
    intent = Intent(
        site=SITE,
        site_key=secrets.token_bytes(32),
        adapter="emr-in",
        event="hl7v2",
        charset="ASCII",
        receipts_from=(),
        random_bytes=secrets.token_bytes,
    )
    bench = Bench(reader, writer, intent)
    await bench.warm()
    port = free_port()
    sink = await start(["-m", "benchmarks.mllp_load", "sink", "--port", str(port)])
    with tempfile.TemporaryDirectory(prefix="medmesh-bench-") as scratch:
        server = EmbeddedServer(Path(scratch) / "nats")
        access = await server.start()
        transport = await connect(
            access.servers,
            name="stages",
            credentials=Credentials(user=access.user, password=access.password),
        )
        await transport.store.ensure_stream(StreamSpec(name="bench", subjects=(f"evt.{SITE}.>",)))
        for _ in range(rounds):
            fsync_us = 1e6 / fsyncs_per_second(Path(scratch))
            for size in (1, 8):
                for _ in range(max(1, 64 // size)):
                    events, sealed = bench.pure(size)
                    batch = [
                        Outgoing(
                            subject=event.subject, payload=one, message_id=event.message_id.hex()
                        )
                        for event, one in zip(events, sealed, strict=True)
                    ]
                    began = time.perf_counter()
                    await transport.store.store(batch, timeout_s=30)
                    stored_us = (time.perf_counter() - began) * 1e6
                    bench.add("publish", size, max(0.0, stored_us - fsync_us * size))
                    bench.add("fsync", size, fsync_us * size)
                bench.add("send", size, await exchange(port, messages(64)) / 64 * 1e6 * size)
        await transport.close()
        await server.stop()
    sink.kill()
    await sink.ended()
    await services.stop()
    await connection.stop()
    return {name: statistics.median(values) for name, values in bench.cells.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    cells = asyncio.run(measure(arguments.rounds))
    if arguments.json:
        print(json.dumps({name: round(value, 1) for name, value in cells.items()}))
        return
    print(
        f"{'stage':10} {'alone':>10} {'share':>7} {'of 8':>10} {'share':>7}   microseconds a message"
    )
    for stage in STAGES:
        row = [f"{stage:10}"]
        for size in (1, 8):
            value = cells[f"{stage}_{size}"]
            total = sum(cells[f"{other}_{size}"] for other in STAGES)
            row.append(f"{value:>10.1f} {value / total:>6.0%}")
        print(" ".join(row))


if __name__ == "__main__":
    main()
