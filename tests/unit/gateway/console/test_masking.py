from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.console.masking import Masked, mask, reveal
from gateway.console.masking.rows import HIDDEN

SECRETS = ("Testperson", "Vera", "19800101", "4711-99", "Elm Street", "positive", "V-1001", "P-77")
ADT = (
    b"MSH|^~\\&|EMR|NORTH|HIS|NORTH|20261123050000||ADT^A01^ADT_A01|C-1|P|2.5.1\r"
    b"EVN|A01|20261123050000\r"
    b"PID|1||4711-99^^^MRN||Testperson^Vera||19800101|F|||1 Elm Street^^Town\r"
    b"PV1|1|I|W1^2^3||||1234^Doctor||||||||||||V-1001\r"
    b"OBX|1|ST|HIV^HIV test||positive||||||F\r"
    b"ZPT|Testperson Vera\r"
)
BUNDLE = {
    "resourceType": "Bundle",
    "id": "P-77",
    "type": "transaction",
    "entry": [
        {
            "fullUrl": "urn:P-77",
            "resource": {
                "resourceType": "Patient",
                "id": "P-77",
                "active": True,
                "name": [{"family": "Testperson", "given": ["Vera"]}],
                "birthDate": "19800101",
                "extension": [{"url": "urn:x", "valueString": "Elm Street"}],
                "contained": [{"resourceType": "Organization", "id": "4711-99", "name": "Vera"}],
            },
            "request": {"method": "PUT", "url": "Patient/P-77"},
        },
        {
            "resource": {
                "resourceType": "Observation",
                "status": "final",
                "code": {
                    "coding": [{"system": "http://loinc.org", "code": "718-7"}],
                    "text": "Vera",
                },
                "valueString": "positive",
            }
        },
    ],
}


def texts(masked: Masked) -> str:
    return "\n".join(f"{row.name} {row.path} {row.label} {row.value}" for row in masked.rows)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("hl7v2/ADT^A01", ADT),
        ("application/fhir+json; fhirVersion=4.0", json.dumps(BUNDLE).encode()),
    ],
)
def test_nothing_about_the_patient_is_readable_until_it_is_unmasked(
    content_type: str, body: bytes
) -> None:
    masked, revealed = mask(content_type, body), reveal(content_type, body)
    for secret in SECRETS:
        assert secret not in texts(masked)
        assert (secret in texts(revealed)) == (secret.encode() in body)
    assert masked.hidden > 5
    assert revealed.hidden == 0


def test_an_operator_sees_what_kind_of_message_it_is() -> None:
    rows = {row.name: row for row in mask("hl7v2", ADT).rows}
    assert mask("hl7v2", ADT).format == "HL7 v2 message ADT^A01^ADT_A01"
    assert rows["MSH-9"].value == "ADT^A01^ADT_A01"
    assert rows["MSH-10"].value == "C-1"
    assert rows["PID-5"].label == "patient name"
    assert rows["PID-5"].value == HIDDEN
    assert rows["OBX-11"].value == "F"
    fhir = {
        row.path: row.value
        for row in mask("application/fhir+json", json.dumps(BUNDLE).encode()).rows
    }
    assert fhir["type"] == "transaction"
    assert fhir["entry[0].resource.resourceType"] == "Patient"
    assert fhir["entry[1].resource.code.coding[0].code"] == "718-7"
    assert fhir["entry[0].request.method"] == "PUT"
    assert fhir["entry[0].request.url"] == HIDDEN


def test_a_listed_field_that_does_not_look_like_a_code_is_hidden() -> None:
    body = ADT.replace(b"|EMR|", "|Frau Müller aus Köln|".encode())
    rows = {row.name: row for row in mask("hl7v2", body).rows}
    assert rows["MSH-3"].is_hidden
    long = {"resourceType": "Patient", "status": "x" * 200}
    assert mask("application/fhir+json", json.dumps(long).encode()).rows[1].is_hidden


def test_keys_that_no_element_can_have_are_hidden_too() -> None:
    body = json.dumps({"resourceType": "Patient", "Vera Testperson": {"4711-99": 1}}).encode()
    assert "Testperson" not in texts(mask("application/fhir+json", body))
    assert "4711" not in texts(mask("application/fhir+json", body))


def test_the_list_of_a_type_does_not_hold_for_what_lies_inside_another() -> None:
    body = {
        "resourceType": "Observation",
        "contained": [{"resourceType": "Condition", "code": {"coding": [{"code": "B20"}]}}],
        "note": {"code": {"coding": [{"code": "B20"}]}},
    }
    assert "B20" not in texts(mask("application/fhir+json", json.dumps(body).encode()))


@pytest.mark.parametrize("content_type", ["application/x-protobuf", "text/plain", "hl7v2", "", "ü"])
def test_of_a_format_without_a_list_only_type_and_size_are_seen(content_type: str) -> None:
    masked = mask(content_type, b"Testperson Vera")
    assert not masked.rows
    assert masked.size == 15
    assert masked.note


def test_unmasking_shows_binary_content_as_bytes() -> None:
    assert reveal("application/dicom", b"\xff\x00" * 20).rows[0].value.startswith("ff 00")
    assert reveal("text/plain", b"one\ntwo").rows[1].value == "two"


def test_what_is_too_long_is_cut_and_says_so() -> None:
    body = ADT + b"NTE|1||Testperson\r" * 4000
    masked = mask("hl7v2", body)
    assert masked.is_cut
    assert len(masked.rows) == 3000


@given(st.text(min_size=1, alphabet=st.characters(blacklist_categories=["Cs"])))
def test_no_text_of_a_hidden_field_is_ever_readable(secret: str) -> None:
    body = json.dumps({"resourceType": "Patient", "name": [{"text": f"§{secret}"}]}).encode()
    assert f"§{secret}" not in texts(mask("application/fhir+json", body))


@given(st.binary())
def test_whatever_it_is_masking_does_not_fail(body: bytes) -> None:
    for content_type in ("hl7v2", "application/fhir+json"):
        mask(content_type, body)
        reveal(content_type, b"MSH|^~\\&|" + body)
