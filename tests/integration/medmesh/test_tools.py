"""Watch, dead letters and doctor on a running site: an operator sees what goes on, and nothing of what is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from medmesh.demo.messages import day
from tests.hospital import (
    Process,
    Sink,
    Site,
    archive,
    eventually,
    mllp_in,
    mllp_out,
    running,
    start,
)
from tests.peers.sender import Tally, send_all
from tests.ports import free_port

pytestmark = [pytest.mark.server, pytest.mark.timeout(180)]

NEVER_GIVEN = "[adapter.retry]\nmax_attempts = 1\nfirst_delay_s = 0.05"


async def tool(site: Site, *arguments: str) -> tuple[int | None, list[dict[str, Any]], str]:
    child = await start(["-m", "medmesh", *arguments, "-c", str(site.config), "--json"])
    await child.ended()
    return (
        child.process.returncode,
        [json.loads(line) for line in child.lines],
        "".join(child.errors),
    )


async def watching(site: Site, pattern: str, count: int) -> Process:
    child = await start(
        ["-m", "medmesh", "watch", pattern, "-c", str(site.config), "--json", "--once", str(count)]
    )
    await eventually(
        lambda: any("watching" in line for line in child.lines), within_s=30, what="the watch"
    )
    return child


async def test_watch_shows_the_outside_of_what_passes(tmp_path: Path) -> None:
    site = Site(tmp_path, mllp_in(port := free_port()) + archive(tmp_path / "archive"))
    messages = [message.raw for message in day(10)]
    async with running(site):
        child = await watching(site, "evt.>", 10)
        await send_all(port, messages, Tally())
        await child.ended()
    assert child.process.returncode == 0
    seen = [json.loads(line) for line in child.lines[1:-1]]
    assert len(seen) == 10
    assert {(one["type"], one["sender"], one["mark"]) for one in seen} == {
        ("raw/hl7v2", "emr-in", "")
    }
    output = "".join(child.lines).encode()
    for message in messages:
        for word in (b"DEMO000", b"NOBODY", b"PID|"):
            assert word not in output
        assert message[100:120] not in output


async def test_dead_letters_are_listed_shown_and_replayed(tmp_path: Path) -> None:
    sink = Sink(tmp_path)
    site = Site(tmp_path, mllp_in(port := free_port()) + mllp_out(sink.port, more=NEVER_GIVEN))
    await sink.start("--code", "AE", "--code-for-first", "3")
    async with running(site, sink):
        await send_all(port, [message.raw for message in day(5)], Tally())
        await sink.received(5, within_s=30)
        code, letters, _ = await tool(site, "dlq", "ls")
        assert code == 0
        assert [letter["seq"] for letter in letters] == [1, 2, 3]
        assert {letter["reason"] for letter in letters} == {"negative_acknowledgement"}
        code, shown, _ = await tool(site, "dlq", "show", "2")
        assert (code, shown[0]["consumer"], shown[0]["readable"]) == (0, "his-out", True)
        code, planned, _ = await tool(site, "dlq", "replay", "--all", "--dry-run")
        assert planned == [{"dry_run": True, "would_replay": [1, 2, 3]}]
        code, done, _ = await tool(site, "dlq", "replay", "1")
        assert (code, done[0]["ordered"]) == (0, [1])
        code, done, _ = await tool(site, "dlq", "replay", "--all", "--consumer", "his-out")
        assert (code, done[0]["ordered"]) == (0, [2, 3])
        await eventually(
            lambda: len(sink.journal.received) == 8, within_s=30, what="the replayed messages"
        )
        assert (await tool(site, "dlq", "ls"))[1] == []
        code, _, words = await tool(site, "dlq", "show", "1")
        assert code == 3
        assert "there is no dead letter 1" in words


async def test_the_doctor_finds_nothing_wrong_with_a_healthy_site(tmp_path: Path) -> None:
    site = Site(tmp_path, mllp_in(port := free_port()) + archive(tmp_path / "archive"))
    async with running(site):
        await send_all(port, [day(1)[0].raw], Tally())
        code, findings, _ = await tool(site, "doctor")
    wrong = [finding for finding in findings if finding["verdict"] == "wrong"]
    assert (code, wrong) == (0, [])
    checks = {(finding["area"], finding["check"]): finding for finding in findings}
    assert checks["streams", "durability"]["verdict"] == "good"
    assert checks["ports", "emr-in"]["saw"].endswith(")")
    assert "ours" in checks["ports", "emr-in"]["saw"]
    assert checks["trust", "emr-in"]["verdict"] == "good"


async def test_the_doctor_says_what_is_wrong_and_what_to_do(tmp_path: Path) -> None:
    first = Site(tmp_path, mllp_in(port := free_port()) + archive(tmp_path / "archive"))
    (tmp_path / "other").mkdir()
    second = Site(tmp_path / "other", mllp_in(port) + archive(tmp_path / "archive"))
    async with running(first):
        code, findings, _ = await tool(second, "doctor")
    wrong = [finding for finding in findings if finding["verdict"] == "wrong"]
    assert code == 1
    assert [finding["area"] for finding in wrong] == ["ports"]
    assert first.child is not None
    assert f"(process {first.child.pid})" in wrong[0]["saw"]
    assert wrong[0]["advice"]


async def test_tools_say_when_no_mesh_runs(tmp_path: Path) -> None:
    site = Site(tmp_path, mllp_in(0) + archive(tmp_path / "archive"))
    code, events, words = await tool(site, "watch")
    assert (code, events[0]["event"]) == (1, "error")
    assert "no mesh runs on" in words


async def test_a_forgotten_program_is_named_by_the_doctor_and_removed_on_order(
    tmp_path: Path,
) -> None:
    archived = archive(tmp_path / "archive")
    old = archive(tmp_path / "old").replace('"archive"', '"old-report"', 1)
    site = Site(tmp_path, mllp_in(port := free_port()) + archived + old)
    async with running(site):
        await send_all(port, [message.raw for message in day(1)], Tally())
        await site.stop()
    site = Site(tmp_path, mllp_in(port) + archived)
    async with running(site):
        await send_all(port, [message.raw for message in day(5)], Tally())
        _, findings, _ = await tool(site, "doctor")
        assert "medmesh consumers rm old-report" in json.dumps(findings)
        code, rows, _ = await tool(site, "consumers", "ls")
        assert code == 0
        assert {row["name"]: row["kind"] for row in rows} == {
            "archive": "adapter",
            "old-report": "program",
        }
        assert (await tool(site, "consumers", "rm", "old-report"))[0] == 2, "nobody said yes"
        assert (await tool(site, "consumers", "rm", "archive", "--yes"))[0] == 2, "it is in use"
        assert (await tool(site, "consumers", "rm", "old-report", "--yes"))[0] == 0
        assert (await tool(site, "consumers", "rm", "old-report", "--yes"))[0] == 3
        _, rows, _ = await tool(site, "consumers", "ls")
        assert [row["name"] for row in rows] == ["archive"]
