"""The demo is what a new user sees first: it must say the truth about every message."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from medmesh.cli import cli
from medmesh.config import load
from tests.hospital import start

pytestmark = [pytest.mark.timeout(180)]


@pytest.mark.server
async def test_one_day_arrives_byte_for_byte_and_in_order(tmp_path: Path) -> None:
    child = await start(
        ["-m", "medmesh", "demo", "--once", "--json", "--messages", "300", "--data", str(tmp_path)]
    )
    await child.ended()
    assert child.process.returncode == 0, "".join(child.errors)
    summary = json.loads(child.lines[-1])
    assert summary["ok"] is True
    counts = [summary[name] for name in ("sent", "accepted", "delivered", "archived")]
    assert counts == [300, 300, 300, 300]
    wrong = [
        summary[name]
        for name in ("missing", "different", "duplicates", "out_of_order", "rejected", "unanswered")
    ]
    assert wrong == [0, 0, 0, 0, 0, 0]
    assert summary["drained"] is True
    assert load(tmp_path / "mesh.toml", environment={}).settings.mesh.site == "demo"


@pytest.mark.server
async def test_the_demo_runs_again_in_the_same_folder(tmp_path: Path) -> None:
    for _ in range(2):
        child = await start(
            [
                "-m",
                "medmesh",
                "demo",
                "--once",
                "--json",
                "--messages",
                "40",
                "--data",
                str(tmp_path),
            ]
        )
        await child.ended()
        assert child.process.returncode == 0, "".join(child.errors)
        assert json.loads(child.lines[-1])["delivered"] == 40


@pytest.mark.server
async def test_some_seconds_of_the_endless_demo_end_whole() -> None:
    child = await start(
        ["-m", "medmesh", "demo", "--seconds", "2", "--rate", "50", "--messages", "20"]
    )
    await child.ended()
    assert child.process.returncode == 0, "".join(child.errors)
    assert "Every message arrived" in "".join(child.lines)


def test_the_printed_configuration_is_one(tmp_path: Path) -> None:
    printed = CliRunner().invoke(cli, ["demo", "--print-config"]).output
    assert tomllib.loads(printed)
    (tmp_path / "mesh.toml").write_text(printed)
    names = [one.config.name for one in load(tmp_path / "mesh.toml", environment={}).adapters]
    assert names == ["emr-in", "his-out", "archive"]
