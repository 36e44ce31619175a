"""One end of a call, as a process of its own: a server or a client, of gRPC or of the mesh. Run by benchmarks.calls."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import time
from collections.abc import Awaitable, Callable

import uvloop

from medmesh import Mesh, endpoint, service

METHOD = "/medmesh.benchmark.Echo/Echo"
WARM_S = 0.4


@service("bench-echo", version="1.0.0")
class Echo:
    """Answers with what it was sent."""

    @endpoint(idempotent=True)
    async def echo(self, request: bytes) -> bytes:
        """The same bytes."""
        return request


async def load(call: Callable[[], Awaitable[None]], concurrency: int, seconds: float) -> None:
    """Call from so many tasks for so long, and print rate and latency."""
    took: list[float] = []
    begin = time.perf_counter() + WARM_S
    end = begin + seconds

    async def one() -> None:
        while (now := time.perf_counter()) < end:
            await call()
            if now >= begin:
                took.append(time.perf_counter() - now)

    cpu: list[float] = []
    asyncio.get_running_loop().call_later(WARM_S, lambda: cpu.append(time.process_time()))
    await asyncio.gather(*(one() for _ in range(concurrency)))
    used = time.process_time() - cpu[0]
    took.sort()
    print(
        json.dumps(
            {
                "calls": len(took),
                "per_second": len(took) / (time.perf_counter() - begin),
                "p50_ms": took[len(took) // 2] * 1e3,
                "p99_ms": took[int(len(took) * 0.99)] * 1e3,
                "cpu_us": used / len(took) * 1e6,
            }
        ),
        flush=True,
    )


async def until_told() -> None:
    """Say that this end is ready, and return on SIGTERM."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    print("ready", flush=True)
    await ended.wait()


async def grpc_server(port: int) -> None:
    """An echo server of grpc.aio, bytes in and out."""
    import grpc

    async def echo(request: bytes, _: grpc.aio.ServicerContext) -> bytes:
        return request

    service_name, _, method = METHOD[1:].partition("/")
    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(echo)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(service_name, {method: handler}),)
    )
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await until_told()
    await server.stop(None)


async def grpc_client(port: int, concurrency: int, seconds: float, size: int) -> None:
    """Calls through the sidecar on `port`."""
    import grpc

    body = bytes(size)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        echo = channel.unary_unary(METHOD)

        async def call() -> None:
            if len(await echo(body, timeout=10)) != size:
                raise RuntimeError("the echo is not what was sent")

        await call()
        await load(call, concurrency, seconds)


async def mesh_server(config: str) -> None:
    """An echo service on the mesh."""
    async with Mesh.connect(config, service="bench-echo") as mesh:
        await mesh.serve(Echo())
        await until_told()


async def mesh_client(config: str, concurrency: int, seconds: float, size: int) -> None:
    """Sealed calls through the mesh."""
    body = bytes(size)
    async with Mesh.connect(config, service="bench-caller") as mesh:

        async def call() -> None:
            if len(await mesh.call("bench-echo", "echo", body, reply=bytes, timeout_s=10)) != size:
                raise RuntimeError("the echo is not what was sent")

        await call()
        await load(call, concurrency, seconds)


def main() -> None:
    """Run one role."""
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "role", choices=("grpc-server", "grpc-client", "mesh-server", "mesh-client")
    )
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--config", default="")
    parser.add_argument("--concurrency", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--size", type=int, default=1024)
    given = parser.parse_args()
    if given.role == "grpc-server":
        asyncio.run(grpc_server(given.port))
    elif given.role == "grpc-client":
        asyncio.run(grpc_client(given.port, given.concurrency, given.seconds, given.size))
    elif given.role == "mesh-server":
        uvloop.run(mesh_server(given.config))
    else:
        uvloop.run(mesh_client(given.config, given.concurrency, given.seconds, given.size))


if __name__ == "__main__":
    main()
