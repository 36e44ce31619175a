"""The judge of required bindings: official examples pass, codes of v2 in the place of FHIR's do not."""

from __future__ import annotations

from typing import Any

import pytest

from tests.mapping.bindings import by_bindings
from tests.mapping.oracles import read
from tests.shared_data import shared_path


def bundle(resource: dict[str, Any]) -> dict[str, Any]:
    return {"resourceType": "Bundle", "entry": [{"resource": resource}]}


def test_official_examples_pass() -> None:
    files = sorted(shared_path("data/fhir/r4-examples").rglob("*.json"))
    wrong = {path.name: found for path in files if (found := by_bindings(bundle(read(path))))}
    assert len(files) > 300
    assert not wrong


def test_only_bundles_that_npm_fhir_refuses_too_are_refused_of_microsofts() -> None:
    folder = shared_path("data/hl7v2/microsoft-fhir-converter/expected")
    refused = {path.name for path in folder.rglob("*.json") if by_bindings(read(path))}
    assert refused == {"ADT04-23-expected.json"}


@pytest.mark.parametrize(
    ("resource", "where"),
    [
        ({"resourceType": "Patient", "gender": "M"}, "Patient.gender"),
        ({"resourceType": "Patient", "telecom": [{"use": "PRN"}]}, "Patient.telecom.use"),
        ({"resourceType": "Patient", "contact": [{"gender": "F"}]}, "Patient.contact.gender"),
        ({"resourceType": "Encounter", "status": "Finished"}, "Encounter.status"),
        ({"resourceType": "Observation", "status": "F"}, "Observation.status"),
        (
            {"resourceType": "Observation", "valueQuantity": {"comparator": "=="}},
            "Observation.valueQuantity.comparator",
        ),
        (
            {
                "resourceType": "AllergyIntolerance",
                "clinicalStatus": {"coding": [{"system": "x", "code": "active"}]},
            },
            "AllergyIntolerance.clinicalStatus",
        ),
    ],
)
def test_a_code_outside_its_required_value_set_is_found(
    resource: dict[str, Any], where: str
) -> None:
    assert [one.where for one in by_bindings(bundle(resource))] == [where]
