"""MLLP load and a receiver, each a process of its own, for benchmarks/mllp.py.

    python -m benchmarks.mllp_load send --port P --connections C --messages N [--rate R]
    python -m benchmarks.mllp_load sink --port P --expect N

Messages are synthetic: two ADT (8 segments) to one ORU (20 OBX), 1.3 KB on average, unique MSH-10. Without a rate each
microseconds, from which the sink takes the latency from source to receiver. Each role prints one JSON line.
message was due, so a stall is not hidden (no coordinated omission). MSH-10 carries the monotonic time of sending in
microseconds: the sink takes the latency from source to receiver from it. Each role ends with one JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

START, END = b"\x0b", b"\x1c\r"
FAMILIES = (
    "EXAMPLE",
    "MÜSTER",
    "SAMPLE",
    "DEMO",
    "BEISPIEL",
    "ÉXEMPLE",
    "SPECIMEN",
    "PROEFPERSOON",
)


def adt(i: int) -> str:
    """One ADT of eight segments."""
    name, event = FAMILIES[i % 8], ("A01", "A08", "A03", "A04")[i % 4]
    return (
        f"MSH|^~\\&|EMR|TESTHOSP|HIS|TESTHOSP|20260101120000||ADT^{event}^ADT_A01|@|P|2.5.1|||AL|NE||UNICODE UTF-8\r"
        f"EVN|{event}|20260101120000|||OP{i % 97:03d}^CLERK^ADMIT\r"
        f"PID|1||{100000 + i % 5000}^^^TESTHOSP^MR~{900000000 + i % 5000}^^^TESTAUTH^SS||{name}^TEST^Q||"
        f"19{40 + i % 60}0101|U||2106-3^White^HL70005|{i % 999} EXAMPLE ST^APT {i % 40}^SAMPLETOWN^ZZ^00000^USA^H"
        f"||^PRN^PH^^1^000^000{i % 10000:04d}"
        f"|||M^Married^HL70002||ACC{i:08d}^^^TESTHOSP^AN\r"
        "PD1|||MAIN CLINIC^^1001|2001^DOCTOR^DEMO^^^DR\r"
        f"NK1|1|{name}^NEXT|SPO^Spouse^HL70063|||^PRN^PH^^1^000^0000000\r"
        f"PV1|1|I|4W^{400 + i % 30}^{1 + i % 2}^TESTHOSP||||2001^DOCTOR^DEMO^^^DR|2002^DOCTOR^OTHER^^^DR||MED||||7|||"
        f"2001^DOCTOR^DEMO^^^DR|INP|V{i:08d}^^^TESTHOSP^VN|||||||||||||||||||||||||20260101110000\r"
        "AL1|1|DA|70618^PENICILLIN^RXNORM|MO|RASH\r"
        "DG1|1||I10^Essential hypertension^I10|||A\r"
        f"IN1|1|PPO^Preferred|INS{i % 50}|TEST INSURER|PO BOX 1^^SAMPLETOWN^ZZ^00000|||GRP{i % 500}"
        f"|||||||||{name}^TEST|SEL\r"
    )


def oru(i: int) -> str:
    """One ORU with twenty OBX."""
    head = (
        "MSH|^~\\&|LAB|TESTHOSP|EMR|TESTHOSP|20260101120000||ORU^R01^ORU_R01|@|P|2.5.1|||AL|NE||UNICODE UTF-8\r"
        f"PID|1||{100000 + i % 5000}^^^TESTHOSP^MR||{FAMILIES[i % 8]}^TEST^Q||19{40 + i % 60}0101|U\r"
        f"PV1|1|I|4W^{400 + i % 30}^1^TESTHOSP\r"
        f"ORC|RE|ORD{i:08d}|FIL{i:08d}||CM\r"
        f"OBR|1|ORD{i:08d}|FIL{i:08d}|58410-2^CBC panel^LN|||20260101113000"
        "|||||||||2001^DOCTOR^DEMO||||||20260101115500|||F\r"
    )
    return head + "".join(
        f"OBX|{k + 1}|NM|718-7^Hemoglobin^LN||{14.1 + (i % 7) * 0.1:.2f}|g/dL|13.2-16.6|N|||F"
        f"|||20260101115500||TECH{i % 20}^^^TESTHOSP\r"
        for k in range(20)
    )


def templates() -> list[tuple[bytes, bytes]]:
    """Framed messages cut where the control id goes."""
    cut = []
    for i in range(96):
        before, after = (oru(i) if i % 3 == 0 else adt(i)).encode().split(b"@", 1)
        cut.append((START + before, after + END))
    return cut


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """Milliseconds at a share (0 to 1) of ordered seconds."""
    return (
        round(ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1e3, 3)
        if ordered
        else None
    )


@dataclass
class Run:
    """What all connections of one load share."""

    total: int
    templates: list[tuple[bytes, bytes]]
    closed_loop: bool
    done: asyncio.Future[None]
    next: int = 0
    answered: int = 0
    bytes: int = 0
    codes: dict[str, int] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)
    lost: int = 0


class Source(asyncio.Protocol):
    """One sending connection."""

    def __init__(self, run: Run) -> None:
        self.run, self.buffer, self.due = run, bytearray(), dict[bytes, float]()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, due: float) -> None:
        run = self.run
        control = b"T%012x%06x" % (time.monotonic_ns() // 1000, run.next)
        before, after = run.templates[run.next % len(run.templates)]
        run.next += 1
        run.bytes += len(before) + len(after) + len(control) - 3
        self.due[control] = due
        self.transport.write(before + control + after)

    def data_received(self, data: bytes) -> None:
        run, buffer = self.run, self.buffer
        buffer += data
        while (end := buffer.find(END)) >= 0:
            answer = bytes(buffer[:end])
            del buffer[: end + 2]
            fields = answer[answer.find(b"\rMSA|") + 5 :].split(b"\r", 1)[0].split(b"|")
            now = time.monotonic()
            run.latencies.append(now - self.due.pop(fields[1]))
            code = fields[0].decode()
            run.codes[code] = run.codes.get(code, 0) + 1
            run.answered += 1
            if run.closed_loop and run.next < run.total:
                self.send(now)
            if run.answered + run.lost >= run.total and not run.done.done():
                run.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self.run.lost += len(self.due)
        if self.due and not self.run.done.done():
            self.run.done.set_result(None)


async def send(arguments: argparse.Namespace) -> dict[str, Any]:
    """Send everything and return what was measured."""
    loop = asyncio.get_running_loop()
    run = Run(arguments.messages, templates(), arguments.rate is None, loop.create_future())
    sources = [
        (await loop.create_connection(lambda: Source(run), "127.0.0.1", arguments.port))[1]
        for _ in range(arguments.connections)
    ]
    began = time.monotonic()
    if run.closed_loop:
        for source in sources[: run.total]:
            source.send(time.monotonic())
    else:
        for i in range(run.total):
            due = began + i / arguments.rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            sources[i % len(sources)].send(due)
    async with asyncio.timeout(arguments.timeout):
        await run.done
    seconds = time.monotonic() - began
    for source in sources:
        source.transport.close()
    ordered = sorted(run.latencies)
    return {
        "connections": arguments.connections,
        "messages": run.answered,
        "seconds": round(seconds, 3),
        "per_second": round(run.answered / seconds, 1),
        "p50_ms": percentile(ordered, 0.5),
        "p99_ms": percentile(ordered, 0.99),
        "codes": run.codes,
        "lost": run.lost,
        "mean_bytes": round(run.bytes / max(1, run.next)),
    }


@dataclass
class Seen:
    """What the receiver saw."""

    messages: int = 0
    duplicates: int = 0
    first: float = 0.0
    last: float = 0.0
    ids: set[bytes] = field(default_factory=set)
    latencies: list[float] = field(default_factory=list)


class Sink(asyncio.Protocol):
    """One receiving connection: AA at once."""

    def __init__(self, seen: Seen, expect: int, done: asyncio.Event) -> None:
        self.seen, self.expect, self.done, self.buffer = seen, expect, done, bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        seen, buffer = self.seen, self.buffer
        buffer += data
        while (end := buffer.find(END)) >= 0:
            header = bytes(buffer[: buffer.find(b"\r")]).split(b"|")
            del buffer[: end + 2]
            control, now = header[9], time.monotonic()
            seen.messages += 1
            seen.duplicates += control in seen.ids
            seen.ids.add(control)
            seen.first, seen.last = seen.first or now, now
            seen.latencies.append(now - int(control[1:13], 16) / 1e6)
            self.transport.write(
                START
                + b"MSH|^~\\&|SINK|X|MESH|X|20260101120000||ACK|A%d|P|2.5.1\rMSA|AA|%s\r"
                % (seen.messages, control)
                + END
            )
            if len(seen.ids) == self.expect:
                self.done.set()


async def sink(arguments: argparse.Namespace) -> dict[str, Any]:
    """Receive until everything has come or SIGTERM, and return what was measured."""
    loop = asyncio.get_running_loop()
    seen, done = Seen(), asyncio.Event()
    await loop.create_server(
        lambda: Sink(seen, arguments.expect, done), "127.0.0.1", arguments.port
    )
    loop.add_signal_handler(signal.SIGTERM, done.set)
    print("ready", flush=True)
    async with asyncio.timeout(arguments.timeout):
        await done.wait()
    ordered, seconds = sorted(seen.latencies), seen.last - seen.first
    return {
        "messages": seen.messages,
        "different": len(seen.ids),
        "duplicates": seen.duplicates,
        "seconds": round(seconds, 3),
        "per_second": round(seen.messages / seconds, 1) if seconds else None,
        "p50_ms": percentile(ordered, 0.5),
        "p99_ms": percentile(ordered, 0.99),
    }


def main() -> None:
    """Parse the command line and run one role."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("role", choices=("send", "sink"))
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--messages", type=int, default=1000)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--expect", type=int, default=0)
    parser.add_argument("--timeout", type=float, default=120)
    arguments = parser.parse_args()
    if os.name == "posix":
        import uvloop

        print(
            json.dumps(
                uvloop.run(send(arguments) if arguments.role == "send" else sink(arguments))
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
