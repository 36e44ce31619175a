"""An EMR speaks HL7 v2 by MLLP, a FHIR server gets resources: the whole way on a real server, and new tables."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.hospital import Site, eventually, mllp_in, running
from tests.peers.fhir_server import FhirServer, fhir_server
from tests.peers.sender import Tally, send_all
from tests.ports import free_port
from tests.shared_data import ROOT

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(180)]

TABLE = "segment: PID[Patient]\nrules:\n  - {id: site-language, to: language, const: de}\n"


def admission(number: int, *, family: str = "EXAMPLE") -> bytes:
    return (
        f"MSH|^~\\&|EMR|NORTH|HIS|NORTH|20260301100000+0100||ADT^A01^ADT_A01|C{number}{family}|P|2.5.1\r"
        "EVN|A01|20260301100000+0100\r"
        f"PID|1||P{number}^^^NORTH^MR||{family}^PATIENT||19700101|F\r"
        f"PV1|1|I|W1^R1^B1||||||||||||||||V{number}^^^NORTH^VN\r"
    ).encode()


def adapters(base: str) -> str:
    return f"""
[[adapter]]
name = "views"
kind = "hl7v2.to-fhir"
subscribe = "evt.north.raw.hl7v2.*"

[[adapter]]
name = "repository"
kind = "fhir.client"
base = "{base}"
subscribe = "evt.north.patient.*.*"
"""


def patients(server: FhirServer) -> list[dict[str, Any]]:
    return [json.loads(body) for _, body in server.store.current("Patient")]


async def medmesh(site: Site, *arguments: str) -> str:
    """Run a command on the site's configuration; returns what it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "medmesh", *arguments, "-c", str(site.config)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    told, errors = await process.communicate()
    assert process.returncode == 0, (told + errors).decode()
    return told.decode()


async def test_messages_become_resources_of_a_fhir_server(tmp_path: Path) -> None:
    port = free_port()
    async with fhir_server() as server:
        site = Site(tmp_path, mllp_in(port) + adapters(server.base))
        async with running(site):
            tally = Tally()
            await send_all(port, [admission(n) for n in range(5)], tally)
            assert len(tally.accepted) == 5
            await eventually(lambda: len(patients(server)) == 5, within_s=30, what="five patients")
            assert {one["gender"] for one in patients(server)} == {"female"}
            # the same patients again, renamed: updates, no further resources
            await send_all(port, [admission(n, family="RENAMED") for n in range(5)], tally)
            await eventually(
                lambda: {one["name"][0]["family"] for one in patients(server)} == {"RENAMED"},
                within_s=30,
                what="the new names",
            )
            assert len(patients(server)) == 5

            (tmp_path / "tables" / "segments").mkdir(parents=True)
            (tmp_path / "tables" / "segments" / "pid.yaml").write_text(TABLE)
            pushed = await medmesh(
                site, "map", "push", str(tmp_path / "tables"), "--adapter", "views", "--reason", "test", "--json",
            )  # fmt: skip
            assert json.loads(pushed)["revision"] > 0
            await eventually(
                lambda: any(
                    json.loads(pushed)["tables"][:12] in line
                    for line in (site.child.errors if site.child else [])
                ),
                within_s=20,
                what="the new tables in the log",
            )
            replayed = await medmesh(
                site, "map", "replay", "--adapter", "views", "--since", "1h", "--json"
            )
            assert json.loads(replayed)["ordered"] == 10
            await eventually(
                lambda: {one.get("language") for one in patients(server)} == {"de"},
                within_s=30,
                what="every patient mapped once more",
            )
            assert len(patients(server)) == 5
            await medmesh(site, "map", "pull", str(tmp_path / "back"), "--adapter", "views")
            assert (tmp_path / "back" / "segments" / "pid.yaml").read_text() == TABLE
            told = "".join(site.child.errors if site.child else [])
            assert await site.stop() == 0
    assert "EXAMPLE" not in told
    assert "RENAMED" not in told
