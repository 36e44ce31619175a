"""`medmesh map --to hl7v2`: FHIR JSON in files, HL7 v2 messages on standard output."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from adapters.hl7v2.codec import Message
from medmesh.cli.map import command

ORDER = {
    "resourceType": "Bundle",
    "type": "collection",
    "entry": [
        {
            "resource": {
                "resourceType": "Patient",
                "id": "p",
                "identifier": [{"value": "P1"}],
                "name": [{"family": "Example"}],
            }
        },
        {
            "resource": {
                "resourceType": "ServiceRequest",
                "status": "active",
                "intent": "order",
                "code": {"text": "Glucose"},
                "subject": {"reference": "Patient/p"},
                "identifier": [{"value": "O1"}],
            }
        },
    ],
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "order.json").write_text(json.dumps(ORDER, indent=2))
    (tmp_path / "many.ndjson").write_text(json.dumps(ORDER) + "\n\n" + json.dumps(ORDER) + "\n")
    (tmp_path / "alone.json").write_text('{"resourceType": "Observation"}')
    (tmp_path / "broken.json").write_text('{"resourceType": ')
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command, ["--to", "hl7v2", *arguments])


def test_a_file_becomes_a_message() -> None:
    found = run("order.json", "--set", "version=2.3", "--set", "receiving_application=LAB")
    message = Message.parse(found.stdout_bytes.rstrip(b"\n"))
    assert message.header.message_type == "OML^O21"
    assert (message.get("MSH-5"), message.get("MSH-12"), message.get("ORC-2.1")) == (
        "LAB",
        "2.3",
        "O1",
    )
    assert found.exit_code == 0


def test_a_resource_a_line_becomes_a_message_each() -> None:
    found = run("many.ndjson", "--json")
    taken = [json.loads(line) for line in found.stdout.splitlines()]
    assert [one["file"] for one in taken] == ["many.ndjson", "many.ndjson#2"]
    assert all(one["type"] == "OML^O21^OML_O21" and one["result"] for one in taken)


def test_what_cannot_be_written_is_told_and_counted() -> None:
    some = run("order.json", "alone.json", "broken.json")
    assert (some.exit_code, "no message document fits" in some.stderr) == (6, True)
    assert "2 of 3 could not be written" in some.stderr
    assert run("alone.json").exit_code == 1


def test_a_wrong_setting_is_told_in_words() -> None:
    found = run("order.json", "--set", "version=9.9")
    assert found.exit_code != 0
    assert "9.9" in found.stderr
    assert "Traceback" not in found.stderr


def test_a_layer_changes_what_is_written(here: Path) -> None:
    (here / "site" / "segments").mkdir(parents=True)
    (here / "site" / "segments" / "orc.yaml").write_text(
        "segment: ServiceRequest[ORC]\nrules:\n  - {id: site-entered-at, const: WARD, to: ORC-13.1}\n"
    )
    found = run("order.json", "--layer", "site")
    assert Message.parse(found.stdout_bytes.rstrip(b"\n")).get("ORC-13.1") == "WARD"
