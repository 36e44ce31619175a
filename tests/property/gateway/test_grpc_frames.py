"""Whatever bytes come, our own methods end with a status and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.access.protocol import Credentials
from gateway.grpc.exchange import Arrival
from gateway.grpc.foreign import HEALTH, REFLECTION, health_service, reflected
from gateway.grpc.names import split_path
from gateway.grpc.server import GrpcServer
from gateway.grpc.status import RpcFailed, Status, failure_of
from schemas.errors import MeshError
from schemas.gateway import GatewaySection
from tests.unit.gateway.grpc.world import TOKEN, FakeAccess, runtime

SECTION = GatewaySection.model_validate({"grpc": {"listen": "127.0.0.1:0"}})


@settings(max_examples=150, deadline=None)
@given(
    method=st.sampled_from(
        [
            "/medmesh.gateway.v1.Mesh/Publish",
            "/medmesh.gateway.v1.Mesh/PublishAll",
            "/medmesh.gateway.v1.Mesh/Request",
            "/medmesh.gateway.v1.Mesh/Subscribe",
            f"/{HEALTH}/Check",
            f"/{REFLECTION[0]}/ServerReflectionInfo",
        ]
    ),
    frames=st.lists(st.binary(max_size=80), max_size=3),
)
def test_random_frames_end_with_a_status(method: str, frames: list[bytes]) -> None:
    async def come() -> AsyncIterator[bytes]:
        for frame in frames:
            yield frame

    async def run() -> None:
        with TemporaryDirectory() as folder:
            access = FakeAccess(publish=(), call=())
            server = GrpcServer(SECTION, runtime(Path(folder)), access)
            operation = server.bridge.operation(method)
            arrival = Arrival(path=method, credentials=Credentials(authorization=TOKEN))
            try:
                _ = [one async for one in operation.run(arrival, come())]
            except MeshError as error:
                ended.append(failure_of(error))
            await server.stop()

    ended: list[RpcFailed] = []

    asyncio.run(run())
    assert all(one.status not in (Status.INTERNAL, Status.UNKNOWN) for one in ended)
    assert all(one.trailers() for one in ended)


@given(st.text(max_size=60))
def test_any_path_is_read_or_refused(path: str) -> None:
    parts = split_path(path)
    assert parts is None or f"/{parts[0]}/{parts[1]}" == path


@given(st.binary(max_size=100))
def test_frames_of_health_and_reflection_are_read_or_refused(frame: bytes) -> None:
    for reads in (health_service, reflected):
        with contextlib.suppress(RpcFailed):
            reads(frame)
