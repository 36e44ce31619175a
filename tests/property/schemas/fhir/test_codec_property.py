"""Any JSON goes to protobuf and back identical; any bytes give JSON or a typed error.

`MEDMESH_FHIR_MUTANTS` sets how many mutants of the public examples are tried (600).
"""

from __future__ import annotations

import contextlib
import json
import os
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import MeshError
from schemas.fhir import BodyCodec, Encoded, FhirCodec, Release, project, read
from schemas.fhir.catalogue import catalogue
from schemas.fhir.encoder import resource_type_of
from schemas.fhir.text import canonical, parse
from tests.property.schemas.fhir.documents import Author
from tests.shared_data import shared_path
from tests.unit.schemas.fhir.samples import BUNDLE, OBSERVATION, PATIENT

MUTANTS = int(os.environ.get("MEDMESH_FHIR_MUTANTS", "600"))
MAX_BYTES = 30_000
CODECS = {release: FhirCodec(release) for release in Release}

EXAMPLES = [
    (Release.R4, "r4-examples"),
    (Release.R4B, "r4b-examples"),
    (Release.R5, "r5-examples"),
]


def assert_identical(codec: FhirCodec, raw: bytes) -> None:
    encoded = codec.encode(raw)
    assert canonical(codec.decode(encoded)) == canonical(raw)
    assert codec.encode(raw, verify=True).codec is encoded.codec


@pytest.mark.parametrize(("release", "folder"), EXAMPLES)
def test_mutants_of_the_examples_come_back_identical(release: Release, folder: str) -> None:
    paths = [
        path
        for path in sorted(shared_path(f"data/fhir/{folder}").rglob("*.json"))
        if path.stat().st_size < MAX_BYTES
    ]
    chance = random.Random(f"{release} mutants")
    author = Author(catalogue(release), chance)
    for _ in range(MUTANTS // len(EXAMPLES)):
        raw = author.mutated(parse(chance.choice(paths).read_bytes()))
        assert_identical(CODECS[release], raw)
        assert project(raw).resource_type == resource_type_of(raw)


@pytest.mark.parametrize("release", Release)
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_documents_of_each_type_come_back_identical(release: Release, seed: int) -> None:
    author = Author(catalogue(release), random.Random(seed))
    for _ in range(2):
        document = author.resource()
        raw = author.mutated(parse(author.mutated(document)))
        assert_identical(CODECS[release], raw)


@pytest.mark.parametrize("release", Release)
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_what_a_release_defines_passes_the_strict_way_or_loses_nothing(
    release: Release, seed: int
) -> None:
    document = Author(catalogue(release), random.Random(seed)).resource()
    raw = json.dumps(document).encode()  # numbers as texts: wrong types
    assert_identical(CODECS[release], raw)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["id", "resourceType", "name", "given", "_given", "contained", "extension", "unknown_json"])
        | st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
        inner, max_size=5,
    ),
    max_leaves=25,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    value=st.dictionaries(
        st.sampled_from(["id", "name", "contained", "active", "_active", "photo", "zzz"]), JSON
    )
)
def test_any_json_in_a_patient_comes_back_identical(value: dict[str, object]) -> None:
    raw = json.dumps({"resourceType": "Patient", **value}).encode()
    assert_identical(CODECS[Release.R4], raw)
    project(raw)


@settings(max_examples=150, deadline=None)
@given(
    body=st.binary(max_size=60)
    | st.tuples(st.sampled_from([PATIENT, OBSERVATION, BUNDLE]), st.integers(0, 2000), st.binary(max_size=4)).map(
        lambda cut: CODECS[Release.R4].encode(cut[0]).body[: cut[1]] + cut[2]
    ),
    name=st.sampled_from(["Patient", "Observation", "Bundle", "Binary", "Parameters"]),
)  # fmt: skip
def test_any_bytes_give_json_or_a_typed_error(body: bytes, name: str) -> None:
    codec = CODECS[Release.R4]
    try:
        raw = codec.decode(Encoded(BodyCodec.PROTOBUF, body, Release.R4.message_type(name)))
    except MeshError:
        return
    assert json.loads(raw)["resourceType"] == name
    codec.encode(raw)


@settings(max_examples=150, deadline=None)
@given(
    sample=st.sampled_from([PATIENT, OBSERVATION, BUNDLE]),
    at=st.integers(0, 4000),
    junk=st.binary(max_size=3),
)
def test_damaged_json_is_carried_or_refused_by_a_typed_error(
    sample: bytes, at: int, junk: bytes
) -> None:
    for raw in (sample[:at], sample[:at] + junk + sample[at + 1 :]):
        for use in (CODECS[Release.R4].encode, project, read_patient):
            with contextlib.suppress(MeshError):
                use(raw)


def read_patient(raw: bytes) -> object:
    return read(raw, "Patient", Release.R4)
