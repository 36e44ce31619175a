"""`medmesh map push`, `pull` and `replay` before a site is asked: wrong arguments and wrong tables, in words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from medmesh.cli.map import command

MESH = """\
[mesh]
name = "test-hospital"
site = "north"
data = "./data"

[[adapter]]
name = "views"
kind = "hl7v2.to-fhir"
subscribe = "evt.north.raw.hl7v2.*"

[[adapter]]
name = "to-lab"
kind = "hl7v2.from-fhir"
subscribe = "evt.north.order.*.*"

[[adapter]]
name = "emr-in"
kind = "hl7v2.mllp-server"
listen = "127.0.0.1:2575"
"""
GOOD = "segment: PID[Patient]\nrules:\n  - {id: site-language, to: language, const: de}\n"
BAD = "segment: PID[Patient]\nrules:\n  - {id: x, from: PID-8, to: gendr}\n"
PUSH = ("push", "tables", "--adapter", "views", "--reason", "test")
PULL = ("pull", "now", "--adapter", "views")
REPLAY = ("replay", "--adapter", "views", "--since", "1h")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mesh.toml").write_text(MESH)
    (tmp_path / "tables" / "segments").mkdir(parents=True)
    (tmp_path / "tables" / "segments" / "pid.yaml").write_text(GOOD)
    (tmp_path / "nothing").mkdir()
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command, list(arguments))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("push", "tables", "--reason", "x"), "--adapter"),
        (("push", "tables", "--adapter", "views"), "--reason"),
        (("push", "tables", "--adapter", "views", "--reason", " "), "say why"),
        (("push", "absent", "--adapter", "views", "--reason", "x"), "absent"),
        (("push", "mesh.toml", "--adapter", "views", "--reason", "x"), "mesh.toml"),
        (("push", "tables", "--adapter", "vews", "--reason", "x"), "there are: to-lab, views"),
        (("push", "tables", "--adapter", "emr-in", "--reason", "x"), "hl7v2.to-fhir"),
        ((*PUSH, "--expect", "-1"), "--expect"),
        (("pull", "now"), "--adapter"),
        (("pull", "tables", "--adapter", "views"), "not empty"),
        (("pull", "mesh.toml", "--adapter", "views"), "is a file"),
        (("pull", "now", "--adapter", "vews"), "there are: to-lab, views"),
        (("replay", "--adapter", "views"), "--since"),
        (("replay", "--adapter", "views", "--since", "12"), "30m, 12h or 7d"),
        (("replay", "--adapter", "views", "--since", "-5m"), "30m, 12h or 7d"),
        (("replay", "--adapter", "to-lab", "--since", "5m"), "would be a second time"),
        (("replay", "--adapter", "vews", "--since", "5m"), "there are: to-lab, views"),
    ],
)
def test_wrong_arguments_end_with_usage(arguments: tuple[str, ...], words: str) -> None:
    failed = run(*arguments)
    assert failed.exit_code == 2, failed.output
    assert words in failed.output


@pytest.mark.parametrize("arguments", [PUSH, PULL, REPLAY])
def test_without_a_running_site_the_next_step_is_said(arguments: tuple[str, ...]) -> None:
    failed = run(*arguments, "--json")
    assert failed.exit_code == 1
    (line,) = failed.stdout.splitlines()
    assert json.loads(line)["code"] == "unavailable"
    assert "medmesh up" in failed.stderr
    assert not Path("now").exists()


@pytest.mark.parametrize("arguments", [PUSH, PULL])
def test_without_a_configuration_it_is_not_found(here: Path, arguments: tuple[str, ...]) -> None:
    (here / "mesh.toml").unlink()
    assert run(*arguments).exit_code == 3


def test_a_dry_run_needs_no_site() -> None:
    done = run(*PUSH, "--dry-run", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["files"], told["revision"]) == (1, None)
    assert "would become" in run(*PUSH, "--dry-run").stdout


def test_tables_that_do_not_load_are_refused_with_file_and_rule(here: Path) -> None:
    (here / "tables" / "segments" / "pid.yaml").write_text(BAD)
    failed = run(*PUSH, "--json")
    assert failed.exit_code == 1
    assert json.loads(failed.stdout)["code"] == "mapping_tables"
    assert "pid.yaml" in failed.stderr
    assert "gender" in failed.stderr


@pytest.mark.parametrize(
    "name", ["segments/pv1.yml", "pv1.yaml", "segment/pv1.yaml", "codes/Sex.tsv"]
)
def test_a_file_that_would_be_passed_over_is_refused(here: Path, name: str) -> None:
    (here / "tables" / name).parent.mkdir(exist_ok=True)
    (here / "tables" / name).write_text(GOOD)
    failed = run(*PUSH, "--dry-run")
    assert failed.exit_code == 1
    assert name in failed.stderr


def test_notes_and_hidden_files_may_lie_beside_the_tables(here: Path) -> None:
    (here / "tables" / "README.md").write_text("why")
    (here / "tables" / ".git").mkdir()
    (here / "tables" / ".git" / "config").write_text("")
    assert run(*PUSH, "--dry-run").exit_code == 0


def test_an_empty_folder_is_pushed_only_on_purpose() -> None:
    arguments = ("push", "nothing", "--adapter", "views", "--reason", "x", "--dry-run")
    failed = run(*arguments)
    assert failed.exit_code == 1
    assert "holds no tables" in failed.stderr
    assert run(*arguments, "--empty").exit_code == 0


def test_tables_of_the_way_back_are_compiled_as_such(here: Path) -> None:
    """The same folder is no layer of the other direction, and says so before anything is asked."""
    push = ("push", "tables", "--adapter", "to-lab", "--reason", "test", "--dry-run", "--json")
    refused = run(*push)
    assert refused.exit_code == 1, refused.output
    table = here / "tables" / "segments" / "pid.yaml"
    table.write_text("segment: Patient[PID]\nrules:\n  - {id: nation, const: BEL, to: PID-28.1}\n")
    taken = run(*push)
    assert taken.exit_code == 0, taken.output
    assert json.loads(taken.output)["files"] == 1
