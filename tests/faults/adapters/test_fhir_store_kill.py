"""`medmesh up` is killed while its store is written to: what was answered is there, and its event came once."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from medmesh import Mesh
from schemas.errors import MeshError
from schemas.generated.medmesh.fhir.v1 import interaction_pb2 as pb
from tests.hospital import Site, eventually, mllp_in, running
from tests.peers.sender import Tally, send_all
from tests.ports import free_port

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(300)]

WRITERS, KILLS, EACH = 4, 2, 120
PATIENT = "evt.north.patient.patient_*.*"


def adapters(folder: Path, port: int = 0) -> str:
    views = f"""{mllp_in(port)}
[[adapter]]
name = "views"
kind = "hl7v2.to-fhir"
subscribe = "evt.north.raw.hl7v2.*"
"""
    return f"""{views if port else ""}
[[adapter]]
name = "store"
kind = "fhir.store"
subscribe = ["evt.north.patient.registered.*", "evt.north.patient.updated.*"]

[[adapter]]
name = "shelf"
kind = "files.writer"
folder = "{folder}"
subscribe = ["evt.north.patient.patient_created.*", "evt.north.patient.patient_updated.*"]
file_name = "{{seq}}-{{id}}"
"""


def announced(folder: Path) -> list[dict[str, Any]]:
    """The resources of the store's events, in the order of their numbers in the stream."""
    files = sorted(folder.glob("*.json"), key=lambda one: int(one.name.partition("-")[0]))
    return [json.loads(one.read_bytes()) for one in files]


async def call(mesh: Mesh, asked: pb.Interaction, *, idempotent: bool = False) -> pb.Outcome:
    return await mesh.call(
        "store", "interaction", asked, reply=pb.Outcome, timeout_s=5.0, idempotent=idempotent
    )


def interaction(kind: pb.Kind.ValueType, place: str, body: bytes = b"") -> pb.Interaction:
    resource_type, _, identity = place.partition("/")
    return pb.Interaction(
        kind=kind, release="R4", resource_type=resource_type, id=identity, body=body
    )


async def write(mesh: Mesh, writer: int, done: dict[str, int]) -> None:
    """Create and change patients; `done` is what was acknowledged: the newest version of each."""
    for number in range(EACH):
        body = b'{"resourceType":"Patient","name":[{"family":"W%dN%d"}]}' % (writer, number)
        made: pb.Outcome | None = None
        while made is None:
            with contextlib.suppress(MeshError):
                made = await call(mesh, interaction(pb.KIND_CREATE, "Patient", body))
        assert made.status == 201, made.body
        done[made.id] = 1
        changed = b'{"resourceType":"Patient","id":"%s","active":true}' % made.id.encode()
        with contextlib.suppress(MeshError):
            after = await call(mesh, interaction(pb.KIND_UPDATE, f"Patient/{made.id}", changed))
            assert after.status == 200, after.body
            done[made.id] = int(after.version)


async def test_what_was_acknowledged_is_there_and_its_event_came_once(tmp_path: Path) -> None:
    folder = tmp_path / "shelf"
    site = Site(tmp_path, adapters(folder))
    done: dict[str, int] = {}
    told: list[str] = []
    async with running(site):
        async with Mesh.connect(site.config, service="ward") as mesh:
            writers = [asyncio.create_task(write(mesh, one, done)) for one in range(WRITERS)]
            try:
                for kill in range(KILLS):
                    wanted = (kill + 1) * WRITERS * EACH // 4
                    await eventually(
                        lambda w=wanted: len(done) >= w,  # type: ignore[misc]
                        within_s=60,
                        what=f"{wanted} patients before the kill",
                    )
                    assert not all(one.done() for one in writers), "nothing was under way"
                    await site.kill()
                    told += site.child.errors if site.child else []
                    await site.start()
                async with asyncio.timeout(150):
                    await asyncio.gather(*writers)
            finally:
                for one in writers:
                    one.cancel()
            assert len(done) == WRITERS * EACH
            for identity, version in done.items():
                read = await call(
                    mesh, interaction(pb.KIND_READ, f"Patient/{identity}"), idempotent=True
                )
                assert read.status == 200
                assert int(read.version) >= version
        wanted_events = {
            (name, str(number + 1)) for name, last in done.items() for number in range(last)
        }
        await eventually(
            lambda: wanted_events <= {_named(one) for one in announced(folder)},
            within_s=60,
            what="every event",
        )
        assert await site.stop() == 0
        told += site.child.errors if site.child else []
    found = announced(folder)
    # versions in order and none twice, also those whose answer was lost
    assert max(Counter(map(_named, found)).values()) == 1
    newest: dict[str, int] = {}
    for patient in found:
        assert int(patient["meta"]["versionId"]) == newest.get(patient["id"], 0) + 1
        newest[patient["id"]] = int(patient["meta"]["versionId"])
    assert '"family"' not in "".join(told)


def _named(resource: dict[str, Any]) -> tuple[str, str]:
    return resource["id"], resource["meta"]["versionId"]


def admission(number: int) -> bytes:
    return (
        f"MSH|^~\\&|EMR|NORTH|HIS|NORTH|20260301100000+0100||ADT^A04^ADT_A01|C{number}|P|2.5.1\r"
        "EVN|A04|20260301100000+0100\r"
        f"PID|1||P{number}^^^NORTH^MR||EXAMPLE^PATIENT||19700101|F\r"
    ).encode()


async def test_admission_by_mllp_is_read_a_moment_later(tmp_path: Path) -> None:
    port = free_port()
    site = Site(tmp_path, adapters(tmp_path / "shelf", port))
    async with running(site), Mesh.connect(site.config, service="ward") as mesh:
        tally = Tally()
        await send_all(port, [admission(number) for number in range(3)], tally)
        asked = interaction(pb.KIND_SEARCH, "Patient")
        asked.parameters.add(name="identifier", value="P2")

        async def found() -> bool:
            outcome = await call(mesh, asked, idempotent=True)
            assert outcome.status == 200
            return int(json.loads(outcome.body)["total"]) == 1

        async with asyncio.timeout(30):
            while not await found():
                pass
        assert await site.stop() == 0
