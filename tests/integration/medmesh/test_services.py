"""Services from end to end: processes of their own on a real mesh, seen and called from the command line."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from medmesh import Mesh, NoInstance
from tests.hospital import Process, Site, archive, eventually, running, start
from tests.peers.clerk import Clerk

pytestmark = [pytest.mark.server, pytest.mark.alone, pytest.mark.timeout(180)]


@asynccontextmanager
async def instance(site: Site) -> AsyncIterator[Process]:
    """One instance of the clerk service in a process of its own."""
    child = await start(["-m", "tests.peers.clerk", str(site.config)])
    try:
        await eventually(
            lambda: bool(child.lines) or child.process.returncode is not None,
            within_s=60,
            what="the service runs",
        )
        assert child.lines, "".join(child.errors[-5:])
        yield child
    finally:
        if child.process.returncode is None:
            child.process.terminate()
        await child.ended()


async def cli(*arguments: str) -> tuple[int, list[dict[str, Any]], str]:
    child = await start(["-m", "medmesh", *arguments])
    await child.ended()
    assert child.process.returncode is not None
    rows = [json.loads(line) for line in child.lines if line.startswith("{")]
    return child.process.returncode, rows, "".join(child.errors)


async def test_running_services_are_listed_and_called_from_the_command_line(tmp_path: Path) -> None:
    site = Site(tmp_path, archive(tmp_path / "archive"))
    config = ["-c", str(site.config), "--json"]
    async with running(site):
        code, rows, errors = await cli("services", "clerk", *config)
        assert (code, rows) == (3, [])
        assert "no instance of clerk" in errors
        async with instance(site), instance(site):
            code, rows, errors = await cli("services", "--stats", *config)
            assert code == 0, errors
            assert [row["service"] for row in rows] == ["clerk", "clerk"]
            assert len({row["instance"] for row in rows}) == 2
            assert {row["health"] for row in rows} == {"healthy"}
            assert {one["name"] for row in rows for one in row["stats"]} == {"who", "slow"}
            body = json.dumps({"name": "icu"})
            code, rows, errors = await cli("call", "clerk", "who", body, *config)
            assert code == 0, errors
            assert json.loads(rows[0]["body"])["caller"] == "operator"
            code, rows, _ = await cli("call", "clerk", "who", '{"nome": "icu"}', *config)
            assert (code, rows[0]["code"]) == (1, "invalid_request")
            code, rows, _ = await cli("call", "clerk", "nothing", "", *config)
            assert (code, rows[0]["code"]) == (3, "not_found_there")
        code, rows, _ = await cli("call", "clerk", "who", body, "--timeout", "1", *config)
        assert (code, rows[0]["code"]) in {(1, "no_instance"), (5, "deadline_exceeded")}


async def test_watch_shows_who_comes_is_killed_and_leaves_with_the_reason(tmp_path: Path) -> None:
    site = Site(tmp_path, archive(tmp_path / "archive"))
    async with running(site):
        watch = await start(
            ["-m", "medmesh", "services", "--watch", "--json", "-c", str(site.config)]
        )

        def seen() -> list[tuple[str, str]]:
            rows = [json.loads(line) for line in watch.lines]
            return [(row["health"], row["reason"]) for row in rows if row["event"] == "changed"]

        try:
            await eventually(lambda: bool(watch.lines), within_s=60, what="the watch runs")
            async with instance(site) as killed:
                await eventually(
                    lambda: any(health == "healthy" for health, _ in seen()),
                    within_s=10,
                    what="the instance is seen",
                )
                killed.kill()
                await eventually(
                    lambda: ("gone", "disconnected") in seen(), within_s=3, what="it is gone"
                )
            async with instance(site):
                pass
            await eventually(
                lambda: any(health == "draining" for health, _ in seen()),
                within_s=10,
                what="the second one says that it leaves",
            )
        finally:
            watch.process.terminate()
            await watch.ended()


async def test_rolling_restart_of_all_instances_fails_no_call(tmp_path: Path) -> None:
    site = Site(tmp_path, archive(tmp_path / "archive"))
    async with running(site):
        async with instance(site) as first, instance(site) as second, caller(site) as mesh:
            answered: list[str] = []
            ended = asyncio.Event()

            async def calls() -> None:
                client = mesh.client(Clerk)
                while not ended.is_set():
                    answered.append((await client.slow(None, timeout_s=10.0)).instance)

            load = asyncio.gather(*(calls() for _ in range(8)))
            for old in (first, second):
                async with instance(site) as fresh:
                    await eventually(
                        lambda: bool(answered) and answered[-1] != "", within_s=20, what="answers"
                    )
                    old.process.terminate()
                    await old.ended()
                    assert fresh.process.returncode is None
                    at = len(answered)
                    await eventually(
                        lambda at=at: len(answered) > at + 50,  # type: ignore[misc]
                        within_s=30,
                        what="calls go on at the fresh instance",
                    )
            # the last fresh one has left as well: what is called now fails in words, not for ever
            ended.set()
            results = await asyncio.gather(load, return_exceptions=True)
            assert all(isinstance(one, NoInstance | list) or one is None for one in results), (
                results,
                mesh.counts(),
            )
        assert len(answered) > 100
        print(f"{len(answered)} calls answered, none failed; {mesh.counts()}", file=sys.stderr)


@asynccontextmanager
async def caller(site: Site) -> AsyncIterator[Mesh]:
    async with Mesh.connect(site.config, service="ward-board") as mesh:
        yield mesh
