"""What `medmesh schema push` makes of its options and files."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from medmesh.cli import schema, schema_sources
from medmesh.cli.schema_binding import wanted
from medmesh.cli.schema_sources import content_type_of, is_schema, read_schema
from schemas.registry.errors import SchemaError
from schemas.registry.models import Compatibility, Depth, Kind
from tests.unit.schemas.registry.protos import REPORT, report
from tests.unit.schemas.registry.test_models import PROTO

OPTIONS: dict[str, object] = {
    "pattern": "evt.north.result.>", "message": "", "hl7v2": (), "release": "", "resources": (),
    "content_types": (), "depth": "type", "compatibility": "", "codecs": ("identity",), "is_open": False,
    "description": "", "root": None, "answer": "", "answer_types": (),
}  # fmt: skip


def options(**more: object) -> dict[str, object]:
    return OPTIONS | more


def test_kind_follows_from_what_is_given(tmp_path: Path) -> None:
    file = tmp_path / "one.proto"
    file.write_text('syntax = "proto3"; package a; message Only { string id = 1; }')
    binding, closure = wanted(file, options(depth="full"), None)
    assert (binding.kind, binding.message, binding.depth) == (Kind.PROTOBUF, "a.Only", Depth.FULL)
    assert closure is not None
    assert binding.schema == closure.schema
    assert binding.compatibility is Compatibility.BACKWARD
    binding, closure = wanted(None, options(hl7v2=("ADT^A01", "hl7v2/ORU^R01")), None)
    assert closure is None
    assert (binding.kind, binding.content_types) == (Kind.HL7V2, ("hl7v2/ADT^A01", "hl7v2/ORU^R01"))
    assert binding.compatibility is Compatibility.NONE
    binding, _ = wanted(None, options(release="R4", resources=("Patient",), is_open=True), None)
    assert (binding.kind, binding.content_types) == (Kind.FHIR, ("application/fhir+json",))
    assert not binding.is_protected
    binding, _ = wanted(None, options(content_types=("application/dicom",)), None)
    assert binding.kind is Kind.CONTENT


def test_nothing_or_two_kinds_at_once_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="nothing to bind to"):
        wanted(None, options(), None)
    with pytest.raises(SchemaError, match="of one kind"):
        wanted(None, options(hl7v2=("ADT^A01",), release="R4"), None)


def test_message_and_mode_stay_as_bound_before_unless_said_otherwise(tmp_path: Path) -> None:
    file = tmp_path / "set.binpb"
    file.write_bytes(report().files.SerializeToString())
    held = replace(PROTO, compatibility=Compatibility.FULL)
    binding, _ = wanted(file, options(), held)
    assert (binding.message, binding.compatibility) == ("lab.v1.Report", Compatibility.FULL)
    binding, _ = wanted(file, options(compatibility="none"), held)
    assert binding.compatibility is Compatibility.NONE
    with pytest.raises(SchemaError, match=r"--message \(lab\.v1\.Report, lab\.v1\.Value\)"):
        wanted(file, options(), None)


def test_folder_of_proto_text_is_compiled_from_its_root(tmp_path: Path) -> None:
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "report.proto").write_text(REPORT)
    (tmp_path / "lab" / "order.proto").write_text(
        'syntax = "proto3"; package lab.v1; import "lab/report.proto"; message Order { Report last = 1; }'
    )
    names = {one.name for one in read_schema(tmp_path).file}
    assert names == {"lab/report.proto", "lab/order.proto"}
    assert read_schema(tmp_path / "lab" / "order.proto", root=tmp_path).file
    with pytest.raises(SchemaError, match="does not compile"):
        read_schema(tmp_path / "lab" / "order.proto")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SchemaError, match=r"holds no \.proto file"):
        read_schema(tmp_path / "empty")


def test_without_a_compiler_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec

    def without(name: str) -> object:
        return None if name == "grpc_tools" else find(name)

    monkeypatch.setattr(schema_sources, "find_spec", without)
    file = tmp_path / "report.proto"
    file.write_text(REPORT)
    with pytest.raises(SchemaError, match=r"buf build -o schema\.binpb"):
        read_schema(file)


def test_sample_tells_its_content_type_by_itself(tmp_path: Path) -> None:
    message = b"MSH|^~\\&|A|B|C|D|20260101||ADT^A01^ADT_A01|1|P|2.5\r"
    assert content_type_of(Path("x"), message) == "hl7v2/ADT^A01"
    assert content_type_of(Path("x.json"), b'{"resourceType":"Patient"}') == "application/fhir+json"
    assert content_type_of(Path("x.json"), b"{}") == "application/json"
    assert content_type_of(Path("x.bin"), b"\0") == ""
    assert is_schema(Path("x.binpb"))
    assert not is_schema(Path("x.json"))


def test_registrys_commands_are_part_of_medmesh_schema() -> None:
    listed = CliRunner().invoke(schema.command, ["--help"]).output
    for name in ("ls", "show", "push", "rm", "check", "asyncapi", "convert"):
        assert f"\n  {name} " in listed
