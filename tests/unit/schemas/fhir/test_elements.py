"""What a release says of its types' elements, and what that gives to conditions on FHIR."""

from __future__ import annotations

import pytest

from schemas.fhir import Release
from schemas.fhir.elements import elements_of
from schemas.fhirpath import FhirPathError, compile_path


@pytest.mark.parametrize("release", list(Release))
def test_a_choice_has_one_name_and_all_its_types(release: Release) -> None:
    elements = elements_of(release)
    assert {"Quantity", "string", "CodeableConcept"} <= set(
        elements.element("Observation", "value") or ()
    )
    assert elements.element("Observation", "valueQuantity") is None
    assert elements.element("Patient", "deceased") == ("boolean", "dateTime")


def test_lists_that_end_with_their_types_are_no_choices() -> None:
    elements = elements_of(Release.R4)
    assert elements.element("CarePlan", "instantiatesUri") == ("uri",)
    assert elements.element("CarePlan", "instantiates") is None


def test_an_unknown_type_has_no_elements() -> None:
    assert elements_of(Release.R4).elements("Spaceship") == ()
    assert elements_of(Release.R4).element("Spaceship", "name") is None


def test_conditions_know_types_and_refuse_misspelt_names() -> None:
    model = elements_of(Release.R4)
    patient = {"resourceType": "Patient", "gender": "male"}
    assert compile_path("Patient.gender is code", model=model).test(patient)
    with pytest.raises(FhirPathError, match="gender"):
        compile_path("Patient.gendre = 'male'", model=model)
