"""Real gRPC clients, unchanged, to a service of the mesh through the bridge."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from grpclib.client import Channel, UnaryUnaryMethod
from grpclib.const import Status as GrpclibStatus
from grpclib.exceptions import GRPCError

from bus.flow.priority import Priority
from gateway.access.protocol import Deed
from gateway.grpc.status import CODE_KEY, DETAILS_KEY, PUSHBACK_KEY
from schemas.errors import Unavailable
from schemas.generated.medmesh.gateway.v1 import status_pb2
from tests.hospital import eventually
from tests.integration.gateway.grpc_mesh import GET, METADATA, gateway
from tests.unit.gateway.grpc.world import RESULTS

CODES = grpc.StatusCode


def get(channel: grpc.Channel, path: str = GET) -> Callable[..., Any]:
    method: Callable[..., Any] = channel.unary_unary(
        path,
        request_serializer=StringValue.SerializeToString,
        response_deserializer=StringValue.FromString,
    )
    return method


async def refused(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


def trailer(error: grpc.aio.AioRpcError, name: str) -> Any:
    return dict(error.trailing_metadata() or ()).get(name)


# -- clients ------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_described", [True, False])
async def test_any_method_reaches_its_service_without_generated_code(
    tmp_path: Path, is_described: bool
) -> None:
    async with gateway(tmp_path, is_described=is_described) as world, world.channel() as channel:
        answer = await get(channel)(StringValue(value="12345"), metadata=METADATA, timeout=20)
        assert answer.value == "result of 12345"
        assert world.access.deeds() == [(Deed.CALL, "lab/get_result", True)]


async def test_the_blocking_client_of_grpcio_is_served(tmp_path: Path) -> None:
    async with gateway(tmp_path) as world:

        def ask() -> list[str]:
            with grpc.insecure_channel(world.address) as channel:
                method = get(channel)
                return [
                    method(StringValue(value=str(n)), metadata=METADATA, timeout=20).value
                    for n in range(3)
                ]

        with ThreadPoolExecutor(1) as pool:
            answers = await asyncio.get_running_loop().run_in_executor(pool, ask)
        assert answers == ["result of 0", "result of 1", "result of 2"]
        assert threading.active_count() < 50


async def test_grpclib_is_served_and_reads_our_errors(tmp_path: Path) -> None:
    async with gateway(tmp_path) as world:
        host, _, port = world.address.rpartition(":")
        async with Channel(host, int(port)) as channel:
            method = UnaryUnaryMethod(channel, GET, StringValue, StringValue)
            answer = await method(StringValue(value="7"), metadata=dict(METADATA), timeout=20)
            assert answer is not None
            assert answer.value == "result of 7"
            with pytest.raises(GRPCError) as caught:
                await method(StringValue(value="none"), metadata=dict(METADATA), timeout=20)
            assert caught.value.status is GrpclibStatus.NOT_FOUND


async def test_many_calls_at_a_time_each_get_their_own_answer(tmp_path: Path) -> None:
    async with gateway(tmp_path) as world, world.channel() as channel:
        method = get(channel)
        asked = [str(n) for n in range(200)]
        answers = await asyncio.gather(
            *(method(StringValue(value=one), metadata=METADATA, timeout=20) for one in asked)
        )
        assert [one.value for one in answers] == [f"result of {one}" for one in asked]


# -- what is carried ----------------------------------------------------------------------------


async def test_deadline_priority_trace_and_idempotency_key_reach_the_service(
    tmp_path: Path,
) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    extra = (("traceparent", trace), ("x-priority", "stat"), ("idempotency-key", "order-1"))
    async with gateway(tmp_path) as world, world.channel() as channel:
        method = get(channel)
        for _ in range(2):
            await method(StringValue(value="1"), metadata=(*METADATA, *extra), timeout=20)
        seen, again = world.seen.calls
        assert again.id == seen.id  # by which a service knows that it is the same thing
        assert seen.traceparent == trace
        assert seen.priority is Priority.STAT
        assert 0 < world.seen.left_s[0] <= 20
        await method(StringValue(value="1"), metadata=METADATA, timeout=20)
        assert world.seen.calls[-1].id != seen.id


async def test_the_same_key_of_another_client_is_another_thing(tmp_path: Path) -> None:
    async with gateway(tmp_path) as world, world.channel() as channel:
        world.access.clients["other"] = (
            world.access.clients.copy()
            .popitem()[1]
            .__class__(name="other", proof=next(iter(world.access.clients.values())).proof)
        )
        key = ("idempotency-key", "order-1")
        method = get(channel)
        await method(StringValue(value="1"), metadata=(*METADATA, key), timeout=20)
        await method(StringValue(value="1"), metadata=(("x-api-key", "other"), key), timeout=20)
        assert len({one.id for one in world.seen.calls}) == 2


# -- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "code", "reason"),
    [
        ("none", CODES.NOT_FOUND, "no_such_result"),
        ("bad", CODES.INVALID_ARGUMENT, "bad_number"),
        ("secret", CODES.PERMISSION_DENIED, "not_yours"),
        ("crash", CODES.INTERNAL, "internal"),
    ],
)
async def test_an_error_of_the_service_has_its_status(
    tmp_path: Path, value: str, code: grpc.StatusCode, reason: str
) -> None:
    async with gateway(tmp_path) as world, world.channel() as channel:
        error = await refused(get(channel)(StringValue(value=value), metadata=METADATA, timeout=20))
        assert error.code() is code
        assert trailer(error, CODE_KEY) == reason
        assert "Jane" not in str(error)
        status = status_pb2.RpcStatus.FromString(trailer(error, DETAILS_KEY))
        assert status.code == code.value[0]
        assert status.details[0].type_url == "type.googleapis.com/google.rpc.ErrorInfo"


async def test_an_overloaded_service_says_when_to_come_again(tmp_path: Path) -> None:
    options = (("grpc.enable_retries", 0),)
    async with gateway(tmp_path) as world, world.channel(options=options) as channel:
        error = await refused(
            get(channel)(StringValue(value="busy"), metadata=METADATA, timeout=20)
        )
        assert error.code() is CODES.UNAVAILABLE
        status = status_pb2.RpcStatus.FromString(trailer(error, DETAILS_KEY))
        retry = status_pb2.RpcRetryInfo.FromString(status.details[1].value)
        assert retry.retry_delay.seconds >= 1
        assert trailer(error, PUSHBACK_KEY) is None or int(trailer(error, PUSHBACK_KEY)) >= 1000


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (f"/{RESULTS}/Nothing", CODES.UNIMPLEMENTED),
        ("/lab.v1.Orders/GetResult", CODES.UNIMPLEMENTED),
        ("/nothing", CODES.UNIMPLEMENTED),
        ("/a/b/c", CODES.UNIMPLEMENTED),
        (f"/{RESULTS}/Watch", CODES.UNIMPLEMENTED),
        (f"/{RESULTS}/Upload", CODES.UNIMPLEMENTED),
    ],
)
async def test_what_cannot_be_called_is_unimplemented(
    tmp_path: Path, path: str, code: grpc.StatusCode
) -> None:
    async with gateway(tmp_path) as world, world.channel() as channel:
        error = await refused(get(channel, path)(StringValue(), metadata=METADATA, timeout=20))
        assert error.code() is code
        assert not world.seen.calls


async def test_a_stream_sent_to_a_method_of_unknown_kind_is_refused(tmp_path: Path) -> None:
    async with gateway(tmp_path, is_described=False) as world, world.channel() as channel:
        call = channel.stream_unary(GET)(iter([b"", b""]), metadata=METADATA, timeout=20)
        assert (await refused(call)).code() is CODES.INVALID_ARGUMENT
        assert not world.seen.calls


async def test_bytes_that_are_no_message_are_told_by_the_service_that_reads_them(
    tmp_path: Path,
) -> None:
    async with gateway(tmp_path) as world, world.channel() as channel:
        call = channel.unary_unary(GET)(b"\xff\xff\xff", metadata=METADATA, timeout=20)
        assert (await refused(call)).code() is CODES.INVALID_ARGUMENT
        assert not world.seen.calls


async def test_a_message_above_max_body_is_refused_and_the_connection_lives(
    tmp_path: Path,
) -> None:
    async with gateway(tmp_path, max_body=2048) as world, world.channel() as channel:
        method = get(channel)
        large = StringValue(value="x" * 4096)
        error = await refused(method(large, metadata=METADATA, timeout=20))
        assert error.code() is CODES.RESOURCE_EXHAUSTED
        assert (await method(StringValue(value="1"), metadata=METADATA, timeout=20)).value
        assert len(world.seen.calls) == 1


async def test_a_flood_of_metadata_is_refused(tmp_path: Path) -> None:
    async with gateway(tmp_path, max_header=4096) as world, world.channel() as channel:
        flood = (*METADATA, ("x-flood", "y" * 16_000))
        error = await refused(get(channel)(StringValue(value="1"), metadata=flood, timeout=20))
        assert error.code() is CODES.RESOURCE_EXHAUSTED
        assert not world.seen.calls


async def test_a_service_that_died_is_unavailable(tmp_path: Path) -> None:
    async with gateway(tmp_path) as world, world.channel() as channel:
        await get(channel)(StringValue(value="1"), metadata=METADATA, timeout=20)
        await world.mesh._calls.stop(timeout_s=2)
        error = await refused(get(channel)(StringValue(value="1"), metadata=METADATA, timeout=20))
        assert error.code() is CODES.UNAVAILABLE


# -- who may ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [GET, "/lab.v1.Orders/Get", f"/{RESULTS}/Watch"])
async def test_who_proves_nothing_learns_nothing(tmp_path: Path, path: str) -> None:
    async with gateway(tmp_path) as world, world.channel() as channel:
        error = await refused(get(channel, path)(StringValue(value="1"), timeout=20))
        assert error.code() is CODES.UNAUTHENTICATED
        assert not world.seen.calls


async def test_a_method_that_is_not_allowed_is_denied_and_recorded(tmp_path: Path) -> None:
    async with gateway(tmp_path) as world, world.channel() as channel:
        world.access.call = ("lab/other",)
        error = await refused(get(channel)(StringValue(value="1"), metadata=METADATA, timeout=20))
        assert error.code() is CODES.PERMISSION_DENIED
        assert not world.seen.calls
        assert world.access.deeds() == [(Deed.CALL, "lab/get_result", False)]


async def test_a_client_above_its_rate_is_told_when_to_come_again(tmp_path: Path) -> None:
    async with gateway(tmp_path) as world, world.channel() as channel:
        world.access.rate = 0
        error = await refused(get(channel)(StringValue(value="1"), metadata=METADATA, timeout=20))
        assert error.code() is CODES.RESOURCE_EXHAUSTED
        status = status_pb2.RpcStatus.FromString(trailer(error, DETAILS_KEY))
        retry = status_pb2.RpcRetryInfo.FromString(status.details[1].value)
        assert (retry.retry_delay.seconds, retry.retry_delay.nanos) == (2, 500_000_000)


async def test_an_answer_whose_record_cannot_be_kept_is_not_given_out(tmp_path: Path) -> None:
    async with gateway(tmp_path) as world, world.channel() as channel:
        world.access.record_error = Unavailable("the audit stream is away")
        error = await refused(get(channel)(StringValue(value="1"), metadata=METADATA, timeout=20))
        assert error.code() is CODES.UNAVAILABLE
        assert trailer(error, CODE_KEY) == "not_recorded"


# -- cancelling, deadlines, ends -------------------------------------------------------------------


async def test_a_client_that_cancels_gives_up_the_call_of_the_mesh(tmp_path: Path) -> None:
    async with gateway(tmp_path) as world, world.channel() as channel:
        call = get(channel)(StringValue(value="wait"), metadata=METADATA, timeout=30)
        asked = asyncio.ensure_future(call)
        await world.seen.waiting.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        counters = world.runtime.counters
        await eventually(
            lambda: counters.get("grpc_cancelled") == 1, within_s=5, what="the call is given up"
        )
        caller = await world.mesh._calls.caller(world.mesh._opened)
        channels = world.mesh._calls._channels.values()
        assert caller is not None
        assert all(one.in_flight == 0 for one in channels)


async def test_a_deadline_that_passes_ends_the_call_everywhere(tmp_path: Path) -> None:
    async with gateway(tmp_path) as world, world.channel() as channel:
        call = get(channel)(StringValue(value="wait"), metadata=METADATA, timeout=0.3)
        assert (await refused(call)).code() is CODES.DEADLINE_EXCEEDED
        channels = world.mesh._calls._channels.values()
        await eventually(
            lambda: all(one.in_flight == 0 for one in channels),
            within_s=5,
            what="nothing waits for an answer any more",
        )


async def test_the_gateway_gives_no_more_time_than_configured(tmp_path: Path) -> None:
    async with gateway(tmp_path, request_timeout_s=0.3) as world, world.channel() as channel:
        call = get(channel)(StringValue(value="wait"), metadata=METADATA)
        assert (await refused(call)).code() is CODES.DEADLINE_EXCEEDED


async def test_calls_beyond_the_bound_are_refused_and_may_come_again(tmp_path: Path) -> None:
    async with gateway(tmp_path, max_requests=1) as world, world.channel() as channel:
        method = get(channel)
        first = asyncio.ensure_future(
            method(StringValue(value="wait"), metadata=METADATA, timeout=20)
        )
        await world.seen.waiting.wait()
        error = await refused(method(StringValue(value="1"), metadata=METADATA, timeout=20))
        assert error.code() is CODES.UNAVAILABLE
        assert trailer(error, CODE_KEY) == "too_many_in_work"
        world.seen.hold.set()
        assert (await first).value == "result of wait"


async def test_draining_finishes_what_is_in_hand_and_takes_nothing_new(tmp_path: Path) -> None:
    async with gateway(tmp_path) as world, world.channel() as channel:
        method = get(channel)
        asked = asyncio.ensure_future(
            method(StringValue(value="wait"), metadata=METADATA, timeout=20)
        )
        await world.seen.waiting.wait()
        draining = asyncio.ensure_future(world.server.drain(timeout_s=10))
        async with world.channel() as other:
            error = await refused(get(other)(StringValue(value="1"), metadata=METADATA, timeout=20))
        assert error.code() is CODES.UNAVAILABLE
        assert trailer(error, CODE_KEY) == "draining"
        world.seen.hold.set()
        assert (await asked).value == "result of wait"
        await draining


async def test_what_does_not_end_in_time_is_cut_short_by_the_drain(tmp_path: Path) -> None:
    async with gateway(tmp_path) as world, world.channel() as channel:
        call = get(channel)(StringValue(value="wait"), metadata=METADATA, timeout=20)
        asked = asyncio.ensure_future(refused(call))
        await world.seen.waiting.wait()
        await world.server.drain(timeout_s=0.1)
        assert (await asked).code() in (CODES.UNAVAILABLE, CODES.CANCELLED)
