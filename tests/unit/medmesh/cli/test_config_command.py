"""`medmesh config check|show` for people and for machines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from medmesh.cli import cli

GOOD = """
[mesh]
name = "st-elsewhere"
site = "north"
[[adapter]]
name = "emr-in"
kind = "hl7v2.mllp-server"
listen = "127.0.0.1:2575"
[[adapter]]
name = "his-out"
kind = "hl7v2.mllp-client"
connect = "his.example:2575"
subscribe = "evt.north.raw.hl7v2.>"
filter = "MSH-9.1 in ('ADT', 'ORM')"
[[adapter]]
name = "archive"
kind = "files.writer"
folder = "archive"
subscribe = "evt.north.raw.>"
"""


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.chdir(tmp_path)
    return CliRunner()


def test_a_good_file_is_called_good(runner: CliRunner) -> None:
    Path("mesh.toml").write_text(GOOD)
    result = runner.invoke(cli, ["config", "check"])
    assert (result.exit_code, result.output) == (0, "mesh.toml: good; 3 adapters\n")
    machine = runner.invoke(cli, ["config", "check", "--json"])
    assert json.loads(machine.output) == {"valid": True, "adapters": 3}


def test_a_wrong_file_is_a_failure_with_every_problem(runner: CliRunner) -> None:
    Path("bad.toml").write_text(GOOD.replace("connect =", "conect =").replace("2575", "99999", 1))
    result = runner.invoke(cli, ["config", "check", "-c", "bad.toml"])
    assert result.exit_code == 1
    assert 'adapter[1] "his-out".conect: unknown key; did you mean "connect"?' in result.output
    assert 'adapter[0] "emr-in".listen' in result.output
    machine = runner.invoke(cli, ["config", "check", "-c", "bad.toml", "--json"])
    assert machine.exit_code == 1
    keys = [problem["key"] for problem in json.loads(machine.output)["problems"]]
    assert 'adapter[1] "his-out".connect' in keys


def test_a_missing_file_is_not_found(runner: CliRunner) -> None:
    result = runner.invoke(cli, ["config", "check", "-c", "nowhere.toml"])
    assert result.exit_code == 3
    assert "nowhere.toml: there is no such file" in result.output


def test_show_says_where_each_value_comes_from(
    runner: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDMESH_MESH__NAME", "renamed")
    Path("mesh.toml").write_text(GOOD)
    result = runner.invoke(cli, ["config", "show", "--origin", "--set", "nats.replicas=2"])
    assert result.exit_code == 0
    assert "mesh.name = 'renamed'  (MEDMESH_MESH__NAME)" in result.output
    assert "mesh.site = 'north'  (mesh.toml)" in result.output
    assert "nats.replicas = 2  (--set)" in result.output
    assert "limits.drain_s = 30.0  (default)" in result.output
    lines = runner.invoke(cli, ["config", "show", "--json"]).output.splitlines()
    assert {"key", "value", "origin", "description"} == set(json.loads(lines[0]))
