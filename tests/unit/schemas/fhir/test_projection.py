"""What routing reads of a document: little, bounded, and never an exception on content."""

from __future__ import annotations

import json

import pytest

from schemas.fhir import MalformedFhir, Token, project
from schemas.fhir.projection import MAX_LISTED, MAX_TEXT
from tests.unit.schemas.fhir.samples import BUNDLE, OBSERVATION, PATIENT


def document(**keys: object) -> bytes:
    return json.dumps({"resourceType": "Observation", **keys}).encode()


def test_an_observation_says_what_it_is_and_of_whom() -> None:
    found = project(OBSERVATION)
    assert found.resource_type == "Observation"
    assert (found.id, found.version_id) == ("obs-1", "3")
    assert found.last_updated == "2026-11-22T08:15:00.715+00:00"
    assert found.profiles == ("http://example.org/p",)
    assert found.status == "final"
    assert found.patients == ("Patient/17",)
    assert found.encounter == "Encounter/4"
    assert found.codes == (Token("http://loinc.org", "718-7"),)
    assert found.entry_types == ()
    assert not found.is_cut


def test_a_patient_is_about_itself() -> None:
    found = project(PATIENT)
    assert found.patients == ("Patient/17",)
    assert found.patient_identifiers == (Token("urn:oid:1.2.3", "MRN-17"), Token("", "no-system"))


def test_a_bundle_tells_the_types_and_patients_of_its_entries() -> None:
    found = project(BUNDLE)
    assert found.entry_types == ("Bundle", "Observation", "Patient")
    assert found.patients == ("Patient/17",)
    assert len(found.patient_identifiers) == 2


@pytest.mark.parametrize(
    ("reference", "is_patient"),
    [
        ({"reference": "Patient/1"}, True),
        ({"reference": "http://ehr.example/fhir/Patient/1/_history/2"}, True),
        ({"reference": "urn:uuid:0"}, True),
        ({"reference": "urn:uuid:0", "type": "Patient"}, True),
        ({"reference": "urn:uuid:0", "type": "Device"}, False),
        ({"reference": "Group/1"}, False),
        ({"reference": "#contained"}, False),
    ],
)
def test_references_that_name_something_else_are_no_patients(
    reference: dict[str, str], *, is_patient: bool
) -> None:
    for key in ("subject", "patient", "beneficiary", "individual", "for"):
        found = project(document(**{key: reference}))
        assert found.patients == ((reference["reference"],) if is_patient else ())


def test_a_logical_reference_gives_the_identifier() -> None:
    logical = {"identifier": {"system": "urn:oid:1", "value": "M1"}, "display": "x"}
    found = project(document(subject=logical))
    assert (found.patients, found.patient_identifiers) == ((), (Token("urn:oid:1", "M1"),))
    assert project(document(subject=[logical, {"reference": "Patient/2"}])).patients == (
        "Patient/2",
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"subject": 5},
        {"subject": {"reference": 5}},
        {"subject": [None]},
        {"meta": "x", "status": ["final"]},
        {"meta": {"profile": "x"}},
        {"entry": [5]},
        {"entry": {"resource": 1}},
        {"code": {"coding": [{"code": 1.5}]}},
        {"id": None, "identifier": 1},
        {"for": True, "individual": "x"},
    ],
)
def test_a_wrong_form_costs_its_own_key_only(wrong: dict[str, object]) -> None:
    found = project(document(encounter={"reference": "Encounter/4"}, **wrong))
    assert (found.resource_type, found.encounter) == ("Observation", "Encounter/4")
    assert (found.patients, found.codes, found.entry_types) == ((), (), ())


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"null", b'{"id":"\xff"}', b'{"a":' + b"[" * 9000]
)
def test_what_is_no_json_object_is_refused(raw: bytes) -> None:
    with pytest.raises(MalformedFhir):
        project(raw)


def test_an_object_without_a_type_is_empty() -> None:
    assert project(b"{}").resource_type == ""


def test_lists_and_texts_are_bounded_and_say_so() -> None:
    codes = [{"system": "s", "code": f"c{n}"} for n in range(MAX_LISTED + 1)]
    found = project(document(code={"coding": codes}))
    assert len(found.codes) == MAX_LISTED
    assert found.is_cut
    assert not project(document(code={"coding": codes[:MAX_LISTED] * 2})).is_cut
    long = project(document(status="x" * (MAX_TEXT + 1), id="y" * MAX_TEXT))
    assert (long.status, len(long.id), long.is_cut) == ("", MAX_TEXT, True)
