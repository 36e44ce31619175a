"""Health and reflection, asked as any tool asks them; TLS and the names in client certificates."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.wrappers_pb2 import StringValue
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from bus.clock import SystemClock
from bus.trust.tls import development_certificates
from gateway.access.protocol import Client, Credentials, Proof
from gateway.grpc import GrpcServer
from gateway.grpc.status import CODE_KEY
from schemas.errors import ConfigurationError
from schemas.gateway import GatewaySection
from tests.integration.gateway.grpc_mesh import GET, METADATA, gateway, section
from tests.unit.gateway.grpc.world import RESULTS, FakeAccess, lab_files, runtime

Serving = health_pb2.HealthCheckResponse
Question = reflection_pb2.ServerReflectionRequest


# -- health -------------------------------------------------------------------------------------


async def test_health_tells_of_the_gateway_and_of_each_service(tmp_path: Path) -> None:
    async with gateway(tmp_path) as world, world.channel() as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", RESULTS, "medmesh.gateway.v1.Mesh", "grpc.health.v1.Health"):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=name), timeout=20)
            assert answer.status == Serving.SERVING, name
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await health.Check(health_pb2.HealthCheckRequest(service="lab.v1.No"), timeout=20)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        listed = await health.List(health_pb2.HealthListRequest(), timeout=20)
        assert {"", RESULTS} <= set(listed.statuses)


async def test_a_watcher_hears_that_a_service_has_gone_and_that_the_gateway_drains(
    tmp_path: Path,
) -> None:
    async with gateway(tmp_path) as world, world.channel() as channel:
        health = health_pb2_grpc.HealthStub(channel)
        lab = health.Watch(health_pb2.HealthCheckRequest(service=RESULTS), timeout=30)
        whole = health.Watch(health_pb2.HealthCheckRequest(), timeout=30)
        assert (await lab.read()).status == Serving.SERVING
        assert (await whole.read()).status == Serving.SERVING
        await world.mesh._calls.stop(timeout_s=2)
        assert (await lab.read()).status == Serving.NOT_SERVING
        await world.server.drain(timeout_s=5)
        assert (await whole.read()).status == Serving.NOT_SERVING
        assert await whole.read() is grpc.aio.EOF


async def test_while_it_drains_it_says_that_it_does_not_serve(tmp_path: Path) -> None:
    async with gateway(tmp_path) as world, world.channel() as channel:
        waits = channel.unary_unary(GET)(
            StringValue(value="wait").SerializeToString(), metadata=METADATA, timeout=20
        )
        asked = asyncio.ensure_future(waits)
        await world.seen.waiting.wait()
        draining = asyncio.create_task(world.server.drain(timeout_s=10))
        health = health_pb2_grpc.HealthStub(channel)
        answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=20)
        assert answer.status == Serving.NOT_SERVING
        world.seen.hold.set()
        await asyncio.gather(asked, draining)


# -- reflection ---------------------------------------------------------------------------------


async def questions(
    *asked: reflection_pb2.ServerReflectionRequest,
) -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
    for one in asked:
        yield one


async def test_reflection_knows_what_can_be_called(tmp_path: Path) -> None:
    async with gateway(tmp_path) as world, world.channel() as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = questions(
            Question(list_services=""),
            Question(file_containing_symbol=f"{RESULTS}.GetResult"),
            Question(file_containing_symbol="lab.v9.Nothing"),
            Question(file_by_filename="google/protobuf/wrappers.proto"),
            Question(file_containing_symbol="medmesh.fhir.r4.v1.Patient"),
        )
        answers = [
            one async for one in stub.ServerReflectionInfo(asked, metadata=METADATA, timeout=20)
        ]
        names = {one.name for one in answers[0].list_services_response.service}
        assert names == {
            RESULTS,
            "medmesh.gateway.v1.Mesh",
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            "grpc.reflection.v1alpha.ServerReflection",
        }
        files = [
            descriptor_pb2.FileDescriptorProto.FromString(raw)
            for raw in answers[1].file_descriptor_response.file_descriptor_proto
        ]
        assert {one.name for one in files} == {one.name for one in lab_files().file}
        assert answers[2].error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
        assert answers[3].file_descriptor_response.file_descriptor_proto
        assert answers[4].file_descriptor_response.file_descriptor_proto


async def test_a_stock_reflection_client_calls_a_service_that_it_knows_nothing_of(
    tmp_path: Path,
) -> None:
    async with gateway(tmp_path) as world:

        def ask() -> str:
            with grpc.insecure_channel(world.address) as plain:
                channel = grpc.intercept_channel(plain, _Authorized())
                database = ProtoReflectionDescriptorDatabase(channel)
                pool = descriptor_pool.DescriptorPool(database)
                method = pool.FindServiceByName(RESULTS).methods_by_name["GetResult"]
                assert method.input_type.full_name == "google.protobuf.StringValue"
                answer = channel.unary_unary(f"/{RESULTS}/{method.name}")(
                    StringValue(value="5").SerializeToString(), timeout=20
                )
                return StringValue.FromString(answer).value

        assert await asyncio.to_thread(ask) == "result of 5"


class _Authorized(grpc.UnaryUnaryClientInterceptor, grpc.StreamStreamClientInterceptor):  # type: ignore[misc]  # grpcio ships no types
    """Adds our metadata, as a client with a token does."""

    def intercept_unary_unary(self, go: object, details: object, request: object) -> object:
        return go(self._with(details), request)  # type: ignore[operator]  # grpcio ships no types

    def intercept_stream_stream(self, go: object, details: object, requests: object) -> object:
        return go(self._with(details), requests)  # type: ignore[operator]  # grpcio ships no types

    def _with(self, details: object) -> object:
        return details._replace(metadata=METADATA)  # type: ignore[attr-defined]  # a named tuple of grpcio


async def test_reflection_asks_who_it_is(tmp_path: Path) -> None:
    async with gateway(tmp_path) as world, world.channel() as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            _ = [one async for one in stub.ServerReflectionInfo(questions(Question()), timeout=20)]
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_reflection_can_be_off(tmp_path: Path) -> None:
    off = {"reflection": False}
    async with gateway(tmp_path, grpc_keys=off) as world, world.channel() as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = stub.ServerReflectionInfo(questions(Question()), metadata=METADATA, timeout=20)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            _ = [one async for one in asked]
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


# -- TLS ----------------------------------------------------------------------------------------


async def test_over_tls_the_names_of_a_client_certificate_say_who_it_is(tmp_path: Path) -> None:
    made = development_certificates(tmp_path / "tls", clock=SystemClock(), days=1)
    tls = {"certificate": made.server_certificate, "key": made.server_key}
    keys = {"client_authority": made.ca}
    pem = made.client_certificate.read_bytes()
    credentials = grpc.ssl_channel_credentials(
        made.ca.read_bytes(), made.client_key.read_bytes(), pem
    )
    asked: list[Credentials] = []
    async with gateway(tmp_path, grpc_keys=keys, tls=tls) as world:
        _remember(world.access, asked)
        port = world.address.rpartition(":")[2]
        async with grpc.aio.secure_channel(f"localhost:{port}", credentials) as channel:
            request = StringValue(value="1").SerializeToString()
            answer = await channel.unary_unary(GET)(request, timeout=20)
            assert StringValue.FromString(answer).value == "result of 1"
    (seen,) = asked
    first = pem.decode().split("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----"
    assert seen.certificate_hash == hashlib.sha256(ssl.PEM_cert_to_DER_cert(first)).digest()
    assert seen.certificate_names


def _remember(access: FakeAccess, asked: list[Credentials]) -> None:
    async def identify(credentials: Credentials) -> Client:
        asked.append(credentials)
        return Client(name="analyser", proof=Proof.CERTIFICATE)

    access.identify = identify  # type: ignore[method-assign]  # a client for whatever certificate


async def test_without_a_certificate_there_is_no_connection_where_one_is_asked(
    tmp_path: Path,
) -> None:
    made = development_certificates(tmp_path / "tls", clock=SystemClock(), days=1)
    tls = {"certificate": made.server_certificate, "key": made.server_key}
    keys = {"client_authority": made.ca}
    async with gateway(tmp_path, grpc_keys=keys, tls=tls) as world:
        port = world.address.rpartition(":")[2]
        for channel in (
            grpc.aio.secure_channel(
                f"localhost:{port}", grpc.ssl_channel_credentials(made.ca.read_bytes())
            ),
            world.channel(),
        ):
            async with channel:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await channel.unary_unary(GET)(b"", metadata=METADATA, timeout=20)
                assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert not world.seen.calls


# -- starting -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "made",
    [
        {"grpc": {"listen": "0.0.0.0:0"}},
        {"grpc": {"listen": "[::]:0"}},
        {"grpc": {"listen": "gateway.example:0"}},
        {"grpc": {"listen": "127.0.0.1:0", "client_authority": "ca.pem"}},
        {"grpc": {"listen": "127.0.0.1:0", "descriptors": ["missing.binpb"]}},
        {"grpc": {"listen": "127.0.0.1:0"}, "tls": {"certificate": "no.pem", "key": "no.key"}},
        {"grpc": {"listen": "192.0.2.1:1"}, "tls": {"certificate": "x", "key": "x"}},
    ],
)
async def test_what_cannot_be_listened_with_stops_the_start(
    tmp_path: Path, made: dict[str, object]
) -> None:
    server = GrpcServer(GatewaySection.model_validate(made), runtime(tmp_path), FakeAccess())
    with pytest.raises(ConfigurationError, match="gateway"):
        await server.start()
    await server.stop()


async def test_a_port_that_is_taken_stops_the_start(tmp_path: Path) -> None:
    first = GrpcServer(section(tmp_path), runtime(tmp_path), FakeAccess())
    await first.start()
    second = GrpcServer(
        section(tmp_path, {"listen": first.address}), runtime(tmp_path), FakeAccess()
    )
    with pytest.raises(ConfigurationError, match="taken"):
        await second.start()
    await second.stop()
    await first.stop()


async def test_a_descriptor_set_of_the_configuration_describes_a_service(tmp_path: Path) -> None:
    path = tmp_path / "lab.binpb"
    path.write_bytes(lab_files().SerializeToString())
    keys = {"descriptors": [str(path)]}
    async with (
        gateway(tmp_path, grpc_keys=keys, is_described=False) as world,
        world.channel() as channel,
    ):
        call = channel.unary_stream(f"/{RESULTS}/Watch")(b"", metadata=METADATA, timeout=20)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            _ = [one async for one in call]
        told = dict(caught.value.trailing_metadata())
        assert told[CODE_KEY] == "streams_not_carried"
