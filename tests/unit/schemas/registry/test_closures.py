"""A schema is named by the hash of its canonical form, and nothing else passes for it."""

from __future__ import annotations

import pytest
import zstandard
from google.protobuf import descriptor_pb2

from schemas.registry.closures import MAX_RAW_BYTES, closure_of, from_stored, read_set
from schemas.registry.errors import SchemaError
from tests.unit.schemas.registry.protos import HEAD, REPORT, compiled, report

IMPORTING = (
    'syntax = "proto3";\npackage lab.v1;\nimport "f1.proto";\n'
    'import "google/protobuf/timestamp.proto";\n'
    "message Envelope { Report report = 1; google.protobuf.Timestamp at = 2; }\n"
)


def test_closure_holds_what_the_message_needs_before_what_needs_it() -> None:
    files = compiled(IMPORTING, REPORT, HEAD.replace("lab", "other") + "message Unused {}\n")
    closure = closure_of(files, "lab.v1.Envelope")
    names = [one.name for one in closure.files.file]
    assert sorted(names[:2]) == ["f1.proto", "google/protobuf/timestamp.proto"]
    assert names[2:] == ["f0.proto"]


def test_hash_does_not_depend_on_order_or_comments() -> None:
    files = compiled(IMPORTING, REPORT)
    other = descriptor_pb2.FileDescriptorSet(file=reversed(files.file))
    other.file[0].source_code_info.location.add().leading_comments = "changed"
    assert (
        closure_of(files, "lab.v1.Envelope").schema == closure_of(other, "lab.v1.Envelope").schema
    )


def test_stored_closure_is_read_again_and_makes_messages() -> None:
    closure = report()
    again = from_stored(closure.stored(), closure.schema)
    assert again.raw == closure.raw
    assert again.message_class("lab.v1.Report")().DESCRIPTOR.full_name == "lab.v1.Report"


def test_stored_closure_that_is_not_what_its_hash_names_is_refused() -> None:
    one, other = report(), report(REPORT.replace("count", "number"))
    for packed in (other.stored(), b"", b"junk", one.stored()[:-4], zstandard.compress(b"x")):
        with pytest.raises(SchemaError):
            from_stored(packed, one.schema)


def test_bomb_is_refused_before_it_fills_the_memory() -> None:
    bomb = zstandard.compress(b"\0" * (MAX_RAW_BYTES + 1))
    with pytest.raises(SchemaError):
        from_stored(bomb, "0" * 64)


def test_incomplete_set_is_refused_with_what_to_do() -> None:
    files = compiled(IMPORTING, REPORT)
    del files.file[0]
    cut = descriptor_pb2.FileDescriptorSet(
        file=[one for one in files.file if one.name != "f1.proto"]
    )
    with pytest.raises(SchemaError, match="include_imports"):
        closure_of(cut, "lab.v1.Envelope")
    compiled.cache_clear()


def test_message_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(SchemaError, match=r"lab\.v1\.Report, lab\.v1\.Value"):
        closure_of(compiled(REPORT), "lab.v1.Nothing")


def test_files_that_import_each_other_are_refused() -> None:
    files = descriptor_pb2.FileDescriptorSet()
    for name, other in (("a", "b"), ("b", "a")):
        file = files.file.add(name=name, dependency=[other], syntax="proto3")
        file.message_type.add(name=name.upper())
    with pytest.raises(SchemaError, match="imports itself"):
        closure_of(files, "A")


@pytest.mark.parametrize("raw", [b"", b"no set", b"\x0a\x00"])
def test_what_is_no_descriptor_set_is_refused(raw: bytes) -> None:
    with pytest.raises(SchemaError):
        read_set(raw)
