"""A FHIR application orders and reports, a laboratory gets HL7 v2 by MLLP: the whole way on a real server."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.hl7v2.codec import Message
from tests.hospital import Site, eventually, running
from tests.ports import free_port
from tests.shared_data import ROOT
from tests.unit.adapters.hl7v2.reverse.resources import bundle, observation, order, patient, report

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(180)]

SECRET = "ZQ4711"
TABLE = "segment: Patient[PID]\nrules:\n  - {id: site-nation, const: BEL, to: PID-28.1}\n"


@dataclass
class Laboratory:
    """An MLLP receiver that keeps what it gets, accepts it, and can be away."""

    port: int
    messages: list[Message] = field(default_factory=list)
    server: asyncio.Server | None = None
    writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def open(self) -> None:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def close(self) -> None:
        if self.server is not None:
            self.server.close()
            for writer in list(self.writers):
                writer.transport.abort()
            await self.server.wait_closed()
            self.server = None

    def of(self, kind: str) -> list[Message]:
        return [one for one in self.messages if one.get("MSH-9.1") == kind]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.add(writer)
        try:
            while True:
                frame = await reader.readuntil(b"\x1c\r")
                message = Message.parse(frame[1:-2])
                self.messages.append(message)
                control = message.get("MSH-10")
                answer = f"MSH|^~\\&|LAB|LAB|EHR|EHR|20260301100000||ACK|A{control}|P|2.5.1\rMSA|AA|{control}\r"
                writer.write(b"\x0b" + answer.encode() + b"\x1c\r")
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.writers.discard(writer)
            writer.close()


@asynccontextmanager
async def laboratory() -> AsyncIterator[Laboratory]:
    """A laboratory that is there."""
    found = Laboratory(free_port())
    await found.open()
    try:
        yield found
    finally:
        await found.close()


def adapters(fhir_port: int, lab_port: int) -> str:
    return f"""
[[adapter]]
name = "ehr"
kind = "fhir.receiver"
listen = "127.0.0.1:{fhir_port}"
bundles = "whole"
event = "order.placed"

[[adapter]]
name = "to-lab"
kind = "hl7v2.from-fhir"
subscribe = "evt.north.order.*.*"
receiving_application = "LAB^1.2.3^ISO"
event = "hl7v2-lab"

[[adapter]]
name = "lab-out"
kind = "hl7v2.mllp-client"
connect = "127.0.0.1:{lab_port}"
subscribe = "evt.north.raw.hl7v2-lab.*"
"""


def ordered(number: int, **more: object) -> bytes:
    """An order of a number, by its id and its placer's identifier."""
    placed = order(id=f"o{number}", **more)
    placed["identifier"] = [{**placed["identifier"][0], "value": f"O{number}"}]
    return json.dumps(bundle(patient(), placed)).encode()


REPORTED = json.dumps(
    bundle(
        patient(name=[{"family": SECRET}]),
        order(),
        report("x", basedOn=[{"reference": "ServiceRequest/o"}]),
        observation(valueQuantity={"value": 5.5, "unit": "mmol/L"}),
    )
).encode()
UNWRITABLE = json.dumps(bundle({"resourceType": "Basic", "id": SECRET.lower()})).encode()


async def post(port: int, body: bytes) -> int:
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        answer = await client.post(
            f"http://127.0.0.1:{port}/fhir",
            content=body,
            headers={"content-type": "application/fhir+json"},
        )
    return answer.status_code


async def medmesh(site: Site, *arguments: str) -> list[dict[str, Any]]:
    """Run a command with `--json` on the site's configuration; returns its lines."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "medmesh", *arguments, "--json", "-c", str(site.config)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    told, errors = await process.communicate()
    assert process.returncode == 0, (told + errors).decode()
    return [json.loads(line) for line in told.decode().splitlines()]


async def test_orders_and_reports_of_a_fhir_application_reach_a_laboratory(tmp_path: Path) -> None:
    port = free_port()
    async with laboratory() as lab:
        site = Site(tmp_path, adapters(port, lab.port))
        async with running(site):
            # an order, and the same once more: the laboratory gets it once
            assert await post(port, ordered(1)) == 200
            assert await post(port, ordered(1)) == 200
            await eventually(lambda: bool(lab.of("OML")), within_s=30, what="the order")
            first = lab.of("OML")[0]
            assert first.get("ORC-2.1") == "O1"
            assert (first.get("MSH-5.1"), first.get("MSH-5.2")) == ("LAB", "1.2.3")

            # a report
            assert await post(port, REPORTED) == 200
            await eventually(lambda: bool(lab.of("ORU")), within_s=30, what="the report")
            assert lab.of("ORU")[0].get("OBX-5") == "5.5"
            assert lab.of("ORU")[0].get("PID-5.1") == SECRET

            # what cannot be written is a dead letter, which names codes and places, and holds up nothing
            assert await post(port, UNWRITABLE) == 200
            # the laboratory is away for a while: nothing is lost, and the order stays
            await lab.close()
            for number in (2, 3, 4):
                assert await post(port, ordered(number)) == 200
            await lab.open()
            await eventually(lambda: len(lab.of("OML")) >= 4, within_s=60, what="the other orders")
            numbers = [one.get("ORC-2.1") for one in lab.of("OML")]
            assert numbers == ["O1", "O2", "O3", "O4"]

            letters = [one for one in await medmesh(site, "dlq", "ls") if "to-lab" in str(one)]
            assert len(letters) == 1, letters
            assert "unsupported" in json.dumps(letters)

            # tables that are pushed are taken up while the site runs
            (tmp_path / "tables" / "segments").mkdir(parents=True)
            (tmp_path / "tables" / "segments" / "pid.yaml").write_text(TABLE)
            (pushed,) = await medmesh(
                site, "map", "push", str(tmp_path / "tables"), "--adapter", "to-lab", "--reason", "test",
            )  # fmt: skip
            version = str(pushed["tables"])[:12]
            await eventually(
                lambda: any(version in line for line in (site.child.errors if site.child else [])),
                within_s=20,
                what="the new tables in the log",
            )
            assert await post(port, ordered(5)) == 200
            await eventually(lambda: len(lab.of("OML")) >= 5, within_s=30, what="a further order")
            assert lab.of("OML")[-1].get("PID-28.1") == "BEL"

            told = "".join(site.child.errors if site.child else [])
            assert await site.stop() == 0
    assert SECRET not in told + json.dumps(letters)
    assert SECRET.lower() not in told + json.dumps(letters)


async def test_orders_go_out_as_orm_where_the_laboratory_knows_no_other(tmp_path: Path) -> None:
    port = free_port()
    async with laboratory() as lab:
        text = adapters(port, lab.port).replace(
            'event = "hl7v2-lab"', 'event = "hl7v2-lab"\norder_message = "ORM"\nversion = "2.3.1"'
        )
        site = Site(tmp_path, text)
        async with running(site):
            assert await post(port, ordered(1)) == 200
            await eventually(lambda: bool(lab.of("ORM")), within_s=30, what="the order")
            assert lab.of("ORM")[0].get("MSH-12") == "2.3.1"
            assert lab.of("ORM")[0].get("ORC-2.1") == "O1"
            assert await site.stop() == 0
