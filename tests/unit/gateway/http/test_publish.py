"""`POST /v1/publish`: 202 only when stored, once for one key, and in order for one patient."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from pydantic import ByteSize

from bus.flow.priority import Priority
from bus.transport.protocol import StreamFull
from gateway.access.protocol import Deed
from schemas import subjects
from schemas.errors import Unavailable
from schemas.gateway import GatewaySection
from schemas.registry.errors import Misfit, SchemaRefused
from tests.unit.gateway.http.kit import FakeAccess, Peer, World, ask

PATH = "/v1/publish/evt.test.patient.admitted"
SCHEMA = SchemaRefused(
    pattern="evt.test.patient.*.*", misfit=Misfit.CONTENT_TYPE, expected="a/b", seen="c/d"
)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_the_answer_leaves_when_the_event_is_stored_and_not_before(world: World) -> None:
    world.events.hold = asyncio.Event()
    peer = Peer(world.edge(), "POST", PATH, b"body", headers={"content-length": "4"})
    running = asyncio.ensure_future(peer.run())
    await asyncio.wait_for(world.events.asked.wait(), 5)
    assert not peer.sent
    world.events.hold.set()
    got = await asyncio.wait_for(running, 5)
    assert got.status == 202
    told = got.json
    event = world.events.stored[0]
    assert told == {
        "message_id": event.message_id.hex(),
        "stream": "evt-test",
        "seq": 1,
        "duplicate": False,
        "subject": event.subject,
    }
    assert event.body == b"body"


async def test_the_content_type_becomes_the_type_of_the_event(world: World) -> None:
    edge = world.edge()
    await ask(edge, "POST", PATH, b"{}", headers={"Content-Type": "application/fhir+json"})
    await ask(edge, "POST", PATH, b"x")
    types = [one.type for one in world.events.stored]
    assert types == ["application/fhir+json", "application/octet-stream"]


async def test_a_repeat_under_the_same_key_is_stored_once_and_says_so(world: World) -> None:
    edge = world.edge()
    again = {"Idempotency-Key": "order-17"}
    first = await ask(edge, "POST", PATH, b"1", headers=again)
    second = await ask(edge, "POST", PATH, b"1", headers=again)
    assert (first.json["duplicate"], second.json["duplicate"]) == (False, True)
    assert first.json["message_id"] == second.json["message_id"]
    assert first.json["subject"] == second.json["subject"]
    elsewhere = await ask(
        edge, "POST", "/v1/publish/evt.test.patient.discharged", b"1", headers=again
    )
    assert elsewhere.json["duplicate"] is False


async def test_two_gateways_of_a_site_make_one_event_of_one_key(tmp_path: Path) -> None:
    one, other = World(tmp_path / "a"), World(tmp_path / "b")
    again = {"Idempotency-Key": "order-17"}
    first = await ask(one.edge(), "POST", PATH, b"1", headers=again)
    second = await ask(other.edge(), "POST", PATH, b"1", headers=again)
    assert first.json["message_id"] == second.json["message_id"]


async def test_events_of_one_patient_share_a_partition_that_tells_nothing(world: World) -> None:
    edge = world.edge()
    for _ in range(3):
        await ask(edge, "POST", PATH, b"1", headers={"Medmesh-Key": "patient-4711"})
    found = {one.subject for one in world.events.stored}
    expected = subjects.partition_for(b"k" * 32, b"patient-4711")
    assert found == {f"evt.test.patient.admitted.{expected}"}
    assert not any("4711" in str(one) for one in world.access.records)


async def test_a_partition_may_be_named(world: World) -> None:
    edge = world.edge()
    got = await ask(edge, "POST", f"{PATH}.7", b"1")
    assert got.json["subject"] == "evt.test.patient.admitted.7"
    twice = await ask(edge, "POST", f"{PATH}.7", b"1", headers={"Medmesh-Key": "p"})
    assert (twice.status, twice.code) == (400, "partition_twice")


@pytest.mark.parametrize(
    "subject",
    [
        "", "evt", "evt.test.patient", "evt.other.patient.admitted", "evt.test.nonsense.x",
        "evt.test.patient.admitted.64", "evt.test.patient.admitted.x", "evt.test.patient.*",
        "evt.test.patient.>", "svc.test.beds.v1.rpc.free", "evt.test.patient.admitted.1.2",
        "evt.test.patient.Müller", "evt.test.patient.a b", "x" * 5000,
    ],
)  # fmt: skip
async def test_what_is_no_event_of_this_site_is_refused(world: World, subject: str) -> None:
    got = await ask(world.edge(), "POST", f"/v1/publish/{subject}", b"1")
    assert (got.status, got.code) == (400, "subject")
    assert not world.events.stored


async def test_who_proves_nothing_is_not_heard(world: World) -> None:
    got = await ask(world.edge(), "POST", PATH, b"1", headers={"x-api-key": ""})
    assert (got.status, got.code, got.headers["www-authenticate"]) == (
        401,
        "unauthenticated",
        "Bearer",
    )


async def test_a_client_publishes_what_it_may_and_refusals_are_written_down(tmp_path: Path) -> None:
    world = World(tmp_path, access=FakeAccess(publish=("evt.test.order.placed.*",)))
    got = await ask(world.edge(), "POST", PATH, b"1")
    assert (got.status, got.code) == (403, "forbidden")
    assert not world.events.stored
    await asyncio.wait_for(world.access.written.wait(), 5)
    record = world.access.records[0]
    assert (record.deed, record.allowed, record.status) == (Deed.WRITE, False, 403)


async def test_what_was_done_is_written_down(world: World) -> None:
    got = await ask(world.edge(), "POST", PATH, b"1")
    record = world.access.records[0]
    assert (record.client.name, record.deed, record.what) == (
        "lab",
        Deed.WRITE,
        got.json["subject"],
    )
    assert record.remote == "192.0.2.7"


async def test_what_cannot_be_written_down_is_not_confirmed(world: World) -> None:
    world.access.record_error = Unavailable("away")
    got = await ask(world.edge(), "POST", PATH, b"1")
    assert (got.status, got.code) == (503, "not_recorded")


async def test_a_client_beyond_its_rate_is_told_when_to_come_again(tmp_path: Path) -> None:
    world = World(tmp_path, access=FakeAccess(rate=0))
    got = await ask(world.edge(), "POST", PATH, b"1")
    assert (got.status, got.headers["retry-after"]) == (429, "3")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (StreamFull("full"), 503),
        (Unavailable("away"), 503),
        (SCHEMA, 422),
    ],
)
async def test_what_is_not_stored_is_not_confirmed(
    world: World, error: StreamFull | Unavailable | SchemaRefused, status: int
) -> None:
    world.events.error = error
    got = await ask(world.edge(), "POST", PATH, b"1")
    assert (got.status, got.code) == (status, error.code)


async def test_bodies_priorities_traces_and_methods(world: World) -> None:
    edge = world.edge(section=GatewaySection(max_body=ByteSize(1024)))
    assert (await ask(edge, "POST", PATH, b"x" * 1025)).status == 413
    assert (await ask(edge, "GET", PATH)).headers["allow"] == "POST"
    assert (await ask(edge, "POST", PATH, b"1", headers={"Accept": "text/html"})).status == 406
    wrong = await ask(edge, "POST", PATH, b"1", headers={"Medmesh-Priority": "now!"})
    assert wrong.json["allowed"] == ["bulk", "routine", "stat"]
    wrong = await ask(edge, "POST", PATH, b"1", headers={"Idempotency-Key": "ä b"})
    assert (wrong.status, wrong.code) == (400, "idempotency_key")
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    told = {"Medmesh-Priority": "stat", "traceparent": trace}
    await ask(edge, "POST", PATH, b"1", headers=told)
    assert (world.events.stored[0].priority, world.events.stored[0].traceparent) == (
        Priority.STAT,
        trace,
    )
