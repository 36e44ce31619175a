"""`POST /v1/request`: body in, body out; errors of the service have their statuses; who leaves cancels."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bus.envelope.types import NobodyMayRead
from bus.services.protocol import (
    CallFailed,
    CallRefused,
    InvalidRequest,
    NoInstance,
    NotFoundThere,
    Overloaded,
)
from gateway.access.protocol import Deed
from schemas.errors import DeadlineExceeded, MeshError
from tests.unit.gateway.http.kit import Peer, World, ask

PATH = "/v1/request/beds/free"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_the_body_goes_in_and_the_answer_comes_out_as_they_are(world: World) -> None:
    got = await ask(world.edge(), "POST", PATH, b'{"ward":"icu"}', headers={"Content-Type": "a/b"})
    assert (got.status, got.body) == (200, b'{"ward":"icu"}')
    assert got.headers["content-type"] == "application/json"
    service, method, _, options = world.call.calls[0]
    assert (service, method, options["type"], options["version"]) == ("beds", "free", "a/b", 1)


async def test_a_version_is_asked_for_by_its_number(world: World) -> None:
    got = await ask(world.edge(), "POST", PATH, b"1", query="v=2")
    assert got.status == 200
    assert world.call.calls[0][3]["version"] == 2
    assert world.access.records[0].what == "beds.v2/free"
    for wrong in ("v=x", "v=-1", "v=10000", "v="):
        assert (await ask(world.edge(), "POST", PATH, b"1", query=wrong)).status == 400


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Overloaded("busy", retry_after_s=2), 503),
        (DeadlineExceeded("late"), 504),
        (NoInstance("none"), 503),
        (CallRefused("not_yours", ""), 403),
        (InvalidRequest("bad", ""), 422),
        (NotFoundThere("none", ""), 404),
        (CallFailed("broken", ""), 502),
    ],
)
async def test_errors_of_the_service_have_their_statuses(
    world: World, error: MeshError, status: int
) -> None:
    world.call.error = error
    got = await ask(world.edge(), "POST", PATH, b"1")
    assert (got.status, got.code) == (status, error.code)


async def test_a_service_that_nobody_knows_is_not_found(world: World) -> None:
    world.call.error = NobodyMayRead("nobody")
    got = await ask(world.edge(), "POST", PATH, b"1")
    assert (got.status, got.code) == (404, "no_such_service")


async def test_a_client_calls_what_it_may(world: World) -> None:
    got = await ask(world.edge(), "POST", "/v1/request/beds/clear", b"1")
    assert (got.status, got.code) == (403, "forbidden")
    assert not world.call.calls
    await asyncio.wait_for(world.access.written.wait(), 5)
    assert world.access.records[0].deed is Deed.CALL


@pytest.mark.parametrize(
    "path", ["beds", "beds/", "/free", "beds/free/x", "Beds/free", "b eds/free", ""]
)
async def test_what_is_no_method_is_refused(world: World, path: str) -> None:
    got = await ask(world.edge(), "POST", f"/v1/request/{path}", b"1")
    assert got.status in (400, 404)


async def test_a_repeat_under_the_same_key_is_the_same_call(world: World) -> None:
    edge = world.edge()
    for _ in range(2):
        await ask(edge, "POST", PATH, b"1", headers={"Idempotency-Key": "k"})
    await ask(edge, "POST", PATH, b"1")
    first, second, third = (one[3]["call_id"] for one in world.call.calls)
    assert first == second
    assert len(first) == 16
    assert third == b""


async def test_the_clients_patience_goes_with_the_call(world: World) -> None:
    await ask(world.edge(), "POST", PATH, b"1", headers={"Request-Timeout": "1.5"})
    await ask(world.edge(), "POST", PATH, b"1")
    assert [one[3]["timeout_s"] for one in world.call.calls] == [1.5, 30.0]


async def test_a_client_that_leaves_cancels_the_call(world: World) -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def wait(body: bytes) -> bytes:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return b""

    world.call.answer = wait
    peer = Peer(world.edge(), "POST", PATH, b"1", headers={"content-length": "1"})
    running = asyncio.ensure_future(world.edge()(peer.scope, peer._inbox.get, peer._send))
    await asyncio.wait_for(begun.wait(), 5)
    peer.leave()
    await asyncio.wait_for(cancelled.wait(), 5)
    await asyncio.wait_for(running, 5)
    assert not peer.sent
    assert world.counters.get("http_abandoned") == 1
    assert len(world.access.records) == 1, "it is written down all the same"


async def test_a_call_that_has_a_name_goes_on_for_its_client_may_come_again(world: World) -> None:
    begun, hold = asyncio.Event(), asyncio.Event()

    async def wait(body: bytes) -> bytes:
        begun.set()
        await hold.wait()
        return b"done"

    world.call.answer = wait
    named = {"content-length": "1", "Idempotency-Key": "k"}
    peer = Peer(world.edge(), "POST", PATH, b"1", headers=named)
    running = asyncio.ensure_future(peer.run())
    await asyncio.wait_for(begun.wait(), 5)
    peer.leave()
    hold.set()
    assert (await asyncio.wait_for(running, 5)).body == b"done"


async def test_an_answer_with_a_type_that_no_header_can_carry_is_bytes(world: World) -> None:
    world.call.type = "a/b\r\nSet-Cookie: x"
    got = await ask(world.edge(), "POST", PATH, b"1")
    assert got.headers["content-type"] == "application/octet-stream"
    assert "set-cookie" not in got.headers
