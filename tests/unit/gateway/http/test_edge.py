"""The edge: admission, names, origins, and an answer to whatever goes wrong below."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.contract import Asgi, Receive, Scope, Send
from gateway.http.exchange import answer
from gateway.part import Mount
from schemas.errors import Unavailable
from schemas.gateway import GatewaySection
from tests.unit.gateway.http.kit import Peer, World, ask

ORIGIN = "https://viewer.example"
SECTION = GatewaySection(cors_origins=(ORIGIN,), max_requests=2)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def fine(scope: Scope, receive: Receive, send: Send) -> None:
    await answer(send, 200, b"fine", [])


def at(app: Asgi, prefix: str = "/x", *, is_stream: bool = False) -> list[Mount]:
    return [Mount(prefix=prefix, app=app, is_stream=is_stream)]


async def test_an_unknown_address_is_a_problem(world: World) -> None:
    got = await ask(world.edge(), "GET", "/nothing")
    assert (got.status, got.code) == (404, "not_found")
    assert got.headers["content-type"] == "application/problem+json"


async def test_a_fault_below_becomes_a_problem_without_its_words(world: World) -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("Mustermann, Erika")

    got = await ask(world.edge(at(broken)), "GET", "/x")
    assert (got.status, got.code) == (500, "fault")
    assert b"Mustermann" not in got.body
    assert world.counters.get("http_failed", reason="ValueError") == 1


async def test_an_error_of_the_mesh_becomes_its_problem(world: World) -> None:
    async def away(scope: Scope, receive: Receive, send: Send) -> None:
        raise Unavailable("the mesh is away")

    got = await ask(world.edge(at(away)), "GET", "/x")
    assert (got.status, got.code, got.headers["retry-after"]) == (503, "unavailable", "1")


async def test_nothing_is_added_to_an_answer_that_has_begun(world: World) -> None:
    async def half(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ValueError

    peer = Peer(world.edge(at(half)), "GET", "/x")
    assert (await peer.run()).status == 200
    assert len(peer.sent) == 1


async def test_each_answer_has_a_request_id_and_a_clients_own_comes_back(world: World) -> None:
    edge = world.edge(at(fine))
    first, second = await ask(edge, "GET", "/x"), await ask(edge, "GET", "/y")
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    own = await ask(edge, "GET", "/x", headers={"X-Request-Id": "mine-1"})
    assert own.headers["x-request-id"] == "mine-1"
    strange = await ask(edge, "GET", "/x", headers={"X-Request-Id": "a b"})
    assert strange.headers["x-request-id"] != "a b"


async def test_more_requests_than_places_are_refused_and_streams_need_none(world: World) -> None:
    hold, begun = asyncio.Event(), asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        if edge.in_hand == 2:
            begun.set()
        await hold.wait()
        await answer(send, 200, b"", [])

    edge = world.edge([*at(slow), *at(fine, "/s", is_stream=True)], section=SECTION)
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(ask(edge, "GET", "/x")) for _ in range(2)]
        await asyncio.wait_for(begun.wait(), 5)
        refused = await ask(edge, "GET", "/x")
        assert (refused.status, refused.code) == (503, "too_many_in_work")
        assert refused.headers["retry-after"] == "1"
        assert (await ask(edge, "GET", "/s")).status == 200
        hold.set()
    assert [one.result().status for one in waiting] == [200, 200]
    await asyncio.wait_for(edge.finished(), 5)
    assert edge.in_hand == 0


async def test_a_draining_edge_takes_nothing_new(world: World) -> None:
    edge = world.edge(at(fine))
    edge.is_draining = True
    got = await ask(edge, "GET", "/x")
    assert (got.status, got.code) == (503, "draining")


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://gateway.example.evil"])
async def test_a_page_of_another_origin_is_refused(world: World, origin: str) -> None:
    got = await ask(world.edge(at(fine)), "POST", "/x", headers={"Origin": origin})
    assert (got.status, got.code) == (403, "origin_not_allowed")
    assert "access-control-allow-origin" not in got.headers


async def test_a_page_of_the_gateway_itself_needs_no_leave(world: World) -> None:
    got = await ask(
        world.edge(at(fine)), "POST", "/x", headers={"Origin": "http://gateway.example"}
    )
    assert got.status == 200


async def test_an_allowed_origin_gets_its_headers_and_its_preflight(world: World) -> None:
    edge = world.edge(at(fine), section=SECTION)
    got = await ask(edge, "GET", "/x", headers={"Origin": ORIGIN})
    assert got.headers["access-control-allow-origin"] == ORIGIN
    asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    preflight = await ask(edge, "OPTIONS", "/x", headers=asked)
    assert preflight.status == 204
    assert "idempotency-key" in preflight.headers["access-control-allow-headers"]


async def test_a_gateway_that_trusts_its_machine_answers_to_its_names_only(world: World) -> None:
    edge = world.edge(at(fine), hosts=frozenset({b"localhost", b"127.0.0.1", b"[::1]"}))
    for host in ("localhost", "127.0.0.1:8080", "[::1]:8080", "LOCALHOST:1"):
        assert (await ask(edge, "GET", "/x", headers={"host": host})).status == 200
    got = await ask(edge, "GET", "/x", headers={"host": "rebound.example:8080"})
    assert (got.status, got.code) == (421, "host_not_allowed")


async def test_refusals_of_a_part_look_as_it_wants(world: World) -> None:
    async def away(scope: Scope, receive: Receive, send: Send) -> None:
        raise Unavailable("away")

    def outcome(status: int, code: str, words: str) -> tuple[bytes, bytes]:
        return b"application/fhir+json", f"{status} {code}".encode()

    edge = world.edge([Mount(prefix="/fhir/", app=away, render=outcome)])
    got = await ask(edge, "GET", "/fhir/R4")
    assert (got.headers["content-type"], got.body) == ("application/fhir+json", b"503 unavailable")


async def test_a_small_body_of_a_refused_request_is_read_so_that_the_connection_stays(
    world: World,
) -> None:
    got = await ask(world.edge(), "POST", "/nothing", b"small")
    assert "connection" not in got.headers


async def test_a_large_body_of_a_refused_request_is_not_waited_for(world: World) -> None:
    peer = Peer(
        world.edge(), "POST", "/nothing", b"x" * 100,
        headers={"content-length": "100000000"}, is_whole=False,
    )  # fmt: skip
    running = asyncio.ensure_future(peer.run())
    await asyncio.wait_for(peer.answered.wait(), 5)
    assert peer.sent[0]["status"] == 404
    assert (b"connection", b"close") in peer.sent[0]["headers"]
    peer.leave()
    await asyncio.wait_for(running, 5)


async def test_a_websocket_to_nowhere_is_closed(world: World) -> None:
    sent = []

    async def receive() -> dict[str, object]:
        return {"type": "websocket.connect"}

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    scope = {"type": "websocket", "scheme": "ws", "path": "/x", "headers": []}
    await world.edge(at(fine))(scope, receive, send)
    assert sent == [{"type": "websocket.close", "code": 1008}]
