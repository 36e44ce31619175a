"""Fan-out of server-sent events: one event given to many streams, against a bare ASGI application on the same server.

    python -m benchmarks.sse [--json] [--rounds 3] [--events 200] [--streams 1,100,1000]

`bare` holds a queue for each stream and puts the same bytes into all of them, with no rights, no positions and nothing
stored. `gateway` is `medmesh up`: each event is published over HTTP, sealed, stored, read back, opened once, made into
a server-sent event once and given to all. CPU is that of the serving process for each event delivered to a stream,
without the load generator; latency runs from before the publish to the arrival at a stream. Rounds are interleaved.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from benchmarks.mllp import cpu_seconds
from gateway.contract import Receive, Scope, Send
from gateway.http.server import HttpServer, Listening
from medmesh.cli.output import loop_factory
from tests.hospital import Site, eventually, running, start
from tests.ports import free_port

PUBLISH = "/v1/publish/evt.north.result.reported"
SUBSCRIBE = "/v1/subscribe/evt.north.%3E"
_MARK = b'at\\":'
_MARK_BARE = b'at":'
_PER_S = 40
_WAIT_S = 120.0


# -- the bare side ---------------------------------------------------------------------------------


class Bare:
    """Publishes by POST, streams by GET."""

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[bytes]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if scope["method"] == "POST":
            body = (await receive())["body"]
            for one in self._queues:
                one.put_nowait(b"data: " + body + b"\n\n")
            await send({"type": "http.response.start", "status": 202, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b":\n\n", "more_body": True})
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        self._queues.add(queue)
        gone = asyncio.ensure_future(receive())
        try:
            while not gone.done():
                step = asyncio.ensure_future(queue.get())
                await asyncio.wait((gone, step), return_when=asyncio.FIRST_COMPLETED)
                if not step.done():
                    step.cancel()
                    return
                await send({"type": "http.response.body", "body": step.result(), "more_body": True})
        finally:
            self._queues.discard(queue)


async def _serve(port: int) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    server = HttpServer(
        Bare(), Listening(host="127.0.0.1", port=port, max_header=32768, max_connections=4096)
    )
    await server.start()
    print("ready", flush=True)
    await ended.wait()
    await server.stop()


# -- load ------------------------------------------------------------------------------------------


class Reader:
    """One stream: counts events, and keeps how long each took."""

    def __init__(self, mark: bytes, latencies_ms: list[float]) -> None:
        self._mark = mark
        self._latencies_ms = latencies_ms
        self.seen = 0

    async def run(self, port: int, path: str, opened: asyncio.Semaphore) -> None:
        """Read until it is cancelled."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        try:
            await reader.readuntil(b"\n\n")
            opened.release()
            while chunk := await reader.read(1 << 16):
                now_ns = time.monotonic_ns()
                for part in chunk.split(self._mark)[1:]:
                    self.seen += 1
                    sent_ns = int(part.split(b"}")[0])
                    self._latencies_ms.append((now_ns - sent_ns) / 1e6)
        finally:
            writer.close()


async def _round(
    port: int, path: str, post: str, pid: int, streams: int, events: int, mark: bytes
) -> dict[str, float]:
    """One round of one side."""
    latencies_ms: list[float] = []
    opened = asyncio.Semaphore(0)
    readers = [Reader(mark, latencies_ms) for _ in range(streams)]
    tasks = [asyncio.create_task(reader.run(port, path, opened)) for reader in readers]
    try:
        async with asyncio.timeout(_WAIT_S), httpx.AsyncClient(timeout=30) as client:
            for _ in range(streams):
                await opened.acquire()
            await asyncio.sleep(0.5)
            before, began = cpu_seconds(pid), time.monotonic()
            for number in range(events):
                body = b'{"at":%d}' % time.monotonic_ns()
                answer = await client.post(f"http://127.0.0.1:{port}{post}", content=body)
                answer.raise_for_status()
                await asyncio.sleep(max(0.0, began + (number + 1) / _PER_S - time.monotonic()))
            while any(reader.seen < events for reader in readers):  # noqa: ASYNC110 - it is not told
                await asyncio.sleep(0.02)
            used, took_s = cpu_seconds(pid) - before, time.monotonic() - began
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    latencies_ms.sort()
    return {
        "cpu_us": used / (events * streams) * 1e6,
        "delivered_s": events * streams / took_s,
        "p50_ms": latencies_ms[len(latencies_ms) // 2],
        "p99_ms": latencies_ms[len(latencies_ms) * 99 // 100],
    }


async def measure(streams: list[int], rounds: int, events: int) -> dict[str, Any]:
    """Medians by side and number of streams."""
    found: dict[tuple[str, int], list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        port, bare_port = free_port(), free_port()
        more = f"[gateway.streams]\nmax_per_client = {max(streams) + 10}\n"
        site = Site(Path(folder), f'[gateway]\nlisten = "127.0.0.1:{port}"\n{more}')
        bare = await start(["-m", "benchmarks.sse", "--serve", str(bare_port)])
        try:
            await eventually(lambda: bool(bare.lines), within_s=60, what="the bare server")
            async with running(site):
                assert site.child is not None
                for count in (one for one in streams for _ in range(rounds)):
                    few = max(10, events if count < 1000 else events // 4)
                    for name, at, path, post, pid, mark in (
                        ("bare", bare_port, "/", "/", bare.pid, _MARK_BARE),
                        ("gateway", port, SUBSCRIBE, PUBLISH, site.child.pid, _MARK),
                    ):
                        cells = await _round(at, path, post, pid, count, few, mark)
                        found.setdefault((name, count), []).append(cells)
        finally:
            await bare.stop()
    medians = {
        key: {name: statistics.median(one[name] for one in cells) for name in cells[0]}
        for key, cells in found.items()
    }
    return {
        "rows": [
            {"side": side, "streams": count, **cells} for (side, count), cells in medians.items()
        ],
        "ratios": {
            f"cpu at {count} streams": medians["gateway", count]["cpu_us"]
            / medians["bare", count]["cpu_us"]
            for count in streams
        },
    }


def show(report: Mapping[str, Any]) -> None:
    """As a table."""
    for row in report["rows"]:
        print(
            f"{row['side']:8} {row['streams']:>5} streams  {row['cpu_us']:8.1f} us CPU an event and stream  "
            f"{row['delivered_s']:8.0f} delivered/s  p50 {row['p50_ms']:6.1f} ms  p99 {row['p99_ms']:6.1f} ms"
        )
    for name, ratio in report["ratios"].items():
        print(f"gateway / bare, {name}: {ratio:.2f}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--events", type=int, default=200)
    parser.add_argument("--streams", default="1,100,1000")
    parser.add_argument("--serve", type=int)
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        if options.serve:
            runner.run(_serve(options.serve))
            return
        streams = [int(one) for one in options.streams.split(",")]
        report = runner.run(measure(streams, options.rounds, options.events))
    if options.json:
        print(json.dumps(report))
    else:
        show(report)


if __name__ == "__main__":
    main()
