"""Every official and synthetic example that is at hand comes back identical, number text included."""

from __future__ import annotations

import re

import pytest

from schemas.fhir import BodyCodec, FhirCodec, Release, project, read
from schemas.fhir.catalogue import catalogue
from schemas.fhir.encoder import Encoder, resource_type_of
from schemas.fhir.text import canonical, parse_object
from tests.shared_data import ROOT, shared_path

FOLDERS = [
    (Release.R4, "r4-examples"),
    (Release.R4, "r4-definitions"),
    (Release.R4, "synthea-r4"),
    (Release.R4B, "r4b-examples"),
    (Release.R5, "r5-examples"),
    # also what a release does not define comes back: by unknown_json
    (Release.R5, "r4-examples"),
]


@pytest.mark.parametrize(
    ("release", "folder"), FOLDERS, ids=lambda value: getattr(value, "value", value)
)
def test_each_example_comes_back_identical_from_protobuf(release: Release, folder: str) -> None:
    codec = FhirCodec(release)
    files = sorted(shared_path(f"data/fhir/{folder}").rglob("*.json"))
    assert files
    for path in files:
        raw = path.read_bytes()
        encoded = codec.encode(raw)
        assert canonical(codec.decode(encoded)) == canonical(raw), path.name
        if resource_type_of(raw) in catalogue(release).resources:
            assert encoded.codec is BodyCodec.PROTOBUF, path.name
    assert codec.counts.encoded == len(files)


def test_r4_itself_defines_all_that_its_examples_hold() -> None:
    codec = FhirCodec(Release.R4)
    for path in shared_path("data/fhir/r4-examples").rglob("*.json"):
        codec.encode(path.read_bytes())
    assert (codec.counts.careful, codec.counts.unknown_json, codec.counts.fell_back.total()) == (
        0,
        0,
        0,
    )


def test_the_careful_way_gives_the_same_bytes_as_the_strict_one() -> None:
    encoder = Encoder(catalogue(Release.R4))
    for path in sorted(shared_path("data/fhir/r4-examples").rglob("*.json"))[::5]:
        raw = path.read_bytes()
        name = resource_type_of(raw)
        careful = encoder.encode_carefully(name, parse_object(raw))
        assert careful == encoder.encode(name, raw), path.name


@pytest.mark.parametrize("folder", ["r4-examples", "synthea-r4"])
def test_each_example_has_a_projection_and_a_struct(folder: str) -> None:
    for path in shared_path(f"data/fhir/{folder}").rglob("*.json"):
        raw = path.read_bytes()
        document = parse_object(raw)
        projection = project(raw)
        assert projection.resource_type == document["resourceType"]
        assert projection.id == document.get("id", "")
        assert (
            getattr(read(raw, projection.resource_type, Release.R4), "id", "") or not projection.id
        )


def test_the_page_about_protobuf_shows_what_works() -> None:
    page = (ROOT / "docs" / "how-to" / "fhir-protobuf.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "fhir-protobuf.md", "exec"), {})
