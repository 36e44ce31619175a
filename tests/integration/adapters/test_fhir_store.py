"""HL7 v2 messages are read as FHIR resources: views applied once, in order, and what cannot be applied set aside."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from adapters.hl7v2 import TO_FHIR
from bus.events.protocol import NewEvent
from schemas import subjects
from schemas.generated.medmesh.fhir.v1 import interaction_pb2 as pb
from schemas.subjects import Domain
from tests.unit.adapters.fhir.store.kit import identified, observation, parsed, ward
from tests.unit.adapters.memory_events import MemoryEvents
from tests.unit.adapters.parts import SITE, in_memory, message, received, runtime

VIEWS = ("evt.north.patient.*.*", "evt.north.result.*.*")
ORU = (
    b"MSH|^~\\&|LAB|NORTH|HIS|NORTH|20260301100000+0100||ORU^R01^ORU_R01|C9|P|2.5.1\r"
    b"PID|1||P1^^^NORTH&1.2.3.4&ISO^MR||EXAMPLE^PATIENT||19700101|F\r"
    b"ORC|RE|O1^EMR^1.2.3^ISO|F1^LAB^1.2.3^ISO\r"
    b"OBR|1|O1^EMR^1.2.3^ISO|F1^LAB^1.2.3^ISO|718-7^Hb^LN|||20260301100000+0100||||||||||||||||||F\r"
    b"OBX|1|NM|718-7^Hb^LN||5.40|mmol/L|||||F\r"
)


def event(body: bytes | dict[str, Any], number: int = 1, **more: Any) -> NewEvent:
    made = NewEvent(
        subject=subjects.event(SITE, Domain.PATIENT, "updated", 5),
        type="application/fhir+json",
        body=body if isinstance(body, bytes) else json.dumps(body).encode(),
        message_id=number.to_bytes(16, "big"),
    )
    return replace(made, **more)


async def applied(events: MemoryEvents, count: int) -> None:
    await events.until(lambda: sum(who == "store" for _, who in events.receipts) >= count)


async def viewed(folder: Path, events: MemoryEvents, *messages: tuple[bytes, str]) -> None:
    """Map raw messages and publish their views."""
    config = TO_FHIR.config.model_validate(
        {"name": "views", "kind": "hl7v2.to-fhir", "subscribe": "evt.north.raw.hl7v2.*"}
    )
    view = TO_FHIR.build(config, runtime(events, folder / "views", records=in_memory()))
    await view.start()
    for number, (raw, kind) in enumerate(messages, 100):
        one = received(raw, number=number, type=f"hl7v2/{kind}")
        await events.publish(
            NewEvent(
                subject=one.subject, type=one.type, body=raw, message_id=number.to_bytes(16, "big")
            )
        )
    await applied(events, len(messages))
    await view.stop()


async def test_messages_are_read_as_resources(tmp_path: Path) -> None:
    events = MemoryEvents(service="views")
    async with ward(tmp_path, events=events, subscribe=VIEWS) as store:
        await viewed(tmp_path, events, (message("C1", patient="P1"), "ADT^A08"), (ORU, "ORU^R01"))
        await applied(events, 2)
        assert not events.dead_letters
        (patient,) = await store.ids("Patient", ("identifier", "urn:oid:1.2.3.4|P1"))
        assert await store.ids("Patient", ("family", "example"))
        (seen,) = await store.ids("Observation", ("code", "http://loinc.org|718-7"))
        assert await store.ids("Observation", ("subject", f"Patient/{patient}")) == [seen]
        assert b'"value":5.40' in (await store.read(f"Observation/{seen}")).body
        report = await store.search("DiagnosticReport", ("_include", "DiagnosticReport:result"))
        assert [one["resource"]["resourceType"] for one in report["entry"]] == [
            "DiagnosticReport",
            "Observation",
        ]


async def test_event_has_its_effect_once_however_often_it_comes(tmp_path: Path) -> None:
    events = MemoryEvents(service="views")
    async with ward(tmp_path, events=events, subscribe=VIEWS) as store:
        await events.publish(event({**identified("1"), "id": "p"}))
        await applied(events, 1)
        await store.put("Patient/p", {"active": True})
    events.receipts.clear()
    async with ward(tmp_path, events=events, subscribe=VIEWS) as store:
        await applied(events, 1)
        read = await store.read("Patient/p")
        assert (read.version, parsed(read)["active"]) == ("2", True)
        names = [subject for subject, _ in await store.announced()]
        assert sum("patient_" in one for one in names) == 2


async def test_resources_of_events_are_stored_in_their_order(tmp_path: Path) -> None:
    events = MemoryEvents(service="receiver")
    async with ward(tmp_path, events=events, subscribe=VIEWS) as store:
        for number in range(1, 31):
            body = {"resourceType": "Patient", "id": "p", "multipleBirthInteger": number}
            await events.publish(event(body, number))
        await applied(events, 30)
        read = await store.read("Patient/p")
        assert (read.version, parsed(read)["multipleBirthInteger"]) == ("30", 30)


async def test_what_cannot_be_applied_is_a_dead_letter_and_changes_nothing(tmp_path: Path) -> None:
    events = MemoryEvents(service="views")
    first = {"resource": identified("1"), "request": {"method": "POST", "url": "Patient"}}
    second = {"resource": observation("Patient?family=x"), "request": {"method": "POST"}}
    broken = {"resourceType": "Bundle", "type": "transaction", "entry": [first, second]}
    async with ward(tmp_path, events=events, subscribe=VIEWS) as store:
        await events.publish(event(broken, 1))
        await events.publish(event(b"no JSON", 2))
        await events.publish(event({"resourceType": "Bundle", "type": "message"}, 3))
        await events.publish(event(b"{}", 4, type="text/plain"))
        await applied(events, 4)
        assert [reason for _, _, reason in events.dead_letters] == ["rejected"] * 3
        assert await store.ids("Patient") == []


async def test_views_keep_what_they_do_not_know_as_a_logical_reference(tmp_path: Path) -> None:
    events = MemoryEvents(service="views")
    seen = observation("Patient?identifier=urn%3Amrn%7C7")
    entry = {"resource": seen, "request": {"method": "PUT", "url": "Observation/o"}}
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}
    async with ward(tmp_path, events=events, subscribe=VIEWS) as store:
        await events.publish(event(bundle))
        await applied(events, 1)
        assert not events.dead_letters
        read = parsed(await store.read("Observation/o"))
        assert read["subject"] == {"identifier": {"system": "urn:mrn", "value": "7"}}
        assert await store.ids("Observation", ("subject:identifier", "urn:mrn|7")) == ["o"]


async def test_store_of_some_types_takes_its_part_of_a_view(tmp_path: Path) -> None:
    events = MemoryEvents(service="views")
    async with ward(tmp_path, events=events, subscribe=VIEWS, types=["Observation"]) as store:
        await viewed(tmp_path, events, (ORU, "ORU^R01"))
        assert not events.dead_letters
        (seen,) = await store.ids("Observation")
        subject = parsed(await store.read(f"Observation/{seen}"))["subject"]
        assert subject.get("reference", "").startswith("Patient/") or subject["identifier"]


async def test_own_events_are_passed_over(tmp_path: Path) -> None:
    events = MemoryEvents(service="store")
    async with ward(tmp_path, events=events, subscribe=VIEWS) as store:
        await store.put("Patient/p", {})
        assert len(await store.announced()) == 1
        assert not events.receipts
        assert (await store.read("Patient/p")).version == "1"


async def test_validation_refuses_what_the_model_does_not_allow(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"validation": {"mode": "on"}}
    async with ward(tmp_path, **settings) as store:
        wrong = {"resourceType": "Patient", "gender": 7, "shoeSize": 43}
        outcome = await store.create(wrong)
        assert outcome.status == 422
        places = {one["expression"][0] for one in parsed(outcome)["issue"]}
        assert places == {"Patient.gender", "Patient.?"}
        assert (await store.create(identified("1"))).status == 201
        bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [
            {"resource": wrong, "request": {"method": "POST", "url": "Patient"}}
        ]}  # fmt: skip
        assert (await store.ask(pb.KIND_TRANSACTION, body=bundle)).status == 422
