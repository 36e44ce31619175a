"""What the standard tables make of scheduling, documents, vaccinations, medication, charges, referrals and problems."""

from __future__ import annotations

import base64
from datetime import UTC
from functools import lru_cache
from typing import Any

import orjson
import pytest

from adapters.hl7v2.codec import Message
from adapters.hl7v2.mapping import MapContext, Mapper, default_mapper, to_json

PID = "PID|1||4711^^^NORTH^MR||Vale^Ada||19700102|F"


@lru_cache(maxsize=1)
def mapper() -> Mapper:
    return default_mapper()


def mapped(kind: str, *segments: str) -> dict[str, list[dict[str, Any]]]:
    """The resources of a message by type."""
    header = f"MSH|^~\\&|HIS|NORTH|MESH|MESH|20260102030405||{kind}|C1|P|2.5.1"
    raw = "\r".join([header, *segments, ""]).encode()
    found = mapper().map(Message.parse(raw), MapContext(tenant="t", zone=UTC))
    resources: dict[str, list[dict[str, Any]]] = {}
    for resource in orjson.loads(to_json(list(found.resources))):
        resources.setdefault(resource["resourceType"], []).append(resource)
    return resources


def appointment(event: str, status: str = "", *more: str) -> dict[str, Any]:
    sch = f"SCH|P1^HIS|F1^HIS||||NOSHOW^gone^L|CHECKUP||30|min|^^^20260105100000^20260105103000||||||||||||||{status}"
    (found,) = mapped(f"SIU^{event}^SIU_S12", sch, *more)["Appointment"]
    return found


BOOKED = (PID, "RGS|1", "AIS|1||X1^Scan^L|20260105100000", "AIP|1||77^Ray^Max|D^Doctor^L")


@pytest.mark.parametrize(
    ("event", "status", "expected"),
    [
        ("S12", "", "booked"),
        ("S12", "Pending", "pending"),
        ("S13", "Booked", "booked"),
        ("S14", "Complete", "fulfilled"),
        ("S15", "Booked", "cancelled"),
        ("S16", "Discontinued", "cancelled"),
        ("S17", "Booked", "entered-in-error"),
        ("S26", "Booked", "noshow"),
        ("S12", "Discontinued", "cancelled"),
    ],
)
def test_event_and_status_decide_over_an_appointment(
    event: str, status: str, expected: str
) -> None:
    assert appointment(event, status, *BOOKED)["status"] == expected


def test_an_appointment_keeps_its_id_through_its_events() -> None:
    assert len({appointment(event, "", *BOOKED)["id"] for event in ("S12", "S14", "S15")}) == 1


def test_the_reason_of_a_cancellation_is_told() -> None:
    reason = appointment("S15", "", *BOOKED)["cancelationReason"]
    assert reason["coding"][0]["code"] == "NOSHOW"
    assert "cancelationReason" not in appointment("S12", "", *BOOKED)


def test_a_service_is_a_request_of_its_own_for_each_appointment() -> None:
    first = mapped("SIU^S12^SIU_S12", "SCH|P1|F1", *BOOKED)["ServiceRequest"]
    second = mapped("SIU^S12^SIU_S12", "SCH|P2|F2", *BOOKED)["ServiceRequest"]
    assert first[0]["code"]["coding"][0]["code"] == "X1"
    assert first[0]["id"] != second[0]["id"]


def test_a_comment_on_a_service_is_not_the_comment_of_the_appointment() -> None:
    found = appointment("S12", "", *BOOKED[:3], "NTE|1||come fasting")
    assert "comment" not in found


def document(event: str, txa: str, *more: str) -> dict[str, Any]:
    found = mapped(f"MDM^{event}", "EVN||20260102", PID, "PV1|1|O", txa, *more)
    return found["DocumentReference"][0]


TXA = "TXA|1|DS|TX|20260101||20260101120000+0000|||9^Pen^Ann|||D2^HIS|D1^HIS||||{}||{}"


@pytest.mark.parametrize(
    ("event", "availability", "status", "completion"),
    [
        ("T02", "AV", "current", "final"),
        ("T02", "OB", "superseded", "final"),
        ("T02", "CA", "entered-in-error", "entered-in-error"),
        ("T11", "AV", "entered-in-error", "entered-in-error"),
    ],
)
def test_event_and_availability_decide_over_a_document(
    event: str, availability: str, status: str, completion: str
) -> None:
    found = document(event, TXA.format("AU", availability))
    assert (found["status"], found["docStatus"]) == (status, completion)


@pytest.mark.parametrize(("event", "code"), [("T06", "appends"), ("T10", "replaces")])
def test_an_addendum_and_a_replacement_name_the_document_before(event: str, code: str) -> None:
    relation = document(event, TXA.format("AU", "AV"))["relatesTo"][0]
    assert relation["code"] == code
    assert relation["target"]["identifier"]["value"] == "D1"


def test_lines_of_a_document_with_the_same_code_are_all_kept() -> None:
    lines = [f"OBX|{n}|TX|N^Note^L|1|line {n}||||||F" for n in (1, 2, 3)]
    found = mapped("MDM^T02", "EVN||20260102", PID, "PV1|1|O", TXA.format("AU", "AV"), *lines)
    (content,) = found["DocumentReference"][0]["content"]
    text = base64.b64decode(content["attachment"]["data"]).decode()
    assert text.splitlines() == ["line 1", "line 2", "line 3"]


def immunization(rxa: str, *more: str) -> dict[str, Any]:
    found = mapped("VXU^V04^VXU_V04", PID, "ORC|RE||F9^IIS", rxa, *more)
    return found["Immunization"][0]


RXA = "RXA|0|1|20260101||140^Influenza^CVX|0.5|mL^^UCUM||{}||||||L1|||{}||{}|{}"


@pytest.mark.parametrize(
    ("completion", "action", "expected"),
    [
        ("CP", "A", "completed"),
        ("", "A", "completed"),
        ("PA", "A", "completed"),
        ("RE", "A", "not-done"),
        ("NA", "A", "not-done"),
        ("CP", "D", "entered-in-error"),
    ],
)
def test_completion_and_action_decide_over_a_vaccination(
    completion: str, action: str, expected: str
) -> None:
    rxa = RXA.format("00", "", completion, action)
    assert immunization(rxa)["status"] == expected


def test_a_historical_vaccination_is_not_from_the_primary_source() -> None:
    found = immunization(RXA.format("01^Historical^NIP001", "", "CP", "A"))
    assert found["primarySource"] is False
    assert found["reportOrigin"]["coding"][0]["code"] == "01"


def test_what_is_said_about_a_vaccination_stands_in_it_and_beside_it() -> None:
    found = mapped(
        "VXU^V04^VXU_V04",
        PID,
        "ORC|RE||F9^IIS",
        RXA.format("00", "", "CP", "A"),
        "OBX|1|CE|64994-7^Eligibility^LN|1|V02^Medicaid^HL70064||||||F",
        "OBX|2|DT|29769-7^Presented^LN|2|20260101||||||F",
    )
    (one,) = found["Immunization"]
    assert one["programEligibility"][0]["coding"][0]["code"] == "V02"
    assert one["education"][0]["presentationDate"].startswith("2026-01-01")
    assert len(found["Observation"]) == 2
    assert all(len(other["partOf"]) == 1 for other in found["Observation"])


RDE = (
    "ORC|{}|O1^HIS|F1^PHA||||||20260101",
    "RXO|A1^Aspirin^L|1||TAB^Tablet",
    "RXR|PO",
    "RXE||B1^Aspirin 100^L|100||mg|||||30|TAB^Tablet|2||||||||||||||||||||||",
    "RXR|PO",
)


@pytest.mark.parametrize(
    ("control", "expected"),
    [("NW", "active"), ("CA", "cancelled"), ("DC", "stopped"), ("HD", "on-hold")],
)
def test_order_control_decides_over_a_medication_order(control: str, expected: str) -> None:
    found = mapped("RDE^O11^RDE_O11", PID, RDE[0].format(control), *RDE[1:])
    assert {one["status"] for one in found["MedicationRequest"]} == {expected}


def test_the_order_and_its_encoding_are_two_requests_of_which_one_is_based_on_the_other() -> None:
    found = mapped("RDE^O11^RDE_O11", PID, RDE[0].format("NW"), *RDE[1:])
    by_intent = {one["intent"]: one for one in found["MedicationRequest"]}
    assert set(by_intent) == {"original-order", "filler-order"}
    based_on = by_intent["filler-order"]["basedOn"][0]["reference"]
    assert based_on.endswith(by_intent["original-order"]["id"])


def test_an_encoding_is_not_based_on_the_order_of_another() -> None:
    found = mapped(
        "RDE^O11^RDE_O11",
        PID,
        *(part.format("NW") for part in RDE),
        "ORC|NW|O2^HIS|F2^PHA",
        *RDE[3:],
    )
    encoded = [one for one in found["MedicationRequest"] if one["intent"] == "filler-order"]
    assert sorted(len(one.get("basedOn", ())) for one in encoded) == [0, 1]


def test_a_dispense_names_its_drug_and_amount() -> None:
    found = mapped(
        "RDS^O13^RDS_O13",
        PID,
        "ORC|RE|O1^HIS|F1^PHA",
        "RXD|1|B1^Aspirin^L|20260101|30|TAB^Tablet||RX7",
        "RXR|PO",
    )
    (one,) = found["MedicationDispense"]
    assert one["status"] == "completed"
    assert one["quantity"] == {"value": 30, "unit": "Tablet"}
    assert found["Medication"][0]["code"]["coding"][0]["code"] == "B1"


def test_a_payment_is_no_charge() -> None:
    charge = "FT1|1|T1||20260101|20260101|{}|C1^Scan^L|||1|100&EUR"
    segments = ("EVN||20260102", PID, "PV1|1|O")
    assert mapped("DFT^P03^DFT_P03", *segments, charge.format("CG"))["ChargeItem"]
    assert "ChargeItem" not in mapped("DFT^P03^DFT_P03", *segments, charge.format("PY"))


def test_a_cancelled_referral_is_revoked() -> None:
    rf1 = ("RF1|A|R|MED^Medical^L|||R7^HIS", "PRD|RP|Pen^Ann", "PRD|RT|Ray^Max", PID)
    for event, expected in (("I12", "active"), ("I14", "revoked")):
        (one,) = mapped(f"REF^{event}^REF_I12", *rf1)["ServiceRequest"]
        assert one["status"] == expected


def test_a_deleted_problem_is_an_error_and_has_no_clinical_status() -> None:
    problem = "PRB|AD|20260101|E11^Diabetes^I10|B1^HIS"
    (added,) = mapped("PPR^PC1^PPR_PC1", PID, problem)["Condition"]
    (deleted,) = mapped("PPR^PC3^PPR_PC1", PID, problem)["Condition"]
    assert added["id"] == deleted["id"]
    assert added["clinicalStatus"]["coding"][0]["code"] == "active"
    assert "clinicalStatus" not in deleted
    assert deleted["verificationStatus"]["coding"][0]["code"] == "entered-in-error"
