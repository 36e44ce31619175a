"""Typed reads: attributes by FHIR's keys, numbers exact, what is unknown passed over."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from schemas.fhir import MalformedFhir, Release, UnknownFhirType, read, struct_type
from tests.unit.schemas.fhir.samples import BUNDLE, OBSERVATION, PATIENT


def field(value: object, path: str) -> object:
    for part in path.split("."):
        value = value[int(part)] if isinstance(value, list) else getattr(value, part)
    return value


@pytest.mark.parametrize("release", Release)
def test_values_are_typed(release: Release) -> None:
    observation = read(OBSERVATION, "Observation", release)
    assert field(observation, "code.coding.0.code") == "718-7"
    assert str(field(observation, "valueQuantity.value")) == "13.50"
    assert field(observation, "component.1.valueQuantity.value") == Decimal(185)
    assert field(observation, "component.3.valueBoolean") is False
    assert not field(observation, "issued")


def test_primitives_and_their_extensions_stand_side_by_side() -> None:
    patient = read(PATIENT, "Patient", Release.R4)
    assert field(patient, "name.0.given") == ["Anna", None, "Béa"]
    assert field(patient, "name.0.given_ext.1.id") == "x"
    assert field(patient, "birthDate_ext.extension.0.valueDateTime") == "1974-12-25T14:35:45-05:00"


def test_keys_that_python_keeps_get_an_underscore() -> None:
    raw = b'{"resourceType":"Encounter","class":{"code":"IMP"}}'
    assert field(read(raw, "Encounter", Release.R4), "class_.code") == "IMP"


def test_resources_in_a_bundle_are_read_when_wanted() -> None:
    entry = field(read(BUNDLE, "Bundle", Release.R4), "entry.1.resource")
    assert isinstance(entry, msgspec.Raw)
    assert field(read(entry, "Observation", Release.R4), "id") == "obs-1"


def test_elements_that_the_release_lacks_are_passed_over() -> None:
    raw = b'{"resourceType":"Patient","zzz":{"a":1},"id":"p"}'
    assert field(read(raw, "Patient", Release.R4), "id") == "p"


@pytest.mark.parametrize(
    "raw",
    [
        b'{"resourceType":"Patient"',
        b"[]",
        OBSERVATION,
        b'{"resourceType":"Patient","active":"Chalmers"}',
    ],
)
def test_another_document_is_refused_without_quoting_it(raw: bytes) -> None:
    with pytest.raises(MalformedFhir) as refusal:
        read(raw, "Patient", Release.R4)
    assert "Chalmers" not in str(refusal.value)


def test_a_type_that_the_release_lacks_is_refused() -> None:
    with pytest.raises(UnknownFhirType):
        struct_type("Nope", Release.R4)
    with pytest.raises(UnknownFhirType):
        struct_type("HumanName", Release.R4)
