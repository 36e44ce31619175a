"""A sealed call through the bus against mutual-TLS gRPC through two Envoy sidecars, same Python on both ends.

    make bench-peers && python -m benchmarks.calls [--json] [--rounds 5] [--seconds 3]

The baseline is the usual sidecar mesh: client (grpc.aio) -> its Envoy -> mutual TLS -> the server's Envoy -> server
(grpc.aio). Ours: client -> nats-server -> service, each request and response sealed, signed and verified end to end,
with discovery and balancing at work. Both echo 1 KiB. Rounds are interleaved; a round runs each side at 1, 8 and 64
calls at a time. CPU is counted by process and includes the sidecars, the broker and both ends.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks.mllp import Cells, cpu_seconds
from bus.clock import SystemClock
from bus.trust.tls import development_certificates
from tests.hospital import Process, Site, archive, eventually, running, start
from tests.ports import free_port

LEVELS = (1, 8, 64)
Json = dict[str, Any]


def sidecar(listen: int, upstream: int, *, server: Json | None, client: Json | None) -> Json:
    """An Envoy configuration: one HTTP/2 listener, one HTTP/2 upstream, TLS where a context is given."""
    kind = "type.googleapis.com/envoy.extensions"
    chain: Json = {
        "filters": [
            {
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": {
                    "@type": f"{kind}.filters.network.http_connection_manager.v3.HttpConnectionManager",
                    "codec_type": "AUTO",
                    "stat_prefix": "in",
                    "route_config": {
                        "virtual_hosts": [
                            {
                                "name": "all",
                                "domains": ["*"],
                                "routes": [
                                    {
                                        "match": {"prefix": "/"},
                                        "route": {"cluster": "up", "timeout": "0s"},
                                    }
                                ],
                            }
                        ]
                    },
                    "http_filters": [
                        {
                            "name": "envoy.filters.http.router",
                            "typed_config": {"@type": f"{kind}.filters.http.router.v3.Router"},
                        }
                    ],
                },
            }
        ]
    }
    cluster: Json = {
        "name": "up",
        "connect_timeout": "1s",
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": "up",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(upstream)}}]}],
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{kind}.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
    }
    tls = f"{kind}.transport_sockets.tls.v3"
    if server is not None:
        chain["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": f"{tls}.DownstreamTlsContext",
                "require_client_certificate": True,
                "common_tls_context": server,
            },
        }
    if client is not None:
        cluster["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {"@type": f"{tls}.UpstreamTlsContext", "common_tls_context": client},
        }
    listener = {"address": _address(listen), "filter_chains": [chain]}
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def _address(port: int) -> Json:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _tls_context(certificate: Path, key: Path, authority: Path) -> Json:
    return {
        "tls_params": {
            "tls_minimum_protocol_version": "TLSv1_3",
            "tls_maximum_protocol_version": "TLSv1_3",  # a client of Envoy stays at 1.2 without
        },
        "alpn_protocols": ["h2"],
        "tls_certificates": [
            {
                "certificate_chain": {"filename": str(certificate)},
                "private_key": {"filename": str(key)},
            }
        ],
        "validation_context": {"trusted_ca": {"filename": str(authority)}},
    }


async def ready(child: Process, what: str) -> None:
    """Wait for the child's first line."""
    await eventually(lambda: bool(child.lines) or child.process.returncode is not None,
                     within_s=60, what=f"{what} is ready")  # fmt: skip
    if child.process.returncode is not None:
        raise RuntimeError(f"{what} failed: {''.join(child.errors[-8:])}")


@asynccontextmanager
async def sidecars(folder: Path) -> AsyncIterator[tuple[int, Mapping[str, int]]]:
    """Server and two Envoys; gives the port for clients, and every process by name."""
    envoy = shutil.which("envoy", path=str(Path(sys.executable).parent)) or shutil.which("envoy")
    if envoy is None:
        raise SystemExit("envoy is not installed: `make bench-peers` installs the locked one")
    made = development_certificates(folder / "tls", clock=SystemClock(), days=1)
    tls = _tls_context(made.server_certificate, made.server_key, made.ca)
    own = _tls_context(made.client_certificate, made.client_key, made.ca)
    inner, middle, outer = free_port(), free_port(), free_port()
    server = await start(["-m", "benchmarks.call_load", "grpc-server", "--port", str(inner)])
    children: dict[str, asyncio.subprocess.Process] = {"server": server.process}
    try:
        await ready(server, "the gRPC server")
        for name, configuration in (
            ("envoy at the server", sidecar(middle, inner, server=tls, client=None)),
            ("envoy at the client", sidecar(outer, middle, server=None, client=own)),
        ):
            file = folder / f"{name.replace(' ', '-')}.json"
            file.write_text(json.dumps(configuration))
            with (folder / f"{file.stem}.log").open("wb") as log:
                children[name] = await asyncio.create_subprocess_exec(
                    envoy, "-c", str(file), "--concurrency", "1", "--disable-hot-restart",
                    "--use-dynamic-base-id", "-l", "warning", stdout=log, stderr=log,
                )  # fmt: skip
        for port in (middle, outer):
            await accepts(port)
        yield outer, {name: child.pid for name, child in children.items()}
    finally:
        for child in children.values():
            if child.returncode is None:
                child.terminate()
                await child.wait()


async def accepts(port: int) -> None:
    """Wait until something listens."""
    async with asyncio.timeout(30):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
                continue
            writer.close()
            return


@asynccontextmanager
async def mesh(folder: Path) -> AsyncIterator[tuple[Path, Mapping[str, int]]]:
    """A site with the echo service; gives its configuration, and every process by name."""
    site = Site(folder, archive(folder / "archive"))
    async with running(site):
        child = await start(
            ["-m", "benchmarks.call_load", "mesh-server", "--config", str(site.config)]
        )
        try:
            await ready(child, "the mesh service")
            server = site.server_pid()
            assert server is not None
            yield site.config, {"service": child.pid, "nats-server": server}
        finally:
            child.process.terminate()
            await child.ended()
        await site.stop()


async def measure(
    cells: Cells,
    side: str,
    client: list[str],
    processes: Mapping[str, int],
    level: int,
    seconds: float,
) -> None:
    """One client at one level, and what every process used for it."""
    before = {name: cpu_seconds(pid) for name, pid in processes.items()}
    arguments = ["--concurrency", str(level), "--seconds", str(seconds)]
    child = await start(["-m", "benchmarks.call_load", *client, *arguments])
    await child.ended()
    if child.process.returncode or not child.lines:
        raise RuntimeError(f"{client[0]} failed: {''.join(child.errors[-8:])}")
    result = json.loads(child.lines[-1])
    for key in ("per_second", "p50_ms", "p99_ms"):
        cells.add(f"{side}_{level}_{key}", result[key])
    warm_share = seconds / (seconds + 0.4)  # the others' CPU is counted over the warm-up as well
    total = result["cpu_us"]
    cells.add(f"{side}_{level}_cpu_us_client", result["cpu_us"])
    for name, pid in processes.items():
        used = (cpu_seconds(pid) - before[name]) * warm_share / result["calls"] * 1e6
        cells.add(f"{side}_{level}_cpu_us_{name.replace(' ', '_')}", used)
        total += used
    cells.add(f"{side}_{level}_cpu_us", total)


async def run(rounds: int, seconds: float) -> Cells:
    """Both sides at every level, round by round."""
    cells = Cells()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "mesh").mkdir()
        async with sidecars(folder) as (port, theirs), mesh(folder / "mesh") as (config, ours):
            for number in range(rounds):
                print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
                for level in LEVELS:
                    await measure(
                        cells, "grpc", ["grpc-client", "--port", str(port)], theirs, level, seconds
                    )
                    await measure(
                        cells,
                        "mesh",
                        ["mesh-client", "--config", str(config)],
                        ours,
                        level,
                        seconds,
                    )
    return cells


def report(cells: Cells) -> Json:
    """Medians and ratios."""
    result: Json = {name: cells.median(name) for name in sorted(cells.values)}
    for level in LEVELS:
        for key in ("per_second", "p50_ms", "cpu_us"):
            ours, theirs = (cells.median(f"{side}_{level}_{key}") for side in ("mesh", "grpc"))
            result[f"ratio_{level}_{key}"] = ours / theirs
    result["budgets"] = {
        "calls/s at 64, at least 3x": result["ratio_64_per_second"] >= 3,
        "p50 at 1, lower": result["ratio_1_p50_ms"] < 1,
    }
    return result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    cells = asyncio.run(run(given.rounds, given.seconds))
    result = report(cells)
    if given.json:
        print(json.dumps(result))
        return
    print("calls at a time   side   calls/s   p50 ms   p99 ms   CPU us a call, all processes")
    for level in LEVELS:
        for side in ("grpc", "mesh"):
            rate, p50, p99, cpu = (
                cells.median(f"{side}_{level}_{key}")
                for key in ("per_second", "p50_ms", "p99_ms", "cpu_us")
            )
            print(
                f"{level:>15} {side:>6} {rate:>9.0f} {p50:>8.2f} {p99:>8.2f} {cpu:>8.0f}: ", end=""
            )
            start = f"{side}_{level}_cpu_us_"
            parts = {n.removeprefix(start): cells.median(n) for n in cells.values if start in n}
            print(", ".join(f"{name} {used:.0f}" for name, used in parts.items()))
    print(f"calls/s at 64: {result['ratio_64_per_second']:.2f}x the sidecars' (budget 3x)")
    print(f"p50 at 1: {result['ratio_1_p50_ms']:.2f} of the sidecars' (budget: below 1)")


if __name__ == "__main__":
    main()
