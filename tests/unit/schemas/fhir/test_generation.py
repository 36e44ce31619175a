"""From definitions to schemas: numbers are never given twice, and what is checked in is what the models give."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.fhir import Release
from schemas.fhir.generation.definitions import model_of
from schemas.fhir.generation.descriptors import descriptors
from schemas.fhir.generation.layout import layout, snake
from schemas.fhir.generation.model import Field, Model
from schemas.fhir.generation.numbers import extended, lock_from_json, lock_to_json
from schemas.fhir.generation.text import proto_text
from tests.shared_data import shared_path

ROOT = Path(__file__).resolve().parents[4]
DEFINITIONS = ROOT / "schemas" / "fhir" / "definitions"


def model(**types: str) -> Model:
    fields = {
        name: tuple(Field.parse(field) for field in text.split()) for name, text in types.items()
    }
    return Model(fields, frozenset({"Patient"}))


def test_what_is_checked_in_is_what_the_models_give() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/generate_fhir.py", "--check"],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("release", Release)
def test_models_and_locks_read_back_as_written(release: Release) -> None:
    stem = release.value.lower()
    text = (DEFINITIONS / f"{stem}.json").read_text()
    assert Model.from_json(text).to_json() == text
    locked = (DEFINITIONS / f"{stem}.fields.lock.json").read_text()
    assert lock_to_json(lock_from_json(locked)) == locked


def test_hl7s_definitions_give_the_r4_model() -> None:
    folder = shared_path("data/fhir/r4-definitions")
    kept = Model.from_json((DEFINITIONS / "r4.json").read_text())
    resources = model_of(
        json.loads(path.read_text()) for path in folder.glob("StructureDefinition-*.json")
    )
    bundle = json.loads((folder / "Bundle-types.json").read_text())
    datatypes = model_of(
        entry["resource"]
        for entry in bundle["entry"]
        if entry["resource"]["resourceType"] == "StructureDefinition"
    )
    for found in (resources, datatypes):
        assert len(found.types) > 50
        assert found.types == {name: kept.types[name] for name in found.types}
        assert found.resources <= kept.resources


def test_a_new_element_gets_a_new_number_wherever_it_stands() -> None:
    lock = extended({}, model(Patient="id:string! name:HumanName*"))
    grown = extended(lock, model(Patient="id:string! gender:code name:HumanName*"))
    assert grown == {"Patient": ["id", "name", "gender"]}


def test_the_number_and_name_of_a_gone_element_stay_reserved() -> None:
    before = model(Patient="id:string! gender:code", Element="id:string!")
    after = model(Patient="id:string!", Element="id:string!")
    lock = extended(extended({}, before), after)
    text = proto_text(descriptors(after, lock, "medmesh.fhir.r4.v1")["patient"])
    assert "  reserved 2, 514;\n" in text
    assert '  reserved "gender", "gender_ext";\n' in text
    assert "optional string id = 1;" in text


def test_a_type_with_too_many_elements_is_refused() -> None:
    with pytest.raises(ValueError, match="numbers end at 510"):
        extended({}, model(Patient=" ".join(f"e{n}:string" for n in range(511))))


def test_types_that_two_resources_use_lie_with_the_data_types() -> None:
    types = model(Patient="a:PatientLink b:Period", PatientLink="id:string!", Period="id:string!")
    assert layout(types) == {"datatypes": ["Period"], "patient": ["Patient", "PatientLink"]}
    shared = model(Patient="a:PatientLink", PatientLink="id:string!", Period="x:PatientLink")
    assert layout(shared)["datatypes"] == ["PatientLink", "Period"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("effectiveDateTime", "effective_date_time"),
        ("id", "id"),
        ("valueBase64Binary", "value_base64_binary"),
    ],
)
def test_fields_are_named_in_snake_case(name: str, expected: str) -> None:
    assert snake(name) == expected


def test_the_text_says_what_protobuf_would_name_otherwise() -> None:
    types = model(Patient="a1B:string", Element="id:string!")
    text = proto_text(descriptors(types, extended({}, types), "medmesh.fhir.r4.v1")["patient"])
    assert "optional string a1_b = 1;" in text
    assert 'import "medmesh/fhir/r4/v1/datatypes.proto";' in text
    assert "bytes unknown_json = 511;" in text
