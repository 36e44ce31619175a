"""Descriptors: loaded one resource at a time, named for readers, the same on the wire."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from schemas.fhir import Release, UnknownFhirType
from schemas.fhir.archive import Archive
from schemas.fhir.catalogue import Catalogue, catalogue
from schemas.fhir.shapes import Kind, Slot

ROOT = Path(__file__).resolve().parents[4]


@pytest.mark.parametrize("release", Release)
def test_every_resource_of_every_release_loads(release: Release) -> None:
    found = Catalogue(release)
    assert len(found.resources) == {"R4": 146, "R4B": 141, "R5": 160}[release.value]
    for name in found.resources:
        public = found.message_class(name).DESCRIPTOR
        wire = found.wire_class(name).DESCRIPTOR
        assert public.full_name == wire.full_name == release.message_type(name)
        assert set(public.fields_by_number) == set(wire.fields_by_number)


def test_one_resource_loads_two_files() -> None:
    script = (
        "from schemas.fhir.archive import Archive\n"
        "seen = []\n"
        "part = Archive.part\n"
        "Archive.part = lambda self, stem: seen.append(stem) or part(self, stem)\n"
        "from schemas.fhir import encode, decode, read, Release\n"
        'raw = b\'{"resourceType":"Patient","id":"a"}\'\n'
        "assert decode(encode(raw, Release.R4)) == raw\n"
        "read(raw, 'Patient', Release.R4)\n"
        "print(seen)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "['datatypes', 'patient']", done.stderr


def test_both_names_of_a_field_are_one_field_on_the_wire() -> None:
    found = catalogue(Release.R4)
    ours = found.wire_class("Patient")(birthDate="1974", _birthDate={"id": "x"})
    theirs = found.message_class("Patient")(birth_date="1974", birth_date_ext={"id": "x"})
    assert ours.SerializeToString() == theirs.SerializeToString()


def test_a_descriptor_set_stands_alone() -> None:
    pool = DescriptorPool()
    raw = catalogue(Release.R4).descriptor_set("Observation")
    for file in FileDescriptorSet.FromString(raw).file:
        pool.Add(file)
    name = "medmesh.fhir.r4.v1.Observation"
    message = GetMessageClass(pool.FindMessageTypeByName(name))(status="final")
    body = message.SerializeToString()
    read = catalogue(Release.R4).message_class("Observation").FromString(body)
    assert read.SerializeToString() == body


def test_shapes_tell_decimals_and_siblings() -> None:
    quantity = {slot.key: slot for slot in catalogue(Release.R4).shape("Quantity")}
    assert quantity["value"].kind is Kind.DECIMAL
    assert quantity["_value"] == Slot(
        "_value", quantity["value"].number + 512, Kind.SIBLING, False, "Element"
    )
    extension = {slot.key for slot in catalogue(Release.R5).shape("Extension")}
    assert {"valueString", "_valueString", "url"} <= extension
    assert "_url" not in extension


@pytest.mark.parametrize("name", ["Nope", "", "HumanName", "datatypes"])
def test_a_type_that_is_no_resource_is_refused(name: str) -> None:
    with pytest.raises(UnknownFhirType):
        catalogue(Release.R4).message_class(name)


def test_a_file_that_is_no_archive_is_refused() -> None:
    with pytest.raises(ValueError, match="no archive"):
        Archive(b"something else")


def test_threads_may_meet_types_at_the_same_time() -> None:
    script = (
        "import threading\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from schemas.fhir import FhirCodec, Release, read\n"
        "names = ['Patient', 'Observation', 'Encounter', 'Bundle'] * 4\n"
        "gate = threading.Barrier(len(names))\n"
        "def convert(name):\n"
        '    raw = b\'{"resourceType":"%s","id":"a","meta":{"tag":[{"code":"x"}]},"zzz":1}\'\n'
        "    raw %= name.encode()\n"
        "    gate.wait(30)\n"
        "    codec = FhirCodec(Release.R4)\n"
        "    read(raw, name, Release.R4)\n"
        "    codec.open(codec.encode(raw))\n"
        "    return codec.decode(codec.encode(raw)) == raw\n"
        "with ThreadPoolExecutor(len(names)) as pool:\n"
        "    print(all(pool.map(convert, names)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "True", done.stderr
