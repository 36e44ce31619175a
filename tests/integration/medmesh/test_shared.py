"""A subscription that programs share, as its users and operators see it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from medmesh import Mesh
from tests.hospital import Site, archive, eventually, running, start

pytestmark = [pytest.mark.server, pytest.mark.timeout(180)]

EVENTS = 40


async def tool(site: Site, *arguments: str) -> tuple[int | None, list[dict[str, object]]]:
    child = await start(["-m", "medmesh", *arguments, "-c", str(site.config), "--json"])
    await child.ended()
    return child.process.returncode, [json.loads(line) for line in child.lines]


async def test_two_programs_share_a_subscription_and_operators_see_who_works_what(
    tmp_path: Path,
) -> None:
    site = Site(tmp_path, archive(tmp_path / "archive"))
    seen: list[tuple[int, bytes, int]] = []
    async with running(site):
        async with (
            Mesh.connect(site.config, service="indexer") as one,
            Mesh.connect(site.config, service="indexer") as other,
            Mesh.connect(site.config, service="lab") as lab,
        ):

            async def work(number: int, mesh: Mesh) -> None:
                subscription = mesh.subscribe("evt.north.result.>", durable="index", shared=True)
                async for event in subscription:
                    assert event.fence > 0
                    seen.append((number, event.body, event.partition))

            readers = [asyncio.create_task(work(n, mesh)) for n, mesh in enumerate((one, other))]
            async with asyncio.timeout(60):
                while True:
                    code, rows = await tool(site, "consumers", "partitions", "index")
                    owners = {row["owner"] for row in rows}
                    if code == 0 and len(rows) == 64 and len(owners) == 2:
                        break
            for number in range(EVENTS):
                await lab.publish(
                    "result.final",
                    b"%d" % number,
                    key=b"patient %d" % (number % 20),
                    type="text/plain",
                )
            await eventually(lambda: len(seen) >= EVENTS, within_s=60, what="every event")
            assert sorted(int(body) for _, body, _ in seen) == list(range(EVENTS))
            assert {number for number, _, _ in seen} == {0, 1}, "both had a share"
            assert all({row["reason"], ""} for row in rows)
            _, listed = await tool(site, "consumers", "ls")
            assert {"name": "index", "kind": "shared", "waiting": 0} in listed
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)
        assert (await tool(site, "consumers", "rm", "index", "--yes"))[0] == 0
        assert (await tool(site, "consumers", "partitions", "index"))[0] == 3
