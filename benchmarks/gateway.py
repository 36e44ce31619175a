"""The gateway's hot path against a bare ASGI echo on the same server: CPU for each request, by process.

    python -m benchmarks.gateway [--json] [--rounds 5] [--requests 20000]

Every side is one process on granian and uvloop, asked by h2load with 32 connections; what it is asked holds 70 bytes.
`echo` reads the body and sends it back. `request` and `publish` are the gateway with a mesh that answers at once, so
what they cost beyond `echo` is the gateway's own work: routes, origins, access, rights, the access record, headers.
`echo rsgi` is the same echo on granian's own interface: what ASGI itself costs. `known` is `request` by a client with
an API key, rights and a rate.
`site` rows are the whole way, `medmesh up` with a real carrier, and `call` is the same call made by a Python program
without any gateway. `nginx` and `envoy` are such a proxy in front of `echo`: point to point, nothing sealed, signed,
recorded or asked. Of these `all` counts every process: proxy and service; gateway, nats-server and service.
Rounds are interleaved.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import random
import shutil
import signal
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, cast

from granian.constants import Interfaces
from granian.server.embed import Server

from benchmarks.mllp import cpu_seconds
from benchmarks.proxies import proxies
from bus.clock import SystemClock
from bus.events.protocol import Events, NewEvent, StoredEvent
from bus.services.protocol import Response
from bus.telemetry.counters import Counters
from bus.transport.memory import MemoryBroker
from bus.transport.protocol import KeyValue
from gateway.access.build import open_access
from gateway.contract import Call, GatewayRuntime, Receive, Scope, Send
from gateway.http import HttpFront
from gateway.http.server import HttpServer, Listening
from gateway.http.v1 import ApiPart
from medmesh import CallContext, Mesh, endpoint, service
from medmesh.cli.output import loop_factory
from schemas.gateway import GatewaySection
from schemas.subjects import SiteId
from tests.hospital import Process, Site, archive, eventually, running, start
from tests.ports import free_port

BODY = b'{"ward":"icu","beds":12,"note":"nothing that anybody would read ......"}'
REQUEST = "/v1/request/wards/echo"
PUBLISH = "/v1/publish/evt.north.result.reported"
KEY = f"mm_bench_{'k' * 43}"
CONNECTIONS = 32
_CALLS = 64


# -- servers ---------------------------------------------------------------------------------------


async def _echo(scope: Scope, receive: Receive, send: Send) -> None:
    message = await receive()
    body = message["body"]
    while message["more_body"]:
        message = await receive()
        body += message["body"]
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _rsgi_echo(scope: Any, proto: Any) -> None:  # noqa: ANN401 - granian's own
    body = await proto()
    proto.response_bytes(200, [("content-type", "application/json")], body)


async def _serve_rsgi(port: int, ended: asyncio.Event) -> None:
    server = Server(_rsgi_echo, port=port, interface=Interfaces.RSGI, log_enabled=False)
    serving = asyncio.create_task(server.serve())
    await asyncio.sleep(0)
    print("ready", flush=True)
    await ended.wait()
    server.stop()  # type: ignore[no-untyped-call]  # granian's own
    await serving


class _AtOnce:
    """A mesh without any delay."""

    async def publish(self, event: NewEvent, *, timeout_s: float = 30.0) -> StoredEvent:
        return StoredEvent(message_id=b"i" * 16, stream="evt-north", seq=1, duplicate=False)

    async def call(self, service: str, method: str, body: bytes, **more: object) -> Response:
        return Response(type="application/json", body=body, instance="i1")


async def _records(bucket: str, *, history: int = 1, max_age_s: float = 0.0) -> KeyValue:
    return await (await MemoryBroker().connect()).key_value(bucket)


async def _serve(kind: str, port: int) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    server: HttpServer | HttpFront
    if kind == "rsgi":
        await _serve_rsgi(port, ended)
        return
    if kind == "echo":
        server = HttpServer(
            _echo, Listening(host="127.0.0.1", port=port, max_header=32768, max_connections=1024)
        )
    else:
        section, mesh = _section(port, has_clients=kind == "known"), _AtOnce()
        runtime = GatewayRuntime(
            site=SiteId("north"), site_key=b"k" * 32, events=cast("Events", mesh),
            call=cast("Call", mesh.call), services=dict, catalogue=None, health=dict,
            is_connected=lambda: True, counters=Counters(), clock=SystemClock(),
            random=random.Random(1), folder=Path(), records=_records,
        )  # fmt: skip
        access = await open_access(section, runtime)
        part = ApiPart(section, runtime, access)
        server = HttpFront(section, runtime, access, [part], is_anonymous=access.is_anonymous)
    await server.start()
    print("ready", flush=True)
    await ended.wait()
    await server.stop()


def _section(port: int, *, has_clients: bool) -> GatewaySection:
    table: dict[str, Any] = {"listen": f"127.0.0.1:{port}"}
    if has_clients:
        known = f"sha256:{hashlib.sha256(KEY.encode()).hexdigest()}"
        rights = {"publish": ["evt.north.>"], "call": ["wards/*"], "rate": 1e6, "burst": 1_000_000}
        table["client"] = [{"name": "bench", "key": [{"hash": known}], **rights}]
    return GatewaySection.model_validate(table)


@service("wards", version="1.0.0")
class Wards:
    """Gives back what it gets."""

    @endpoint
    async def echo(self, request: bytes, call: CallContext) -> bytes:
        """Echo."""
        return request


async def _service(config: str) -> None:
    """The service behind the gateway."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    async with Mesh.connect(config, service="wards") as mesh:
        await mesh.serve(Wards())
        print("ready", flush=True)
        await ended.wait()


async def _caller(config: str, count: int) -> None:
    """Makes the same calls without a gateway."""
    async with Mesh.connect(config, service="asker") as mesh:

        async def some(number: int) -> None:
            for _ in range(number):
                await mesh.call("wards", "echo", BODY, reply=bytes, timeout_s=20)

        await some(5)
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        await asyncio.gather(*(some(count // _CALLS) for _ in range(_CALLS)))
        print("done", flush=True)
        await asyncio.to_thread(sys.stdin.readline)


# -- load ------------------------------------------------------------------------------------------


async def _load(
    url: str, count: int, body: Path, *, h2: bool = False, has_key: bool = False
) -> float:
    """Requests a second. Raises where one of them fails."""
    flags = ["-c", "8", "-m", "8"] if h2 else ["--h1", "-c", str(CONNECTIONS)]
    flags += ["-H", f"x-api-key: {KEY}"] if has_key else []
    process = await asyncio.create_subprocess_exec(
        "h2load", *flags, "-n", str(count), "-d", str(body), "-H", "content-type: application/octet-stream", url,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out = (await process.communicate())[0].decode()
    if f"{count} succeeded" not in out:
        raise RuntimeError(f"{url}: {out[-800:]}")
    finished = next(line for line in out.splitlines() if line.startswith("finished in"))
    return float(finished.split(",")[1].split()[0])


class Rows:
    """Microseconds of CPU for each request, by side and round."""

    def __init__(self) -> None:
        self.cpu_us: dict[str, list[float]] = {}
        self.per_s: dict[str, list[float]] = {}

    async def measure(
        self, name: str, pids: Sequence[int], url: str, count: int, body: Path, *,
        h2: bool = False, has_key: bool = False,
    ) -> None:  # fmt: skip
        """One round of one side. The first process has a row of its own where there are several."""
        before = [cpu_seconds(pid) for pid in pids]
        per_s = await _load(url, count, body, h2=h2, has_key=has_key)
        used = [cpu_seconds(pid) - then for pid, then in zip(pids, before, strict=True)]
        self.per_s.setdefault(name, []).append(per_s)
        self.cpu_us.setdefault(name, []).append(used[0] / count * 1e6)
        if len(pids) > 1:
            self.cpu_us.setdefault(f"{name}, all", []).append(sum(used) / count * 1e6)

    def median(self, name: str) -> float:
        """Its median."""
        return statistics.median(self.cpu_us[name])


async def _ready(child: Process) -> None:
    await eventually(lambda: bool(child.lines), within_s=60, what="a server that is ready")


async def _sides(rows: Rows, folder: Path, rounds: int, count: int) -> None:
    body = folder / "body"
    body.write_bytes(BODY)
    ports = {kind: free_port() for kind in ("echo", "rsgi", "edge", "known")}
    children = {
        kind: await start(["-m", "benchmarks.gateway", "--serve", kind, "--port", str(port)])
        for kind, port in ports.items()
    }
    try:
        for child in children.values():
            await _ready(child)
        for _ in range(rounds):
            for name, kind, path, h2 in (
                ("echo", "echo", "/", False),
                ("request", "edge", REQUEST, False),
                ("publish", "edge", PUBLISH, False),
                ("known", "known", REQUEST, False),
                ("echo rsgi", "rsgi", "/", False),
                ("echo h2c", "echo", "/", True),
                ("request h2c", "edge", REQUEST, True),
                ("echo rsgi h2c", "rsgi", "/", True),
            ):
                url, pids = f"http://127.0.0.1:{ports[kind]}{path}", [children[kind].pid]
                has_key = kind == "known"
                await rows.measure(name, pids, url, count, body, h2=h2, has_key=has_key)
    finally:
        for child in children.values():
            await child.stop()


async def _whole(rows: Rows, folder: Path, rounds: int, count: int) -> None:
    body = folder / "body"
    port = free_port()
    site = Site(folder, f'[gateway]\nlisten = "127.0.0.1:{port}"\n{archive(folder / "archive")}')
    base = f"http://127.0.0.1:{port}"
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(running(site))
        wards = await start(["-m", "benchmarks.gateway", "--service", str(site.config)])
        stack.push_async_callback(wards.stop)
        echo_port = free_port()
        echo = await start(
            ["-m", "benchmarks.gateway", "--serve", "echo", "--port", str(echo_port)]
        )
        stack.push_async_callback(echo.stop)
        found = await stack.enter_async_context(proxies(folder, echo_port))
        await _ready(echo)
        await _ready(wards)
        await _until_served(base + REQUEST, body)
        carrier = site.server_pid()
        assert site.child is not None
        assert carrier is not None
        own = [site.child.pid, carrier]
        for _ in range(rounds):
            await rows.measure("site request", [*own, wards.pid], base + REQUEST, count, body)
            await rows.measure("site publish", own, base + PUBLISH, count, body)
            for name, (pid, at) in found.items():
                await rows.measure(name, [pid, echo.pid], f"http://127.0.0.1:{at}/", count, body)
            await _call_round(rows, site, count)


async def _until_served(url: str, body: Path) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                await _load(url, CONNECTIONS, body)
                return
            except RuntimeError:
                await asyncio.sleep(0.2)


async def _call_round(rows: Rows, site: Site, count: int) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.gateway", "--caller", str(site.config), "--requests", str(count),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    await process.stdout.readline()
    before = cpu_seconds(process.pid)
    process.stdin.write(b"\n")
    await process.stdout.readline()
    made = count // _CALLS * _CALLS
    rows.cpu_us.setdefault("call", []).append((cpu_seconds(process.pid) - before) / made * 1e6)
    process.stdin.write(b"\n")
    await process.wait()


# -- report ----------------------------------------------------------------------------------------


def report(rows: Rows) -> Mapping[str, Any]:
    """Ratios of medians."""
    ratios = {
        "request / echo": rows.median("request") / rows.median("echo"),
        "publish / echo": rows.median("publish") / rows.median("echo"),
        "known / echo": rows.median("known") / rows.median("echo"),
        "request h2c / echo h2c": rows.median("request h2c") / rows.median("echo h2c"),
        "echo rsgi / echo": rows.median("echo rsgi") / rows.median("echo"),
        "echo rsgi h2c / echo h2c": rows.median("echo rsgi h2c") / rows.median("echo h2c"),
    }
    for proxy in ("nginx", "envoy"):
        if proxy in rows.cpu_us:
            theirs, ours = rows.median(f"{proxy}, all"), rows.median("site request, all")
            ratios[f"site request, all / {proxy}, all"] = ours / theirs
            per_s = [statistics.median(rows.per_s[name]) for name in ("site request", proxy)]
            ratios[f"requests/s: site request / {proxy}"] = per_s[0] / per_s[1]
    if "call" in rows.cpu_us:
        own = rows.median("site request") - rows.median("call")
        ratios["(site request - call) / echo"] = own / rows.median("echo")
    return {
        "cpu_us": {name: round(rows.median(name), 1) for name in rows.cpu_us},
        "per_s": {name: round(statistics.median(found)) for name, found in rows.per_s.items()},
        "ratios": {name: round(ratio, 2) for name, ratio in ratios.items()},
    }


async def _main(rounds: int, count: int, *, whole: bool) -> Mapping[str, Any]:
    if shutil.which("h2load") is None:
        raise SystemExit("h2load is not installed (Debian: nghttp2-client)")
    rows = Rows()
    with tempfile.TemporaryDirectory() as folder:
        await _sides(rows, Path(folder), rounds, count)
        if whole:
            await _whole(rows, Path(folder), rounds, count // 4)
    return report(rows)


def main() -> None:
    """Run it, or be one of its processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--edge-only", action="store_true", help="leave out what needs a carrier")
    for hidden in ("--serve", "--service", "--caller"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    told = parser.parse_args()
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        if told.serve:
            runner.run(_serve(told.serve, told.port))
        elif told.service:
            runner.run(_service(told.service))
        elif told.caller:
            runner.run(_caller(told.caller, told.requests))
        else:
            found = runner.run(_main(told.rounds, told.requests, whole=not told.edge_only))
            _print(found, as_json=told.json)


def _print(found: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(found))
        return
    for name, cpu_us in found["cpu_us"].items():
        rate = found["per_s"].get(name)
        print(f"{name:18} {cpu_us:8.1f} us CPU each" + (f" {rate:8} requests/s" if rate else ""))
    for name, ratio in found["ratios"].items():
        print(f"{name:36} {ratio:6.2f}")


if __name__ == "__main__":
    main()
