"""Which messages FHIR resources become, and what stands in their fields."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from adapters.hl7v2.reverse import read_fhir_json
from tests.unit.adapters.hl7v2.reverse.resources import (
    bundle,
    context,
    header,
    layered,
    lines,
    message,
    observation,
    order,
    patient,
    report,
    write,
)


def test_an_order_becomes_oml_by_default_and_orm_by_setting() -> None:
    assert write(patient(), order()).message_type == "OML^O21^OML_O21"
    old = message(patient(), order(), at=context(order_message="ORM"))
    assert old.header.message_type == "ORM^O01"
    assert lines(old) == ["MSH", "PID", "ORC", "OBR"]


@pytest.mark.parametrize(
    ("status", "control"),
    [("active", "NW"), ("revoked", "CA"), ("on-hold", "HD"), ("completed", "SC")],
)
def test_the_order_control_comes_of_the_status(status: str, control: str) -> None:
    assert message(patient(), order(status=status)).get("ORC-1") == control


def test_placer_and_filler_numbers_stand_where_they_belong() -> None:
    found = message(patient(), order())
    assert found.get("ORC-2.1") == found.get("OBR-2.1") == "O1"
    assert [found.get(f"ORC-3.{i}") for i in (1, 3, 4)] == ["F1", "1.2.3", "ISO"]


def test_a_report_becomes_an_oru_with_its_results_numbered() -> None:
    found = message(
        patient(),
        report("a", "b"),
        observation("a", valueQuantity={"value": Decimal("5.10"), "unit": "mmol/L"}),
        observation("b", valueString="clear", note=[{"text": "seen twice"}]),
    )
    assert lines(found) == ["MSH", "PID", "ORC", "OBR", "OBX", "OBX", "NTE"]
    assert [found.get(f"OBX[{i}]-1") for i in (1, 2)] == ["1", "2"]
    assert (found.get("OBX-5"), found.get("OBX-6.1"), found.get("OBX-11")) == (
        "5.10",
        "mmol/L",
        "F",
    )
    assert (found.get("NTE-1"), found.get("NTE-3")) == ("1", "seen twice")


@pytest.mark.parametrize(
    ("value", "kind", "written"),
    [
        ({"valueQuantity": {"value": 7, "comparator": "<"}}, "SN", "<^7"),
        ({"valueRange": {"low": {"value": 3}, "high": {"value": 5}}}, "SN", "^3^-^5"),
        ({"valueRatio": {"numerator": {"value": 1}, "denominator": {"value": 128}}}, "SN", "^1^:^128"),
        ({"valueCodeableConcept": {"text": "seen"}}, "CWE", "^seen^^^^^^^seen"),
        ({"valueString": "a\nb"}, "FT", r"a\.br\b"),
        ({"valueString": "x" * 300}, "TX", "x" * 300),
        ({"valueInteger": 3}, "NM", "3"),
        ({"valueBoolean": True}, "ID", "Y"),
        ({"valueDateTime": "2026-03"}, "TS", "202603"),
        ({"valueTime": "10:15:00"}, "TM", "101500"),
        ({"valuePeriod": {"start": "2026-03-01"}}, "DR", "20260301"),
    ],
)  # fmt: skip
def test_the_type_of_a_result_follows_its_value(
    value: dict[str, Any], kind: str, written: str
) -> None:
    found = write(patient(), report("a"), observation("a", **value)).message
    assert found is not None
    fields = next(one for one in found.decode().split("\r") if one.startswith("OBX")).split("|")
    assert (fields[2], fields[5]) == (kind, written)


def test_a_document_of_a_report_is_sent_whole() -> None:
    form = {"contentType": "application/pdf", "data": "JVBERi0xLjQ="}
    found = message(patient(), report(presentedForm=[form]))
    assert [found.get(f"OBX-5.{i}") for i in (2, 3, 4, 5)] == [
        "Application",
        "PDF",
        "Base64",
        "JVBERi0xLjQ=",
    ]


def test_an_event_of_the_header_makes_an_adt() -> None:
    visit = {
        "resourceType": "Encounter",
        "id": "e",
        "status": "in-progress",
        "class": {"code": "IMP"},
        "subject": {"reference": "Patient/p"},
        "location": [{"location": {"reference": "Location/b"}, "status": "active"}],
    }
    bed = {
        "resourceType": "Location",
        "id": "b",
        "name": "B1",
        "physicalType": {"coding": [{"code": "bd"}]},
        "partOf": {"reference": "Location/w"},
    }
    ward = {
        "resourceType": "Location",
        "id": "w",
        "name": "W1",
        "physicalType": {"coding": [{"code": "wa"}]},
    }
    found = message(header("A01"), patient(), visit, bed, ward)
    assert found.header.message_type == "ADT^A01"
    assert lines(found) == ["MSH", "EVN", "PID", "PV1"]
    assert (found.get("PV1-2"), found.get("PV1-3.1"), found.get("PV1-3.3")) == ("I", "W1", "B1")
    assert (found.get("MSH-3.1"), found.get("MSH-3.2"), found.get("MSH-3.3")) == (
        "EHR",
        "1.2.3.4",
        "ISO",
    )


def test_a_patient_alone_needs_an_event_of_the_link() -> None:
    assert [one.code.value for one in write(patient()).issues] == ["unsupported"]
    assert message(patient(), at=context(adt_event="A31")).header.message_type == ("ADT^A31")


def test_a_merge_names_who_was_replaced() -> None:
    keeps = patient(link=[{"type": "replaces", "other": {"reference": "Patient/q"}}])
    found = message(header("A40"), keeps, patient("q"))
    assert (found.get("PID-3.1"), found.get("MRG-1.1")) == ("MRN-p", "MRN-q")


def test_a_response_becomes_an_acknowledgement_with_its_faults() -> None:
    fault = {
        "resourceType": "OperationOutcome",
        "issue": [{"severity": "error", "code": "required", "diagnostics": "no name"}],
    }
    answer = header("A01", response={"identifier": "M7", "code": "fatal-error"})
    found = message(answer, fault)
    assert found.header.message_type == "ACK^A01"
    assert [found.get(path) for path in ("MSA-1", "MSA-2", "ERR-3", "ERR-4", "ERR-8")] == [
        "AR",
        "M7",
        "101",
        "E",
        "no name",
    ]


def test_dates_keep_their_precision_and_offset() -> None:
    found = message(patient(), order())
    assert (found.get("PID-7"), found.get("ORC-9")) == ("197001", "20260301100000+0100")


def test_text_is_escaped_and_comes_back_as_it_was() -> None:
    hostile = 'A|B^C~D\\E&F\r\nPID|2 ""'
    found = message(patient(name=[{"family": hostile}]), order())
    assert found.get("PID-5.1") == hostile.replace("\r\n", "\n")
    assert lines(found).count("PID") == 1


def test_two_quotes_in_a_resource_delete_nothing() -> None:
    found = message(patient(name=[{"family": '""', "given": ["Ada"]}]), order())
    assert found.presence("PID-5.1").name == "VALUED"
    assert found.get("PID-5.1") == '""'


def test_references_are_followed_by_url_id_identifier_and_inside() -> None:
    person = {"resourceType": "Practitioner", "id": "d", "name": [{"family": "Doctor"}]}
    person["identifier"] = [{"system": "urn:oid:1.9", "value": "D1"}]
    inside = {**person, "id": "in"}
    for target, contained in (
        ("Practitioner/d", []),
        ("urn:uuid:7", []),
        ("Practitioner?identifier=urn:oid:1.9|D1", []),
        ("#in", [inside]),
    ):
        found = bundle(
            patient(), order(requester={"reference": target}, contained=contained), person
        )
        found["entry"][2]["fullUrl"] = "urn:uuid:7"
        written = layered({}).write(found, context())
        assert written.message is not None
        assert b"D1^Doctor" in written.message


def test_the_same_event_gives_the_same_bytes() -> None:
    first, second = (write(patient(), order()) for _ in range(2))
    assert (first.message, first.issues) == (second.message, second.issues)


def test_an_older_version_lacks_newer_fields() -> None:
    found = message(
        patient(), report("a"), observation("a", valueCodeableConcept={"text": "seen"}),
        at=context("2.3"),
    )  # fmt: skip
    assert (found.get("OBX-2"), found.get("OBX-5.9"), found.get("MSH-9.3")) == ("CE", "", "")


def test_numbers_are_written_with_the_digits_they_came_with() -> None:
    raw = b'{"resourceType":"Observation","valueQuantity":{"value":1.10}}'
    value = read_fhir_json(raw)
    assert isinstance(value, dict)
    found = message(patient(), report("x"), observation(valueQuantity=value["valueQuantity"]))
    assert found.get("OBX-5") == "1.10"
