"""gRPC through the gateway to a sealed service of the mesh, against the same client at a grpcio server directly.

    python -m benchmarks.grpc_bridge [--json] [--rounds 3] [--seconds 2]

direct   client (grpc.aio) -> echo server (grpc.aio): no mesh, no TLS, nothing sealed.
bridge   client -> gateway (grpc.aio, generic) -> nats-server -> echo service of the mesh; each call sealed, signed and
         verified end to end, balanced, with the client's rights asked. Its kind is known from a descriptor.
strict   the same without a descriptor: the gateway holds the method to be unary on grpcio's streaming path.

Both echo 1 KiB. Rounds are interleaved; a round runs each side at 1, 8 and 64 calls at a time. CPU is that of every
process, in microseconds a call. Access records are not kept here: what they cost is what a durable publish costs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvloop
from google.protobuf import descriptor_pb2, wrappers_pb2

from benchmarks.call_load import until_told
from benchmarks.calls import LEVELS, Json, accepts, measure, mesh, ready
from benchmarks.mllp import Cells
from bus.catalogue import Catalogue
from bus.clock import SystemClock
from bus.services.protocol import Request, Response
from bus.telemetry.counters import Counters
from gateway.access.protocol import AccessRecord, Client, Credentials, Proof
from gateway.contract import GatewayRuntime
from gateway.grpc import GrpcServer
from medmesh import Mesh
from schemas.gateway import GatewaySection
from schemas.subjects import SiteId
from tests.hospital import start
from tests.ports import free_port

SERVICE = "medmesh.benchmark.Echo"
SIDES = ("direct", "bridge", "strict")


class Everybody:
    """An access that allows everything and keeps nothing."""

    _client = Client(name="bench", proof=Proof.NOTHING)

    async def identify(self, credentials: Credentials) -> Client:
        return self._client

    def admit(self, client: Client) -> None:
        pass

    def may_publish(self, client: Client, subject: str) -> None:
        pass

    def may_subscribe(self, client: Client, pattern: str) -> None:
        pass

    def may_call(self, client: Client, service: str, method: str) -> None:
        pass

    def may_fhir(self, client: Client, resource_type: str, deed: str) -> None:
        pass

    def may_operate(self, client: Client, deed: str) -> None:
        pass

    async def record(self, record: AccessRecord) -> None:
        pass


def echo_files() -> bytes:
    """A descriptor set of the echo service."""
    wrappers = descriptor_pb2.FileDescriptorProto()
    wrappers_pb2.DESCRIPTOR.CopyToProto(wrappers)
    own = descriptor_pb2.FileDescriptorProto(
        name="echo.proto", package="medmesh.benchmark", syntax="proto3", dependency=[wrappers.name]
    )
    kind = ".google.protobuf.BytesValue"
    own.service.add(name="Echo").method.add(name="Echo", input_type=kind, output_type=kind)
    return descriptor_pb2.FileDescriptorSet(file=[wrappers, own]).SerializeToString()


async def gateway(config: str, port: int, descriptors: str) -> None:
    """The gRPC side of a gateway on the mesh of `config`."""
    table: Json = {"listen": f"127.0.0.1:{port}", "services": {SERVICE: "bench-echo"}}
    table["descriptors"] = [descriptors] if descriptors else []
    async with Mesh.connect(config, service="bench-gateway") as joined:
        caller = await joined._caller("bench-echo", 1)
        registry = await joined._calls.registry(joined._opened)

        async def call(
            service: str,
            method: str,
            body: bytes,
            *,
            type: str,
            version: int = 1,
            **options: Any,  # noqa: ANN401 -- what a call takes
        ) -> Response:
            wanted = Request(
                service=service,
                major=version,
                method=method,
                type=type,
                body=body,
                id=options.pop("call_id"),
                priority=options.pop("priority"),
                traceparent=options.pop("traceparent"),
            )
            return await caller.call(wanted, **options)

        runtime = GatewayRuntime(
            site=SiteId("north"),
            site_key=bytes(32),
            events=joined.events,
            call=call,
            services=registry.services,
            catalogue=no_catalogue(),
            health=dict,
            is_connected=lambda: True,
            counters=Counters(),
            clock=SystemClock(),
            random=random.Random(),
            folder=Path(config).parent,
            records=joined._services._connection.transport.key_value,
        )
        section = GatewaySection.model_validate({"grpc": table})
        server = GrpcServer(section, runtime, Everybody())
        await server.start()
        await until_told()
        await server.stop()


def no_catalogue() -> Catalogue | None:
    """Nothing is bound here."""
    return None


@asynccontextmanager
async def sides(folder: Path) -> AsyncIterator[Mapping[str, tuple[int, Mapping[str, int]]]]:
    """Every server; gives the port for clients and the processes of each side."""
    described = folder / "echo.binpb"
    described.write_bytes(echo_files())
    direct, known, strict = free_port(), free_port(), free_port()
    (folder / "mesh").mkdir()
    async with mesh(folder / "mesh") as (config, ours):
        starts = {
            "direct": ["benchmarks.call_load", "grpc-server", "--port", str(direct)],
            "bridge": [__spec__.name, "--gateway", str(known), "--config", str(config),
                       "--descriptors", str(described)],
            "strict": [__spec__.name, "--gateway", str(strict), "--config", str(config)],
        }  # fmt: skip
        children = {name: await start(["-m", *words]) for name, words in starts.items()}
        try:
            for name, child in children.items():
                await ready(child, name)
            for port in (direct, known, strict):
                await accepts(port)
            yield {
                "direct": (direct, {"server": children["direct"].pid}),
                "bridge": (known, {"gateway": children["bridge"].pid, **ours}),
                "strict": (strict, {"gateway": children["strict"].pid, **ours}),
            }
        finally:
            for child in children.values():
                if child.process.returncode is None:
                    child.process.terminate()
                await child.ended()


async def run(rounds: int, seconds: float) -> Cells:
    """Every side at every level, round by round."""
    cells = Cells()
    with tempfile.TemporaryDirectory() as name:
        async with sides(Path(name)) as found:
            for number in range(rounds):
                print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
                for level in LEVELS:
                    for side in SIDES:
                        port, processes = found[side]
                        client = ["grpc-client", "--port", str(port)]
                        await measure(cells, side, client, processes, level, seconds)
    return cells


def report(cells: Cells) -> Json:
    """Medians, and ratios against the direct call."""
    result: Json = {name: cells.median(name) for name in sorted(cells.values)}
    for side in SIDES[1:]:
        for level in LEVELS:
            for key in ("per_second", "p50_ms", "cpu_us"):
                ours, theirs = (cells.median(f"{one}_{level}_{key}") for one in (side, "direct"))
                result[f"ratio_{side}_{level}_{key}"] = ours / theirs
            server = cells.median(f"direct_{level}_cpu_us_server")
            own = cells.median(f"{side}_{level}_cpu_us_gateway")
            result[f"ratio_{side}_{level}_gateway_cpu"] = own / server
    return result


def show(cells: Cells, result: Json) -> None:
    """As a table."""
    print("calls at a time   side   calls/s   p50 ms   p99 ms   CPU us a call, all processes")
    for level in LEVELS:
        for side in SIDES:
            rate, p50, p99, cpu = (
                cells.median(f"{side}_{level}_{key}")
                for key in ("per_second", "p50_ms", "p99_ms", "cpu_us")
            )
            begin = f"{side}_{level}_cpu_us_"
            parts = {n.removeprefix(begin): cells.median(n) for n in cells.values if begin in n}
            shares = ", ".join(f"{name} {used:.0f}" for name, used in parts.items())
            print(
                f"{level:>15} {side:>6} {rate:>9.0f} {p50:>8.2f} {p99:>8.2f} {cpu:>8.0f}: {shares}"
            )
    for side in SIDES[1:]:
        for level in LEVELS:
            rate, cpu, own = (
                result[f"ratio_{side}_{level}_{key}"]
                for key in ("per_second", "cpu_us", "gateway_cpu")
            )
            print(
                f"{side} at {level}: {rate:.2f}x the calls/s of the direct call, {cpu:.2f}x its CPU in all; "
                f"the gateway {own:.2f}x the direct server"
            )


def main() -> None:
    """Measure and print; or be the gateway of a measurement."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--gateway", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--config", default="", help=argparse.SUPPRESS)
    parser.add_argument("--descriptors", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.gateway:
        uvloop.run(gateway(given.config, given.gateway, given.descriptors))
        return
    cells = asyncio.run(run(given.rounds, given.seconds))
    result = report(cells)
    if given.json:
        print(json.dumps(result))
    else:
        show(cells, result)


if __name__ == "__main__":
    main()
