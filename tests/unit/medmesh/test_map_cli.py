"""`medmesh map` for people and for machines, with the tables that ship and a layer of a site's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from medmesh.cli.map import command

ADMISSION = (
    "MSH|^~\\&|EMR|NORTH|HIS|NORTH|20260101120000+0100||ADT^A01^ADT_A01|C{n}|P|2.5.1\r"
    "EVN|A01|20260101120000\r"
    "PID|1||P{n}^^^NORTH^MR||EXAMPLE^PATIENT||19700101|F\r"
    "PV1|1|I|W1^R1^B1\r"
)
SITE_LAYER = """\
segment: PID[Patient]
rules:
  - {id: site-active, to: active, const: false}
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "adt.hl7").write_text(ADMISSION.format(n=1), newline="")
    (tmp_path / "many.hl7").write_text("".join(ADMISSION.format(n=n) for n in (1, 2)), newline="")
    (tmp_path / "site" / "segments").mkdir(parents=True)
    (tmp_path / "site" / "segments" / "pid.yaml").write_text(SITE_LAYER)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command, list(arguments))


def lines(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_message_becomes_a_bundle() -> None:
    done = run("adt.hl7")
    assert done.exit_code == 0, done.output
    (bundle,) = lines(done)
    assert (bundle["resourceType"], bundle["type"]) == ("Bundle", "message")
    kinds = [one["resource"]["resourceType"] for one in bundle["entry"]]  # type: ignore[attr-defined]
    assert kinds[0] == "MessageHeader"
    assert {"Patient", "Encounter"} <= set(kinds)


def test_each_message_of_a_file_gets_a_line_with_its_issues() -> None:
    done = run("--json", "--output", "bare", "many.hl7")
    assert done.exit_code == 0, done.output
    first, second = lines(done)
    assert (first["file"], second["file"]) == ("many.hl7", "many.hl7#2")
    assert first["structure"] == "ADT_A01"
    assert isinstance(first["result"], list)
    assert isinstance(first["issues"], list)


def test_a_value_says_where_it_comes_from() -> None:
    done = run("explain", "adt.hl7", "--path", "Patient.gender", "--json")
    assert done.exit_code == 0, done.output
    (origin,) = lines(done)
    assert (origin["value"], origin["source"], origin["layer"]) == ('"female"', "PID-8", "std")
    assert "PID-8" in run("explain", "adt.hl7", "--path", "gender").stdout


def test_an_edit_of_the_tables_is_tried_before_it_is_used() -> None:
    same = run("diff", "adt.hl7")
    assert (same.exit_code, same.stdout) == (0, "")
    edited = run("diff", "many.hl7", "--layer", "./site")
    assert edited.exit_code == 6
    assert edited.stdout.splitlines() == [
        "many.hl7: Patient[0].active: - -> false",
        "many.hl7#2: Patient[0].active: - -> false",
    ]
    assert "2 of 2 messages" in edited.stderr


def test_official_rows_are_counted() -> None:
    done = run("coverage", "--json")
    assert done.exit_code == 0, done.output
    (counted,) = lines(done)
    assert isinstance(counted["share"], float)
    assert 0.5 < counted["share"] <= 1
    assert "executable rows" in run("coverage").stdout


def test_a_file_without_messages_is_a_clear_error(here: Path) -> None:
    (here / "notes.txt").write_text("no message")
    failed = run("notes.txt")
    assert failed.exit_code == 1
    assert "no MSH" in failed.stderr
    mixed = run("notes.txt", "adt.hl7", "--json")
    assert mixed.exit_code == 6
    assert "error" in lines(mixed)[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("absent.hl7",), "absent.hl7"),
        (("adt.hl7", "--zone", "Mars/Base"), "IANA"),
        (("adt.hl7", "--layer", "./absent"), "absent"),
        (("adt.hl7", "--layer", "stdd"), "std"),
        (("adt.hl7", "--set", "novalue"), "NAME=VALUE"),
    ],
)
def test_wrong_input_is_told_in_words(arguments: tuple[str, ...], words: str) -> None:
    failed = run(*arguments)
    assert failed.exit_code in (1, 2)
    assert words in failed.output
    assert "Traceback" not in failed.output


def test_a_broken_table_names_file_and_rule(here: Path) -> None:
    (here / "site" / "segments" / "pid.yaml").write_text(
        "segment: PID[Patient]\nrules:\n  - {id: x, from: PID-8, to: gendre}\n"
    )
    failed = run("adt.hl7", "--layer", "./site")
    assert failed.exit_code == 1
    assert "pid.yaml" in failed.stderr
    assert "gender" in failed.stderr


def test_what_could_not_be_read_shows_in_the_exit_code(here: Path) -> None:
    (here / "notes.txt").write_text("no message")
    for name in ("explain", "diff"):
        assert run(name, "notes.txt").exit_code == 1
        assert run(name, "notes.txt", "adt.hl7").exit_code == 6


@pytest.mark.parametrize("name", ["run", "explain", "diff"])
def test_a_folder_without_files_is_not_found(here: Path, name: str) -> None:
    (here / "empty").mkdir()
    failed = run(name, "empty")
    assert failed.exit_code == 3
    assert "holds no file" in failed.stderr


@pytest.mark.parametrize("option", ["--charset", "--fallback"])
def test_an_unknown_charset_is_refused(option: str) -> None:
    failed = run("adt.hl7", option, "nonsense")
    assert failed.exit_code == 1
    assert "nonsense" in failed.stderr


def test_a_table_in_a_wrong_place_is_not_passed_over(here: Path) -> None:
    (here / "site" / "segments" / "pv1.yml").write_text("segment: PV1[Encounter]\n")
    failed = run("adt.hl7", "--layer", "./site")
    assert failed.exit_code == 1
    assert "pv1.yml" in failed.stderr


def test_an_explained_object_shows_no_value() -> None:
    assert "= null" not in run("explain", "adt.hl7").stdout


def test_the_counts_of_the_coverage_agree() -> None:
    (counted,) = lines(run("coverage", "--json"))
    assert counted["states"]["implemented"] == counted["implemented"]  # type: ignore[index]
    assert counted["executable"] == counted["implemented"] + counted["missing"]  # type: ignore[operator]
