"""`POST /v1/hl7v2`: the acknowledgement of the MLLP server, over HTTP."""

from __future__ import annotations

from pathlib import Path

import pytest

from bus.transport.protocol import StreamFull
from schemas.gateway import GatewaySection
from tests.unit.gateway.http.kit import FakeAccess, World, ask

PATH = "/v1/hl7v2"
HL7 = {"Content-Type": "application/hl7-v2"}


def adt(*, control: str = "42", processing: str = "P") -> bytes:
    return (
        f"MSH|^~\\&|EMR|NORTH|MESH|NORTH|20260101120000||ADT^A01|{control}|{processing}|2.5\r"
        "PID|1||4711^^^NORTH\r"
    ).encode()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_a_message_is_stored_as_it_is_and_accepted(world: World) -> None:
    got = await ask(world.edge(), "POST", PATH, adt(), headers=HL7)
    assert (got.status, got.headers["content-type"]) == (200, "application/hl7-v2")
    assert b"\rMSA|AA|42" in got.body
    event = world.events.stored[0]
    assert (event.body, event.type) == (adt(), "hl7v2/ADT^A01")
    assert event.subject.startswith("evt.test.raw.hl7v2.")


async def test_an_exact_repeat_is_the_same_event(world: World) -> None:
    edge = world.edge()
    for _ in range(2):
        assert (await ask(edge, "POST", PATH, adt(), headers=HL7)).status == 200
    assert len(world.events.stored) == 1


async def test_a_message_that_is_never_taken_is_rejected(world: World) -> None:
    got = await ask(world.edge(), "POST", PATH, adt(processing="X"), headers=HL7)
    assert got.status == 422
    assert b"\rMSA|AR|42" in got.body


async def test_a_message_that_cannot_be_stored_now_is_an_error(world: World) -> None:
    world.events.error = StreamFull("full")
    got = await ask(world.edge(), "POST", PATH, adt(), headers=HL7)
    assert (got.status, got.headers["retry-after"]) == (503, "1")
    assert b"\rMSA|AE|42" in got.body


@pytest.mark.parametrize("body", [b"", b"hello", b"{}"])
async def test_what_is_no_message_is_a_problem(world: World, body: bytes) -> None:
    got = await ask(world.edge(), "POST", PATH, body, headers=HL7)
    assert (got.status, got.code) == (400, "not_hl7v2")
    assert not world.events.stored


async def test_a_framed_message_is_refused_for_no_receiver_could_be_sent_it(world: World) -> None:
    for body in (b"\x0b" + adt() + b"\x1c\r", adt() + b"\x1c\r"):
        got = await ask(world.edge(), "POST", PATH, body, headers=HL7)
        assert (got.status, got.code) == (400, "mllp_framing")
    assert not world.events.stored


async def test_other_content_is_refused_with_what_is_taken(world: World) -> None:
    got = await ask(world.edge(), "POST", PATH, adt(), headers={"Content-Type": "application/json"})
    assert got.status == 415
    assert "application/hl7-v2" in got.json["allowed"]
    text = await ask(world.edge(), "POST", PATH, adt(), headers={"Content-Type": "text/plain"})
    assert text.status == 200


async def test_a_client_needs_the_right_to_every_partition(tmp_path: Path) -> None:
    for publish, status in (
        (("evt.test.raw.hl7v2.*",), 200),
        (("evt.test.raw.>",), 200),
        (("evt.test.raw.hl7v2.0",), 403),
        (("evt.test.order.>",), 403),
    ):
        world = World(tmp_path, access=FakeAccess(publish=publish))
        assert (await ask(world.edge(), "POST", PATH, adt(), headers=HL7)).status == status


async def test_the_configured_event_is_used(world: World) -> None:
    section = GatewaySection.model_validate({"hl7v2": {"event": "lab"}})
    await ask(world.edge(section=section), "POST", PATH, adt(), headers=HL7)
    assert world.events.stored[0].subject.startswith("evt.test.raw.lab.")
