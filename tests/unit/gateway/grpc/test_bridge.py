"""The bridge without any transport: frames in, frames out, a failure for a status other than OK."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from bus.flow.priority import Priority
from bus.services.protocol import CallFailed, NoInstance
from gateway.access.protocol import Credentials
from gateway.grpc.asking import Asking
from gateway.grpc.bridge import Bridge, exchange
from gateway.grpc.descriptors import DescriptorIndex, descriptor_set
from gateway.grpc.exchange import Arrival, read_metadata
from gateway.grpc.gate import Gate, Places
from gateway.grpc.routes import Routes
from gateway.grpc.status import RpcFailed, Status
from schemas.clock import FakeClock
from tests.unit.gateway.grpc.world import (
    RESULTS,
    TOKEN,
    FakeAccess,
    FakeCall,
    lab_files,
    runtime,
    seen,
)

GET = f"/{RESULTS}/GetResult"


class World:
    def __init__(self, folder: Path, *, is_described: bool = True, version: str = "1.0.0") -> None:
        self.call, self.access = FakeCall(), FakeAccess()
        services = {"lab": (seen(version=version),)}
        made = runtime(folder, call=self.call, services=lambda: services, clock=FakeClock())
        self.index = DescriptorIndex()
        if is_described:
            self.index.put("lab", descriptor_set(lab_files().file), rank=1)
        self.gate = Gate(
            self.access, timeout_s=30.0, site_key=made.site_key, counters=made.counters
        )
        self.bridge = Bridge(
            own={},
            routes=Routes(
                {},
                made.services,
                is_described=self.index.is_described,
                clock=made.clock,
                counters=made.counters,
            ),
            shapes=self.index,
            asking=Asking(made.call, self.gate),
            gate=self.gate,
        )

    async def frames(
        self,
        *given: bytes,
        path: str = GET,
        metadata: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        token: str = TOKEN,
    ) -> list[bytes]:
        async def come() -> AsyncIterator[bytes]:
            for frame in given:
                yield frame

        arrival = Arrival(
            path=path,
            metadata=metadata or {},
            credentials=Credentials(authorization=token),
            timeout_s=timeout_s,
        )
        return [one async for one in exchange(self.bridge, arrival, come())]

    async def failure(self, *given: bytes, **options: Any) -> RpcFailed:
        with pytest.raises(RpcFailed) as caught:
            await self.frames(*given, **options)
        return caught.value

    @property
    def options(self) -> Mapping[str, Any]:
        return self.call.calls[-1][3]


@pytest.mark.parametrize("is_described", [True, False])
async def test_a_frame_is_the_body_of_a_call_and_its_answer_a_frame(
    tmp_path: Path, is_described: bool
) -> None:
    world = World(tmp_path, is_described=is_described)
    world.call.answer = lambda body: body[::-1]
    assert await world.frames(b"abc") == [b"cba"]
    ((service, method, body, options),) = world.call.calls
    assert (service, method, body) == ("lab", "get_result", b"abc")
    assert options["type"] == "application/x-protobuf"
    assert options["version"] == 1
    assert options["idempotent"] is is_described  # its descriptor says so


async def test_the_version_that_announced_itself_is_called_and_asked_for(tmp_path: Path) -> None:
    world = World(tmp_path, version="3.2.1")
    await world.frames(b"")
    assert world.options["version"] == 3
    assert world.access.records[0].what == "lab.v3/get_result"


@pytest.mark.parametrize(
    ("given_s", "called_s"), [(None, 30.0), (2.0, 2.0), (500.0, 30.0), (0.001, 0.001)]
)
async def test_the_deadline_is_the_clients_within_the_gateways(
    tmp_path: Path, given_s: float | None, called_s: float
) -> None:
    world = World(tmp_path)
    await world.frames(b"", timeout_s=given_s)
    assert world.options["timeout_s"] == called_s


async def test_a_deadline_that_has_passed_calls_nobody(tmp_path: Path) -> None:
    world = World(tmp_path)
    failure = await world.failure(b"", timeout_s=-0.1)
    assert failure.status is Status.DEADLINE_EXCEEDED
    assert not world.call.calls


async def test_metadata_on_the_list_is_carried(tmp_path: Path) -> None:
    world = World(tmp_path)
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    told = {"traceparent": trace, "x-priority": "bulk", "idempotency-key": "a"}
    await world.frames(b"", metadata=told)
    assert world.options["traceparent"] == trace
    assert world.options["priority"] is Priority.BULK
    assert len(world.options["call_id"]) == 16


def test_other_metadata_goes_no_further() -> None:
    pairs: list[tuple[str, str | bytes]] = [
        ("x-other", "a"),
        ("traceparent", "t"),
        ("traceparent", "u"),
        ("key-bin", b"\0"),
    ]
    assert read_metadata(pairs) == {"traceparent": "t"}


@pytest.mark.parametrize(
    "told", [{"x-priority": "urgent"}, {"x-priority": "2"}, {"x-priority": "stat bulk"}]
)
async def test_a_priority_that_is_none_is_refused(tmp_path: Path, told: dict[str, str]) -> None:
    assert (await World(tmp_path).failure(b"", metadata=told)).status is Status.INVALID_ARGUMENT


def test_an_overlong_key_is_refused() -> None:
    with pytest.raises(RpcFailed):
        read_metadata([("idempotency-key", "x" * 513)])


@pytest.mark.parametrize(("is_described", "count"), [(True, 0), (False, 0), (False, 2)])
async def test_a_unary_method_takes_one_frame(
    tmp_path: Path, is_described: bool, count: int
) -> None:
    world = World(tmp_path, is_described=is_described)
    failure = await world.failure(*([b"x"] * count))
    assert failure.status is Status.INVALID_ARGUMENT
    assert not world.call.calls


async def test_where_its_kind_is_known_more_frames_are_not_waited_for(tmp_path: Path) -> None:
    assert await World(tmp_path).frames(b"a", b"b") == [b"a"]


async def test_nothing_is_read_of_a_client_that_proves_nothing(tmp_path: Path) -> None:
    read: list[bytes] = []

    async def frames() -> AsyncIterator[bytes]:
        read.append(b"")
        yield b""

    world = World(tmp_path)
    for path in (GET, "/no.Such/Method"):
        with pytest.raises(RpcFailed):
            _ = [one async for one in exchange(world.bridge, Arrival(path=path), frames())]
    assert not read


async def test_a_method_that_streams_is_refused_in_words(tmp_path: Path) -> None:
    failure = await World(tmp_path).failure(b"", path=f"/{RESULTS}/Watch")
    assert failure.status is Status.UNIMPLEMENTED
    assert "Subscribe" in failure.message


async def test_an_answer_that_is_no_protobuf_is_not_passed_off_as_one(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.call.type = "application/json"
    failure = await world.failure(b"")
    assert failure.status is Status.INTERNAL
    assert "application/json" in failure.message


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NoInstance("nobody"), Status.UNAVAILABLE),
        (CallFailed("no_bed_free", "none"), Status.FAILED_PRECONDITION),
    ],
)
async def test_an_error_of_the_call_is_the_status(
    tmp_path: Path, error: Any, status: Status
) -> None:
    world = World(tmp_path)
    world.call.error = error
    assert (await world.failure(b"")).status is status
    await world.gate.close(timeout_s=5)
    assert world.access.records[0].allowed  # that it was asked is written down all the same


async def test_whoever_proves_nothing_learns_no_names(tmp_path: Path) -> None:
    world = World(tmp_path)
    for path in (GET, f"/{RESULTS}/Watch", "/no.Such/Method", "nonsense"):
        failure = await world.failure(b"", path=path, token="")
        assert failure.status is Status.UNAUTHENTICATED


def test_places_are_refused_beyond_the_bound_and_given_back() -> None:
    places = Places(1, "max_requests")
    with places.place():
        with pytest.raises(RpcFailed, match="max_requests"), places.place():
            pass
        assert places.taken == 1
    with places.place():
        pass
    places.close()
    with pytest.raises(RpcFailed, match="stops"), places.place():
        pass
