"""A mesh in memory with a laboratory service, and a gRPC gateway in front of it on a port of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.wrappers_pb2 import StringValue

from adapters.contract import Rights
from bus.events.following import Feed
from bus.events.protocol import Events
from bus.services.protocol import Request, Response
from gateway.contract import GatewayRuntime
from gateway.grpc import GrpcServer
from medmesh import (
    CallContext,
    CallRefused,
    InvalidRequest,
    Mesh,
    NotFoundThere,
    Overloaded,
    endpoint,
    service,
)
from schemas.gateway import GatewaySection
from tests.unit.gateway.grpc.world import RESULTS, TOKEN, FakeAccess, Records, lab_closure, runtime

METADATA = (("authorization", TOKEN),)
GET = f"/{RESULTS}/GetResult"


@dataclass
class Seen:
    """What the service saw."""

    calls: list[CallContext] = field(default_factory=list)
    left_s: list[float] = field(default_factory=list)
    hold: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by the test: calls of "wait" are answered then."""
    waiting: asyncio.Event = field(default_factory=asyncio.Event)


def laboratory(seen: Seen, *, metadata: Mapping[str, str], name: str = "lab") -> object:
    @service(name, version="1.0.0", metadata=metadata)
    class Lab:
        """Results by number."""

        @endpoint(idempotent=True)
        async def get_result(self, request: StringValue, call: CallContext) -> StringValue:
            seen.calls.append(call)
            seen.left_s.append(call.left_s())
            match request.value:
                case "wait":
                    seen.waiting.set()
                    await seen.hold.wait()
                case "none":
                    raise NotFoundThere("no_such_result", "nothing has that number")
                case "bad":
                    raise InvalidRequest("bad_number", "a number has five digits")
                case "secret":
                    raise CallRefused("not_yours", "")
                case "busy":
                    raise Overloaded("later, please", retry_after_s=45.0)
                case "crash":
                    raise RuntimeError("Jane Doe, born 1970")
                case _:
                    pass
            return StringValue(value=f"result of {request.value}")

    return Lab()


@dataclass
class World:
    """Everything that runs."""

    mesh: Mesh
    server: GrpcServer
    access: FakeAccess
    runtime: GatewayRuntime
    seen: Seen

    @property
    def address(self) -> str:
        return self.server.address

    def channel(self, **options: Any) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(self.address, **options)


def section(
    folder: Path, grpc_keys: Mapping[str, Any] | None = None, **keys: Any
) -> GatewaySection:
    table = {"listen": "127.0.0.1:0", **(grpc_keys or {})}
    return GatewaySection.model_validate({"grpc": table, **keys})


async def gateway_runtime(
    mesh: Mesh, folder: Path, records: Records, events: Events | None
) -> GatewayRuntime:
    """The mesh in the gateway's name, as the runtime of a site gives it."""
    await mesh._grow(Rights(publish=("evt.test.>",), subscribe=("evt.test.>",)))

    async def call(
        service: str, method: str, body: bytes, *, type: str, version: int = 1, **options: Any
    ) -> Response:
        caller = await mesh._caller(service, version)
        request = Request(
            service=service,
            major=version,
            method=method,
            type=type,
            body=body,
            id=options.pop("call_id", b""),
            priority=options.pop("priority"),
            traceparent=options.pop("traceparent", ""),
        )
        return await caller.call(request, **options)

    registry = await mesh._calls.registry(mesh._opened)
    return runtime(
        folder, call=call, events=events or mesh.events, services=registry.services, records=records
    )


@asynccontextmanager
async def gateway(
    folder: Path,
    *,
    grpc_keys: Mapping[str, Any] | None = None,
    metadata: Mapping[str, str] | None = None,
    feed: Feed | None = None,
    events: Events | None = None,
    is_described: bool = True,
    **keys: Any,
) -> AsyncIterator[World]:
    seen, access, records = Seen(), FakeAccess(), Records()
    told = {"grpc.services": RESULTS}
    if is_described:
        closure = lab_closure()
        told["grpc.schema"] = closure.schema
        bucket = await records("schemas")
        await bucket.put(f"sha256.{closure.schema}", closure.stored())
    async with Mesh.in_memory(service="gateway-test", site="test") as mesh:
        await mesh.serve(laboratory(seen, metadata={**told, **(metadata or {})}))
        made = await gateway_runtime(mesh, folder, records, events)
        if feed is not None:
            made = replace(made, feed=feed)
        server = GrpcServer(section(folder, grpc_keys, **keys), made, access)
        await server.start()
        try:
            yield World(mesh, server, access, made, seen)
        finally:
            seen.hold.set()
            await server.stop()
