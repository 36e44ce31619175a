"""`medmesh audit ls` shows who did what, and is not led astray by what a client put there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from bus.audit import AccessLog, StoredEntry, UnreadableEntries
from bus.clock import SystemClock
from bus.telemetry.counters import Counters
from bus.transport.protocol import EventStore
from gateway.access.rights import GATEWAY, mesh_rights
from medmesh.cli import cli
from medmesh.cli.audit import fields_of, line_of
from medmesh.config import Configuration
from medmesh.runtime.services import Service
from schemas.gateway import GatewaySection
from tests.unit.bus.audit.test_log import entry
from tests.unit.bus.audit.test_reader import SITE, site


def stored(**changes: object) -> StoredEntry:
    return StoredEntry(
        entry=entry(1_700_000_000_000, **changes), recorded_by="gateway", stored_ms=5, seq=3
    )


def test_a_line_says_who_what_and_why() -> None:
    line = line_of(stored(purpose="TREAT", what="Patient/7", allowed=False))

    for word in (
        "2023-11-14T22:13:20.000",
        "lab (api_key) for f3a1",
        "Patient/7",
        "[TREAT]",
        "REFUSED",
    ):
        assert word in line


def test_a_client_cannot_forge_a_line() -> None:
    line = line_of(stored(what="x\n2026-01-01 forged \x1b[2K\u202e"))

    assert line.isprintable()


def test_what_cannot_be_read_is_said() -> None:
    one = UnreadableEntries(seq=9, stored_ms=0, reason="not_for_us")

    assert "9 cannot be read: not_for_us" in line_of(one)
    assert fields_of(one)["readable"] is False


def test_a_period_that_is_none_is_refused() -> None:
    done = CliRunner().invoke(cli, ["audit", "ls", "--since", "yesterday"])

    assert done.exit_code == 2
    assert "write 30m" in done.output


def test_records_are_chosen_by_client_and_verdict(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    @asynccontextmanager
    async def auditing(configuration: Configuration) -> AsyncIterator[tuple[Service, EventStore]]:
        async with site() as (connection, services):
            auditor = await services.open_auditor()
            gateway = await services.open(GATEWAY, mesh_rights(GatewaySection(), SITE))
            log = AccessLog(site=SITE, events=gateway.events, counters=Counters())
            now_ms = SystemClock().now_ms()
            await log.record(entry(now_ms, what="Patient/first"))
            await log.record(entry(now_ms, what="Patient/second", client="ris", allowed=False))
            yield auditor, connection.transport.store

    monkeypatch.setattr("medmesh.cli.guest.auditing", auditing)
    config = tmp_path / "mesh.toml"
    config.write_text('[mesh]\nsite = "north"\n[gateway]\n')
    flags = ["-c", str(config), "--since", "1h"]

    def listed(*more: str) -> str:
        done = CliRunner().invoke(cli, ["audit", "ls", *flags, *more])
        assert done.exit_code == 0, done.output
        return done.output

    assert "Patient/first" in listed()
    assert "Patient/second" in listed("--json")
    assert "Patient/first" not in listed("--client", "ris")
    assert "Patient/first" not in listed("--refused")
    assert "no access records" in listed("--client", "nobody")


def test_an_api_key_is_printed_once_with_what_the_configuration_needs() -> None:
    done = CliRunner().invoke(cli, ["keys", "api-key", "lab"])

    assert done.exit_code == 0
    assert done.stdout.startswith("mm_lab_")
    assert done.stdout.strip() not in done.stderr
    assert "[[gateway.client.key]]" in done.stderr
    assert CliRunner().invoke(cli, ["keys", "api-key", "No Name"]).exit_code == 2
