"""The judges, tried on what is known: good bundles pass, bad ones do not, the known false alarms are silent."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from adapters.hl7v2.codec import Message
from adapters.hl7v2.mapping.protocol import Issue, IssueCode, Mapped, Origin, Severity
from tests.mapping.checks import (
    Address,
    empty_places,
    leaves,
    lost_leaves,
    repeated_addresses,
    unresolved_references,
)
from tests.mapping.judges import NpmJudge, by_fhir_resources, by_fhirkit
from tests.mapping.oracles import read
from tests.shared_data import shared_path

PATIENT: dict[str, Any] = {
    "resourceType": "Patient",
    "id": "p",
    "gender": "male",
    "birthDate": "1980-02-03",
}
HEADER: dict[str, Any] = {
    "resourceType": "MessageHeader",
    "id": "h",
    "eventCoding": {"system": "http://terminology.hl7.org/CodeSystem/v2-0003", "code": "A01"},
    "source": {
        "name": "x",
        "_endpoint": {
            "extension": [
                {
                    "url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason",
                    "valueCode": "unknown",
                }
            ]
        },
    },
}


def bundle(*resources: dict[str, Any]) -> dict[str, Any]:
    entries = [{"fullUrl": f"urn:uuid:{one['id']}", "resource": one} for one in resources]
    return {"resourceType": "Bundle", "type": "collection", "entry": entries}


@pytest.fixture(scope="module")
def npm() -> Iterator[NpmJudge]:
    with NpmJudge() as judge:
        yield judge


def test_every_judge_accepts_what_is_good(npm: NpmJudge) -> None:
    good = bundle(PATIENT, HEADER)
    assert npm.findings(good) == by_fhirkit(good) == by_fhir_resources(good) == []


@pytest.mark.parametrize(
    ("change", "judges"),
    [
        ({"gender": "M"}, {"npm fhir"}),
        ({"birthDate": "1980-13-03"}, {"fhirkit", "fhir.resources"}),
        ({"nonsense": 1}, {"npm fhir", "fhirkit", "fhir.resources"}),
        ({"name": {"family": "x"}}, {"npm fhir", "fhirkit", "fhir.resources"}),
        ({"link": [{"type": "refer"}]}, {"npm fhir", "fhirkit", "fhir.resources"}),
        ({"name": []}, {"fhirkit"}),
    ],
)
def test_judges_refuse_what_each_is_known_to_see(
    npm: NpmJudge, change: dict[str, Any], judges: set[str]
) -> None:
    bad = bundle({**PATIENT, **change})
    found = [*npm.findings(bad), *by_fhirkit(bad), *by_fhir_resources(bad)]
    assert {one.judge for one in found} >= judges


def test_the_three_known_false_alarms_are_silent_and_real_ones_beside_them_are_not(
    npm: NpmJudge,
) -> None:
    conditional = {
        "resourceType": "Encounter",
        "id": "e",
        "status": "planned",
        "class": {"code": "AMB"},
        "subject": {"reference": "Patient?identifier=http://a.example/b|7"},
    }
    substitution = {
        "resourceType": "MedicationRequest",
        "id": "m",
        "status": "active",
        "intent": "order",
        "medicationCodeableConcept": {"text": "x"},
        "subject": {"reference": "urn:uuid:p"},
        "substitution": {"allowedBoolean": False},
    }
    assert npm.findings(bundle(HEADER, conditional, substitution)) == []
    without_endpoint = copy.deepcopy(HEADER)
    del without_endpoint["source"]["_endpoint"]
    wrong_type = {**conditional, "subject": {"reference": "Organization/1"}}
    no_choice = {**substitution, "substitution": {}}
    found = npm.findings(bundle(without_endpoint, wrong_type, no_choice))
    assert {one.where for one in found} >= {"MessageHeader.source.endpoint", "Encounter.subject"}


def test_eight_of_microsofts_expected_bundles_are_bad(npm: NpmJudge) -> None:
    folder = shared_path("data/hl7v2/microsoft-fhir-converter/expected")
    bundles = [read(path) for path in sorted(folder.rglob("*.json"))]
    refused = [
        one for one in bundles if npm.findings(one) or by_fhirkit(one) or by_fhir_resources(one)
    ]
    dangling = [one for one in bundles if unresolved_references(one)]
    bad = [one for one in bundles if one in refused or one in dangling]
    assert (len(bundles), len(refused), len(dangling), len(bad)) == (80, 7, 2, 8)


def test_references_resolve_by_full_url_type_and_id_or_containment_or_are_conditional() -> None:
    inner = {"resourceType": "Medication", "id": "in"}
    one = {
        "resourceType": "Encounter",
        "id": "e",
        "contained": [inner],
        "subject": {"reference": "urn:uuid:p"},
        "partOf": {"reference": "Patient/p"},
        "a": [{"reference": "#in"}, {"reference": "Patient?identifier=1"}],
    }
    assert unresolved_references(bundle(PATIENT, one)) == []
    one["a"] = [{"reference": "#out"}, {"reference": "urn:uuid:q"}, {"reference": "Patient/q"}]
    assert len(unresolved_references(bundle(PATIENT, one))) == 3


def test_strictly_a_relative_reference_needs_an_address_of_a_server() -> None:
    one = {"resourceType": "Encounter", "id": "e", "subject": {"reference": "Patient/p"}}
    made = bundle(PATIENT, one)
    assert unresolved_references(made, strict=True) == ["Encounter.subject: Patient/p"]
    made["entry"][0]["fullUrl"] = "http://a.example/fhir/Patient/p"
    assert unresolved_references(made, strict=True) == []


def test_repeated_and_missing_addresses_are_found() -> None:
    made = bundle(PATIENT, PATIENT)
    assert repeated_addresses(made) == ["urn:uuid:p", "Patient/p"]
    del made["entry"][0]["fullUrl"]
    made["entry"].pop()
    assert repeated_addresses(made) == ["missing"]


def test_empty_places_are_found_and_nulls_beside_an_element_are_not() -> None:
    assert empty_places({"a": "", "b": [], "c": {}, "d": [{"e": None}], "f": 0, "g": False}) == [
        "Bundle.a",
        "Bundle.b",
        "Bundle.c",
        "Bundle.d[0].e",
    ]
    assert (
        empty_places({"given": [None, "Ann"], "_given": [{"extension": [{"url": "x"}]}, None]})
        == []
    )
    assert empty_places({"given": [None], "_given": [None]})


MESSAGE = b"MSH|^~\\&|APP||||20240102||ADT^A01|77|P|2.5.1\rPID|1||4711^^^HOSP~0815||Doe^Ann|||M\rZXX|hidden\r"


def test_leaves_are_every_valued_place_after_the_delimiters() -> None:
    found = {str(leaf): text for leaf, text in leaves(Message.parse(MESSAGE))}
    assert found["PID[1]-3[1].1.1"] == "4711"
    assert found["PID[1]-3[2].1.1"] == "0815"
    assert found["MSH[1]-9[1].2.1"] == "A01"
    assert "MSH[1]-2[1].1.1" not in found
    assert len(found) == 15


def covers(text: str, leaf: Address) -> bool:
    place = Address.parse(text)
    return place is not None and place.covers(leaf)


def test_an_address_covers_what_lies_below_it() -> None:
    leaf = Address("PID", 1, 3, 2, 4, 1)
    assert all(covers(text, leaf) for text in ("PID", "PID-3", "PID[1]-3[2].4", "PID-3.4.1"))
    others = ("PV1", "PID-4", "PID[2]-3", "PID-3[1]", "PID-3.1", "Patient.name[0]")
    assert not any(covers(text, leaf) for text in others)


def test_a_leaf_is_lost_unless_it_stands_in_the_bundle_is_a_source_or_is_told() -> None:
    made = bundle(
        {
            **PATIENT,
            "name": [{"family": "Doe", "given": ["Ann"]}],
            "identifier": [{"value": "4711"}],
        }
    )
    issue = Issue(severity=Severity.INFORMATION, code=IssueCode.UNKNOWN_SEGMENT, where="ZXX")
    origin = Origin(path="Patient.gender", rule="r", layer="std", source="PID-8")
    mapped = Mapped(resources=(), bundle=made, issues=(issue,), origins={"p": [origin]})
    lost = lost_leaves(Message.parse(MESSAGE), mapped, made)
    assert {"PID[1]-3[2].1.1", "PID[1]-3[1].4.1"} <= set(lost)
    assert not {"PID[1]-8[1].1.1", "ZXX[1]-1[1].1.1", "PID[1]-5[1].1.1"} & set(lost)
