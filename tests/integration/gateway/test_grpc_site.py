"""gRPC at the gateway of a running site: `medmesh up`, a real nats-server, the configured rights."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.access.keys import new_api_key
from medmesh import Mesh
from schemas.generated.medmesh.gateway.v1 import mesh_pb2 as pb
from tests.hospital import Site, archive, running
from tests.integration.gateway.grpc_mesh import GET, Seen, laboratory
from tests.ports import free_port
from tests.unit.gateway.grpc.world import RESULTS

pytestmark = [pytest.mark.server, pytest.mark.timeout(120)]

GATEWAY = """
[gateway]
listen = "127.0.0.1:{http}"

[gateway.grpc]
listen = "127.0.0.1:{port}"
"""
CLIENT = """
[[gateway.client]]
name = "viewer"
call = ["lab/get_result"]
publish = ["evt.north.raw.hl7v2.*"]

[[gateway.client.key]]
hash = "{hash}"
"""


@asynccontextmanager
async def site(folder: Path, more: str = "") -> AsyncIterator[tuple[Any, Mesh]]:
    """A site with a laboratory; a channel to its gateway."""
    port = free_port()
    extra = GATEWAY.format(http=free_port(), port=port) + more
    made = Site(folder, archive(folder / "archive"), extra=extra)
    async with running(made):
        async with (
            Mesh.connect(made.config, service="laboratory") as mesh,
            grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
        ):
            await mesh.serve(laboratory(Seen(), metadata={"grpc.services": RESULTS}))
            yield channel, mesh
        assert await made.stop() == 0


async def result(channel: Any, *metadata: tuple[str, str]) -> str:
    request = StringValue(value="7").SerializeToString()
    answer = await channel.unary_unary(GET)(
        request, metadata=metadata, timeout=20, wait_for_ready=True
    )
    return StringValue.FromString(answer).value


async def until_served(channel: Any) -> None:
    """Wait until the gateway has heard of the laboratory."""
    health = health_pb2_grpc.HealthStub(channel)
    wanted = health_pb2.HealthCheckRequest(service=RESULTS)
    async for told in health.Watch(wanted, timeout=30, wait_for_ready=True):
        if told.status == health_pb2.HealthCheckResponse.SERVING:
            return


async def test_on_its_own_machine_a_site_without_clients_serves_whoever_comes(
    tmp_path: Path,
) -> None:
    async with site(tmp_path) as (channel, _):
        await until_served(channel)
        assert await result(channel) == "result of 7"


async def test_a_client_with_its_key_does_what_is_configured_and_nothing_else(
    tmp_path: Path,
) -> None:
    made = new_api_key("viewer")
    async with site(tmp_path, CLIENT.format(hash=made.hash)) as (channel, _):
        await until_served(channel)
        key = ("x-api-key", made.text)
        assert await result(channel, key) == "result of 7"
        publish = channel.unary_unary(
            "/medmesh.gateway.v1.Mesh/Publish",
            pb.PublishRequest.SerializeToString,
            pb.PublishResponse.FromString,
        )
        content = pb.Content(type="text/plain", body=b"x")
        for subject, code in (
            ("evt.north.raw.hl7v2", grpc.StatusCode.OK),
            ("evt.north.patient.admitted", grpc.StatusCode.PERMISSION_DENIED),
        ):
            call = publish(
                pb.PublishRequest(event=pb.Event(subject=subject, content=content)),
                metadata=(key,),
                timeout=20,
            )
            assert await call.code() is code
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await result(channel)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
