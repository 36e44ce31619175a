"""`medmesh schema convert|roundtrip` for people and for machines."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from medmesh.cli.schema import command
from schemas.fhir.text import canonical
from tests.unit.schemas.fhir.samples import BUNDLE, OBSERVATION, PATIENT, questionnaire

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "patient.json").write_bytes(PATIENT)
    return tmp_path


def schema(*arguments: str, given: bytes | None = None) -> Result:
    return CliRunner().invoke(command, list(arguments), input=given)


def test_a_document_is_converted_and_back(here: Path) -> None:
    there = schema("convert", "patient.json", "--to", "protobuf", "--output", "patient.pb")
    assert there.exit_code == 0, there.output
    assert "medmesh.fhir.r4.v1.Patient" in there.stderr
    back = schema("convert", "patient.pb", "--to", "json", "-o", "back.json")
    assert back.exit_code == 0, back.output
    assert canonical((here / "back.json").read_bytes()) == canonical(PATIENT)


@pytest.mark.parametrize("release", ["R4", "r4b", "R5"])
def test_streams_carry_bytes_and_nothing_else(release: str) -> None:
    there = schema("convert", "-", "--to", "protobuf", "--release", release, given=BUNDLE)
    assert there.exit_code == 0
    back = schema("convert", "-", "--to", "json", "--release", release, given=there.stdout_bytes)
    assert canonical(back.stdout_bytes) == canonical(BUNDLE)


def test_a_bare_message_is_what_other_languages_write() -> None:
    bare = schema("convert", "-", "--to", "protobuf", "--bare", given=OBSERVATION)
    assert bare.stdout_bytes.startswith(b"\x0a\x05obs-1")
    back = schema("convert", "-", "--to", "json", "--type", "Observation", given=bare.stdout_bytes)
    assert canonical(back.stdout_bytes) == canonical(OBSERVATION)


def test_what_protobuf_cannot_carry_is_kept_as_json_and_said_so() -> None:
    raw = questionnaire(110)
    there = schema("convert", "-", "--to", "protobuf", given=raw)
    assert (there.exit_code, "kept as JSON in a box (too_deep)" in there.stderr) == (0, True)
    assert schema("convert", "-", "--to", "json", given=there.stdout_bytes).stdout_bytes == raw
    bare = schema("convert", "-", "--to", "protobuf", "--bare", given=raw)
    assert (bare.exit_code, bare.stdout_bytes) == (1, b"")
    assert "cannot carry it exactly (too_deep)" in bare.stderr


@pytest.mark.parametrize(
    ("arguments", "given", "code", "words"),
    [
        (["convert", "none.json", "--to", "protobuf", "-o", "x"], None, 3, "none.json: no such file"),
        (["convert", ".", "--to", "protobuf", "-o", "x"], None, 2, "roundtrip"),
        (["convert", "patient.json"], None, 2, "--to"),
        (["convert", "patient.json", "--to", "xml"], None, 2, "protobuf"),
        (["convert", "patient.json", "--to", "json", "--bare"], None, 2, "--type"),
        (["convert", "patient.json", "--to", "protobuf", "--type", "Patient"], None, 2, "--type"),
        (["convert", "patient.json", "--to", "json"], None, 1, "patient.json: the bytes are no ResourceBox"),
        (["convert", "-", "--to", "protobuf"], b"{", 1, "truncated"),
        (["convert", "-", "--to", "protobuf"], b"[1]", 1, "no object"),
        (["convert", "-", "--to", "json", "--type", "Nope"], b"x", 3, "no message type"),
        (["convert", "patient.json", "--to", "protobuf", "-o", "no/where"], None, 1, "cannot be written"),
        (["roundtrip", "none"], None, 3, "none: no such folder"),
        (["roundtrip", "patient.json"], None, 3, "no such folder"),
    ],
)  # fmt: skip
def test_wrong_input_is_explained(
    arguments: list[str], given: bytes | None, code: int, words: str
) -> None:
    result = schema(*arguments, given=given)
    assert (result.exit_code, words in result.stderr) == (code, True), result.output
    assert "Traceback" not in result.output
    assert result.stdout == ""


def test_errors_do_not_quote_the_document() -> None:
    result = schema("convert", "-", "--to", "protobuf", given=PATIENT[:-4] + b"\xff")
    assert result.exit_code == 1
    assert "Anna" not in result.output


def test_a_folder_of_identical_documents_is_good(here: Path) -> None:
    (here / "deep").mkdir()
    (here / "deep" / "observation.json").write_bytes(OBSERVATION)
    (here / "deep" / "note.txt").write_text("not a document")
    result = schema("roundtrip", ".")
    assert result.exit_code == 0
    assert result.output.startswith("2 files: 2 identical, 0 different, 0 errors; 0 kept as JSON")
    machine = json.loads(schema("roundtrip", ".", "--json").output)
    counted = {
        key: machine[key] for key in ("files", "identical", "different", "errors", "as_json")
    }
    assert counted == {"files": 2, "identical": 2, "different": 0, "errors": 0, "as_json": 0}
    assert machine["protobuf_bytes"] < machine["json_bytes"]


def test_files_that_fail_are_named(here: Path) -> None:
    (here / "broken.json").write_bytes(b"{")
    (here / "twice.json").write_bytes(b'{"resourceType":"Patient","id":"a","id":"b"}')
    result = schema("roundtrip", str(here))
    assert result.exit_code == 6
    assert "broken.json: error: " in result.stderr
    assert "twice.json: different: an object has a key twice" in result.stderr
    machine = schema("roundtrip", str(here), "--json")
    report = json.loads(machine.stdout)
    assert (machine.exit_code, report["errors"], report["different"]) == (6, 1, 1)
    assert [each["file"] for each in report["problems"]] == ["broken.json", "twice.json"]


def test_nothing_identical_is_a_failure_and_nothing_at_all_is_not_found(tmp_path: Path) -> None:
    folder = tmp_path / "bad"
    folder.mkdir()
    assert schema("roundtrip", str(folder)).exit_code == 3
    (folder / "broken.json").write_bytes(b"{")
    assert schema("roundtrip", str(folder)).exit_code == 1


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys, medmesh.cli.schema\n"
        "heavy = {'google.protobuf', 'msgspec', 'orjson', 'schemas.fhir', 'pydantic', 'nats', 'rich'}\n"
        "print(sorted(heavy & sys.modules.keys()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
