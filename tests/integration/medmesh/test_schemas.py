"""The registry from end to end: bound on the command line, enforced by a running site, told to the sender."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from pydantic import BaseModel

from bus.services.protocol import BadAnswer
from medmesh import Mesh, endpoint, service
from medmesh.cli.schema_registry import commands
from schemas.registry.errors import SchemaRefused
from tests.hospital import Site, archive, eventually, mllp_in, running
from tests.integration.adapters.hl7v2.sockets import Sender
from tests.ports import free_port
from tests.unit.adapters.parts import message
from tests.unit.schemas.registry.protos import REPORT, report

pytestmark = [pytest.mark.server, pytest.mark.timeout(180)]


class Text(BaseModel):
    """A request, and an answer."""

    text: str


RAW = "evt.north.raw.hl7v2.*"
REPORTED = "evt.north.result.reported.*"


async def answer_to(sender: Sender, raw: bytes) -> bytes:
    sender.write(raw)
    return await sender.answer_bytes()


class Cli:
    """`medmesh schema …` on one configuration, in a thread of its own."""

    def __init__(self, config: Path) -> None:
        self.config = config
        self.group = click.Group("schema", commands=list(commands))

    async def __call__(self, *arguments: str) -> Result:
        chosen = [*arguments, "-c", str(self.config)]
        return await asyncio.to_thread(CliRunner().invoke, self.group, chosen)

    async def rows(self, *arguments: str) -> list[dict[str, Any]]:
        result = await self(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return [json.loads(line) for line in result.stdout.splitlines()]


def lines(result: Result) -> Sequence[str]:
    return [line for line in result.output.splitlines() if line]


async def test_sender_hears_why_its_message_was_refused_and_nothing_is_lost(tmp_path: Path) -> None:
    port = free_port()
    site = Site(tmp_path, mllp_in(port) + archive(tmp_path / "archive"))
    async with running(site):
        cli = Cli(site.config)
        sender = await Sender.connect(port)
        assert b"|AA|" in await answer_to(sender, message("1"))
        (row,) = await cli.rows("push", "--bind", RAW, "--hl7v2", "ORU^R01", "--hl7v2", "ADT^A01")
        assert (row["version"], row["writer"]) == (1, "registrar")
        refusal, tries = "", 0
        async with asyncio.timeout(20):  # the site follows within moments
            while "|AR|" not in refusal:
                tries += 1
                refusal = (await answer_to(sender, message(f"2-{tries}", note="QUOKKA"))).decode()
        assert "|AR|" in refusal
        assert RAW in refusal
        assert "hl7v2/ORU^R01" in refusal.replace("\\S\\", "^")
        assert "hl7v2/ADT^A08" in refusal.replace("\\S\\", "^")
        assert "QUOKKA" not in refusal
        assert "200" in refusal
        changed = await cli.rows("push", "--bind", RAW, "--hl7v2", "ADT^*", "--expect", "1")
        assert changed[0]["version"] == 2
        async with asyncio.timeout(20):
            while b"|AR|" in await answer_to(sender, message("3")):
                pass
        sender.close()
        await eventually(
            lambda: len([p for p in (tmp_path / "archive").rglob("*") if p.is_file()]) >= 2,
            within_s=20,
            what="what was accepted is delivered",
        )
        errors = "".join(site.child.errors) if site.child else ""
        assert "schema_refused" in errors
        assert "QUOKKA" not in errors
    offline = await cli("ls")
    assert offline.exit_code == 0, offline.output
    assert any(RAW in line for line in lines(offline))
    assert "known last" in offline.output


async def test_registry_is_written_looked_at_and_documented_from_the_command_line(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "proto"
    folder.mkdir()
    (folder / "report.proto").write_text(REPORT)
    (tmp_path / "set.binpb").write_bytes(report().files.SerializeToString())
    site = Site(tmp_path, archive(tmp_path / "archive"))
    async with running(site):
        cli = Cli(site.config)
        push = ("push", str(tmp_path / "set.binpb"), "--bind", REPORTED, "--check", "full")
        several = await cli(*push)
        assert several.exit_code == 1
        assert "--message" in several.output
        (row,) = await cli.rows(
            *push, "--message", "lab.v1.Report", "--describe", "Laboratory reports"
        )
        assert row["compatibility"] == "backward"
        await check_schemas(cli, folder)
        await check_contents(cli, tmp_path)
        (shown,) = await cli.rows("show", REPORTED)
        assert shown["schema"] == report().schema
        (schema,) = await cli.rows("show", row["schema"][:12])
        assert schema["files"] == ["f0.proto"]
        assert "message Report {" in (await cli("show", REPORTED, "--proto")).output
        document = json.loads((await cli("asyncapi")).output)
        assert (
            document["channels"]["evt.north.result.reported.ANY"]["description"]
            == "Laboratory reports"
        )
        written = await cli("asyncapi", "--output", str(tmp_path / "asyncapi.json"))
        assert written.exit_code == 0
        assert json.loads((tmp_path / "asyncapi.json").read_text()) == document
        missing = await cli("show", "evt.north.nothing.>")
        assert missing.exit_code == 3
        stale = await cli("rm", REPORTED, "--expect", "9")
        assert stale.exit_code == 1
        assert (await cli.rows("rm", REPORTED))[0]["removed"]
        assert await cli.rows("ls") == []


async def check_schemas(cli: Cli, folder: Path) -> None:
    same = await cli.rows("check", str(folder), "--bind", REPORTED, "--message", "lab.v1.Report")
    assert same[0]["compatible"]
    text = folder / "report.proto"
    text.write_text(REPORT.replace("int32 count = 2;", ""))
    broken = await cli("check", str(folder), "--bind", REPORTED)
    assert broken.exit_code == 1
    assert "lab.v1.Report.count: removed without reserving its number 2" in broken.output
    refused = await cli("push", str(text), "--bind", REPORTED)
    assert refused.exit_code == 1
    assert "backward" in refused.output
    text.write_text("no protobuf")
    wrong = await cli("push", str(text), "--bind", REPORTED)
    assert wrong.exit_code == 1
    assert "does not compile" in wrong.output


async def check_contents(cli: Cli, folder: Path) -> None:
    sample = folder / "sample.dat"
    sample.write_bytes(report().message_class("lab.v1.Report")(id="1").SerializeToString())
    assert (await cli.rows("check", str(sample), "--bind", REPORTED))[0]["fits"]
    sample.write_bytes(b"\xff\xff QUOKKA")
    wrong = await cli("check", str(sample), "--bind", REPORTED)
    assert wrong.exit_code == 1
    assert "unreadable" in wrong.output
    assert "QUOKKA" not in wrong.output


async def test_program_is_refused_by_a_typed_error_and_its_schedule_as_well(tmp_path: Path) -> None:
    site = Site(tmp_path, archive(tmp_path / "archive"))
    async with running(site):
        cli = Cli(site.config)
        fhir = ("--fhir", "R4", "--resource", "Observation")
        await cli.rows("push", "--bind", "evt.north.result.*.*", *fhir)
        async with Mesh.connect(site.config, service="lab") as mesh:
            kind = "application/fhir+json"
            await mesh.publish("result.reported", b'{"resourceType":"Observation"}', type=kind)
            with pytest.raises(SchemaRefused) as refused:
                await mesh.publish("result.reported", b'{"resourceType":"Patient"}', type=kind)
            assert refused.value.pattern == "evt.north.result.*.*"
            assert refused.value.seen == "Patient"
            assert not refused.value.retryable
            with pytest.raises(SchemaRefused):
                await mesh.schedule("later", "result.reported", b"{}", type=kind, every_s=60.0)
            counts = mesh.counts()
        assert any(name.startswith("schema_refused") for name in counts)


@service("beds", version="1.0.0")
class Beds:
    """Says what it is told to."""

    answer = Text(text="free")

    @endpoint(idempotent=True)
    async def free(self, request: Text) -> Text:
        """Answer."""
        return self.answer


async def ask_for_ever(mesh: Mesh) -> None:
    while True:
        await mesh.call("beds", "free", Text(text="3b"), reply=Text, timeout_s=20)


async def test_calls_are_held_to_what_their_method_is_bound_to(tmp_path: Path) -> None:
    site = Site(tmp_path, archive(tmp_path / "archive"))
    async with running(site):
        cli = Cli(site.config)
        bound = ("--bind", "svc.north.beds.v1.rpc.*", "--content-type", "application/json")
        await cli.rows("push", *bound, "--answer-type", "application/json")
        (row,) = await cli.rows("ls")
        assert row["answer_types"] == ["application/json"]
        wrong = await cli(
            "push", "--bind", "svc.south.beds.v1.rpc.free", "--content-type", "text/plain"
        )
        assert wrong.exit_code != 0
        assert "svc.north." in wrong.output
        async with Mesh.connect(site.config, service="beds") as mesh:
            beds = Beds()
            await mesh.serve(beds)
            asked = Text(text="3b")
            answer = await mesh.call("beds", "free", asked, reply=Text, timeout_s=20)
            assert answer.text == "free"
            with pytest.raises(SchemaRefused) as refused:
                await mesh.call("beds", "free", "3b", reply=Text, timeout_s=20)
            assert refused.value.pattern == "svc.north.beds.v1.rpc.*"
            (row,) = await cli.rows(
                "push", *bound, "--answer-type", "application/x-protobuf", "--compat", "none"
            )
            assert row["version"] == 2
            with pytest.raises(BadAnswer, match="the call was worked"):
                await ask_for_ever(mesh)  # until this process has heard of the new version
        document = json.loads((await cli("asyncapi")).output)
        assert document["operations"]["call.svc.north.beds.v1.rpc.ANY"]["reply"]


async def test_machine_without_the_authority_may_look_but_not_bind(tmp_path: Path) -> None:
    site = Site(tmp_path, archive(tmp_path / "archive"), extra='[schemas]\ncheck = "warn"\n')
    async with running(site):
        cli = Cli(site.config)
        authority = tmp_path / "data" / "trust" / "authority"
        assert authority.is_dir()
        authority.rename(tmp_path / "taken-away")
        assert (await cli("ls")).exit_code == 0
        refused = await cli("push", "--bind", RAW, "--hl7v2", "ADT^A01")
        assert refused.exit_code != 0
        assert "authority" in refused.output
        (tmp_path / "taken-away").rename(authority)
