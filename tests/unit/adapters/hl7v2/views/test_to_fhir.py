"""The hazards of real feeds, on the view that a raw message gets: what hospitals' interfaces get wrong."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from adapters.contract import Condition
from adapters.hl7v2.views.config import ToFhirConfig
from adapters.hl7v2.views.shelf import BUCKET, Shelf, Shelved
from adapters.hl7v2.views.to_fhir import FHIR_JSON, ToFhir
from bus.envelope.types import NobodyMayRead
from bus.events.protocol import NewEvent, Rejected
from bus.telemetry.counters import Counters
from bus.transport.memory import MemoryBroker
from schemas.clock import FakeClock
from schemas.errors import Unavailable
from tests.unit.adapters.memory_events import MemoryEvents
from tests.unit.adapters.parts import SITE_KEY, eventually, in_memory, received, runtime

AT = "20260301100000+0100"
PID = "PID|1||{mrn}^^^NORTH^MR~77{mrn}^^^NATIONAL^NI||EXAMPLE^PATIENT||19700101|F"
PV1 = "PV1|1|I|W1^R1^B1||||||||||||||||V{mrn}^^^NORTH^VN"


def v2(
    kind: str, *segments: str, control: str = "C1", at: str = AT, processing: str = "P"
) -> bytes:
    head = f"MSH|^~\\&|LAB|NORTH|HIS|NORTH|{at}||{kind}|{control}|{processing}|2.5.1||||||UNICODE UTF-8"
    return "\r".join((head, *segments, "")).encode()


def admission(mrn: str = "P1", event: str = "A01", **head: str) -> bytes:
    return v2(
        f"ADT^{event}^ADT_A01",
        f"EVN|{event}|{AT}",
        PID.format(mrn=mrn),
        PV1.format(mrn=mrn),
        **head,
    )


def order(number: str = "O1", control: str = "NW", **head: str) -> bytes:
    return v2(
        "ORM^O01^ORM_O01",
        PID.format(mrn="P1"),
        f"ORC|{control}|{number}^HIS",
        *((f"OBR|1|{number}^HIS||GLU^Glucose^L",) if control != "CA" else ()),
        **head,
    )


def result(value: str, issued: str, *, filler: str = "F1", status: str = "F", **head: str) -> bytes:
    return v2(
        "ORU^R01^ORU_R01",
        PID.format(mrn="P1"),
        f"ORC|RE|O1^HIS|{filler}^LAB",
        f"OBR|1|O1^HIS|{filler}^LAB|GLU^Glucose^L|||{AT}|||||||||||||||{issued}|||{status}",
        f"OBX|1|NM|GLU^Glucose^L||{value}|mmol/L^^UCUM|||||{status}|||{AT}",
        **head,
    )


def merge(survivor: str, retired: str, **head: str) -> bytes:
    return v2(
        "ADT^A40^ADT_A39",
        f"EVN|A40|{AT}",
        PID.format(mrn=survivor),
        f"MRG|{retired}^^^NORTH^MR",
        **head,
    )


@dataclass
class Ward:
    """A view at work on events in memory."""

    events: MemoryEvents
    view: ToFhir
    counters: Counters
    broker: MemoryBroker
    sent: int = field(default=0)

    async def send(self, message: bytes, *, message_id: bytes = b"") -> None:
        """Store a raw message and wait until the view has worked it."""
        self.sent += 1
        dead = len(self.events.dead_letters)
        before = self.worked()
        await self.events.publish(
            NewEvent(
                subject="evt.north.raw.hl7v2.7",
                type="hl7v2/ADT^A01",
                body=message,
                message_id=message_id or self.sent.to_bytes(16, "big"),
                received_ms=1_800_000_000_000,
            )
        )
        await eventually(
            lambda: self.worked() > before or len(self.events.dead_letters) > dead,
            what="the view of a message",
        )

    def worked(self) -> int:
        return self.counters.get("message_mapped")

    def views(self, name: str = "") -> list[dict[str, Any]]:
        """Bundles published, of one event where named (`result.reported`)."""
        return [
            json.loads(event.body)
            for event in self.events.events
            if event.type == FHIR_JSON and f".{name}" in event.subject
        ]


def resources(bundle: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [
        entry["resource"]
        for entry in bundle.get("entry", ())
        if entry.get("resource", {}).get("resourceType") == kind
    ]


@asynccontextmanager
async def working(
    folder: Path, broker: MemoryBroker | None = None, **settings: object
) -> AsyncIterator[Ward]:
    inside = broker or MemoryBroker()
    events = MemoryEvents()
    config = ToFhirConfig.model_validate(
        {"name": "views", "kind": "hl7v2.to-fhir", "subscribe": "evt.north.raw.>", **settings}
    )
    made = runtime(events, folder, clock=FakeClock(), records=in_memory(inside))
    view = ToFhir(config, made)
    await view.start()
    try:
        yield Ward(events, view, made.counters, inside)
    finally:
        await view.stop()
        for consumption in list(events.consumptions):
            await consumption.stop()


@pytest.fixture
async def ward(tmp_path: Path) -> AsyncIterator[Ward]:
    async with working(tmp_path) as made:
        yield made


async def test_a_message_gets_its_view_in_the_same_partition(ward: Ward) -> None:
    await ward.send(admission())
    (view,) = ward.views("patient.admitted")
    assert view["type"] == "transaction"
    (patient,) = resources(view, "Patient")
    assert patient["birthDate"] == "1970-01-01"
    assert ward.events.events[-1].subject == "evt.north.patient.admitted.7"


async def test_a_resent_message_gives_the_same_resources(ward: Ward, tmp_path: Path) -> None:
    await ward.send(admission(control="C1"))
    await ward.send(admission(control="C2"))
    async with working(tmp_path) as restarted:
        await restarted.send(admission(control="C3"))
        third = restarted.views("patient.admitted")
    ids = [
        {kind: resources(view, kind)[0]["id"] for kind in ("Patient", "Encounter")}
        for view in (*ward.views("patient.admitted"), *third)
    ]
    assert ids[0] == ids[1] == ids[2]


async def test_the_same_event_worked_twice_is_one_view(ward: Ward, tmp_path: Path) -> None:
    await ward.send(admission())
    (raw,) = [event for event in ward.events.events if event.type != FHIR_JSON]
    await ward.view.view(raw)
    assert len(ward.views()) == 1


async def test_a_result_before_its_order_meets_it_later(ward: Ward) -> None:
    await ward.send(result("5.1", "20260301110000+0100"))
    await ward.send(order())
    (report,) = resources(ward.views("result.reported")[0], "DiagnosticReport")
    (placed,) = resources(ward.views("order.ordered")[0], "ServiceRequest")
    assert [
        one["reference"].rpartition("/")[2].rpartition(":")[2] for one in report["basedOn"]
    ] == [placed["id"]]


async def test_an_old_result_does_not_stand_over_a_newer_one(ward: Ward) -> None:
    await ward.send(result("5.9", "20260302110000+0100", status="C"))
    await ward.send(result("5.1", "20260301110000+0100"))
    assert len(ward.views("result.outdated")) == 1
    current = ward.views("result.reported")
    assert len(resources(current[0], "Observation")) == 1
    assert not resources(current[1], "DiagnosticReport")
    assert not resources(current[1], "Observation")
    assert ward.counters.get("report_outdated") == 1


async def test_an_update_after_a_merge_does_not_revive_the_patient(ward: Ward) -> None:
    await ward.send(merge("P1", "P2"))
    await ward.send(admission("P2", "A08"))
    retired = resources(ward.views("patient.merged")[0], "Patient")
    assert {one.get("active", True) for one in retired} == {True, False}
    (updated,) = resources(ward.views("patient.updated")[0], "Patient")
    assert updated["active"] is False
    assert updated["link"][0]["type"] == "replaced-by"
    assert ward.counters.get("patient_already_merged") == 1


async def test_an_order_is_cancelled_by_its_control_code_alone(ward: Ward) -> None:
    await ward.send(order())
    await ward.send(order(control="CA"))
    placed, cancelled = (
        resources(view, "ServiceRequest")[0] for view in ward.views("order.ordered")
    )
    assert placed["id"] == cancelled["id"]
    assert (placed["status"], cancelled["status"]) == ("active", "revoked")


async def test_training_messages_are_labelled_on_every_resource(ward: Ward) -> None:
    await ward.send(admission(processing="T"))
    (view,) = ward.views()
    for entry in view["entry"]:
        labels = entry["resource"]["meta"]["security"]
        assert "HTEST" in [one["code"] for one in labels]


async def test_training_messages_can_be_refused(tmp_path: Path) -> None:
    async with working(tmp_path, test_messages="reject") as ward:
        await ward.send(admission(processing="D"))
        assert not ward.views()
        assert len(ward.events.dead_letters) == 1


@pytest.mark.parametrize(
    ("zone", "told"), [("", None), ("Europe/Berlin", "2026-03-01T10:00:00+01:00")]
)
async def test_a_time_without_a_zone_is_never_guessed(
    tmp_path: Path, zone: str, told: str | None
) -> None:
    async with working(tmp_path, zone=zone) as ward:
        await ward.send(result("5.1", "20260301100000"))
        (report,) = resources(ward.views("result.reported")[0], "DiagnosticReport")
        assert report.get("issued") == told


async def test_the_mrn_decides_who_the_patient_is(ward: Ward) -> None:
    """The identifier of type MR makes the id, wherever it stands among the others."""
    other = PID.replace(
        "{mrn}^^^NORTH^MR~77{mrn}^^^NATIONAL^NI", "99^^^NATIONAL^NI~{mrn}^^^NORTH^MR"
    )
    await ward.send(admission("P1"))
    await ward.send(
        v2("ADT^A08^ADT_A01", f"EVN|A08|{AT}", other.format(mrn="P1"), PV1.format(mrn="P1"))
    )
    first, second = (resources(view, "Patient")[0]["id"] for view in ward.views())
    assert first == second


async def test_what_cannot_be_mapped_is_a_dead_letter_without_content(ward: Ward) -> None:
    for body, told in (
        (v2("XYZ^Q99", "QRD|secret-4711"), "unsupported"),
        (b"no message", "header"),
    ):
        await ward.send(body)
        with pytest.raises(Rejected, match=told) as refused:
            await ward.view.view(received(body))
        assert "4711" not in str(refused.value)
    assert [reason for _, _, reason in ward.events.dead_letters] == ["rejected", "rejected"]


async def test_tables_are_changed_while_messages_pass(ward: Ward) -> None:
    await ward.send(admission())
    transport = await ward.broker.connect(name="engineer")
    shelf = Shelf(await transport.key_value(BUCKET), SITE_KEY)
    table = b"segment: PID[Patient]\nrules:\n  - {id: site-language, to: language, const: de}\n"
    layer = Shelved(files={"segments/pid.yaml": table}, author="engineer", reason="", at_ms=1)
    revision = await shelf.write("views", layer)
    await eventually(lambda: ward.counters.get("tables_loaded") == 2, what="the new tables")
    await ward.send(admission(control="C2"))
    first, second = (resources(view, "Patient")[0] for view in ward.views())
    assert ("language" in first, second["language"]) == (False, "de")
    broken = Shelved(
        files={"segments/pid.yaml": table.replace(b"language,", b"langage,")},
        author="engineer", reason="", at_ms=2, revision=revision,
    )  # fmt: skip
    await shelf.write("views", broken)
    await eventually(
        lambda: ward.view.health().condition is Condition.DEGRADED, what="the trouble in health"
    )
    assert "language" in ward.view.health().detail
    await ward.send(admission(control="C4"))
    assert resources(ward.views()[-1], "Patient")[0]["language"] == "de"


async def test_a_replay_under_new_tables_is_a_new_view(ward: Ward, tmp_path: Path) -> None:
    layer = tmp_path / "site"
    (layer / "segments").mkdir(parents=True)
    (layer / "segments" / "pid.yaml").write_text(
        "segment: PID[Patient]\nrules:\n  - {id: site-language, to: language, const: de}\n"
    )
    await ward.send(admission())
    (raw,) = [event for event in ward.events.events if event.type != FHIR_JSON]
    async with working(tmp_path, tables=str(layer)) as later:
        await later.view.view(raw)
        (again,) = later.events.events
    assert again.message_id != ward.events.events[-1].message_id


async def test_nothing_is_acknowledged_before_the_view_is_stored(ward: Ward) -> None:
    await ward.send(admission())
    ward.events.failure = Unavailable("away")
    with pytest.raises(Unavailable):
        await ward.view.view(ward.events.events[0])


async def test_a_view_that_nobody_may_read_holds_up_nothing(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = ward.events.publish

    async def refusing(event: NewEvent) -> object:
        if ".order." in event.subject:
            raise NobodyMayRead("no service may read it")
        return await publish(event)

    monkeypatch.setattr(ward.events, "publish", refusing)
    await ward.send(order())
    await ward.send(admission())
    assert ward.events.dead_letters == []
    assert ward.counters.get("view_unread") == 1
    assert len(ward.views("patient.admitted")) == 1
