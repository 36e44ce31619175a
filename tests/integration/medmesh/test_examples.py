"""The examples run as they stand, against a real mesh."""

from __future__ import annotations

from pathlib import Path

import pytest

from medmesh.config import load
from tests.hospital import Site, archive, eventually, mllp_in, running, start
from tests.shared_data import ROOT

EXAMPLES = ROOT / "examples"

pytestmark = [pytest.mark.timeout(180)]


@pytest.mark.server
async def test_what_one_program_publishes_another_receives(tmp_path: Path) -> None:
    site = Site(tmp_path, mllp_in(0) + archive(tmp_path / "archive"))
    async with running(site):
        reader = await start([str(EXAMPLES / "subscribe.py"), str(site.config)])
        try:
            await eventually(
                lambda: "evt.north.patient.>" in registered(site, "bed-board"),
                within_s=30,
                what="the subscriber has its rights",
            )
            published = 0
            while not reader.lines:
                writer = await start([str(EXAMPLES / "publish.py"), str(site.config)])
                await writer.ended()
                assert writer.process.returncode == 0, "".join(writer.errors)
                assert "in evt-north" in "".join(writer.lines)
                published += 1
                assert published < 10, "".join(reader.errors)
        finally:
            reader.kill()
            await reader.ended()
        assert "application/json 14 bytes from registration" in reader.lines[0]
        assert await site.stop() == 0


def registered(site: Site, service: str) -> str:
    path = site.data / "services" / f"{service}.json"
    return path.read_text() if path.exists() else ""


async def test_a_program_is_tested_in_memory() -> None:
    child = await start([str(EXAMPLES / "in_memory.py")])
    await child.ended()
    assert (child.process.returncode, child.lines) == (0, ["glucose\n"])


async def test_without_a_mesh_the_example_says_how_to_start_one(tmp_path: Path) -> None:
    site = Site(tmp_path, mllp_in(0))
    child = await start([str(EXAMPLES / "publish.py"), str(site.config)])
    await child.ended()
    assert child.process.returncode == 1
    assert "start it with `medmesh up -c" in "".join(child.errors)


def test_the_hospital_example_is_a_good_configuration() -> None:
    loaded = load(EXAMPLES / "hospital" / "mesh.toml", environment={})
    assert [one.config.name for one in loaded.adapters] == ["emr-in", "his-out", "archive"]


def test_examples_are_short() -> None:
    for path in EXAMPLES.glob("*.py"):
        body = path.read_text().split("async def main")[1]
        assert len([line for line in body.splitlines() if line.startswith("    ")]) <= 10, path.name
