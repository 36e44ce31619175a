"""Two processes on one machine share a trust folder: `medmesh up` and a Python client."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

import pytest

from bus.clock import SystemClock
from bus.trust import Authority, Trust
from bus.trust.objects import open_head
from tests.shared_data import ROOT

HEADS = """
import json, sys
from pathlib import Path
from bus.clock import SystemClock
from bus.trust import Authority
from bus.trust.objects import open_head
from tests.unit.bus.trust.world import Instance

folder, place = Path(sys.argv[1]), sys.argv[2]
authority = Authority.create_or_load(folder, mesh="st-elsewhere", clock=SystemClock())
instance = Instance(name=place, service="spiffe://st-elsewhere/north/s-" + place)
versions = []
for _ in range(40):
    authority.issue(instance.request(SystemClock().now_ms()))
    head = open_head(authority.head(renew=True), authority.root)
    versions.append(head.version)
print(json.dumps({"root": authority.root.id.hex(), "versions": versions}))
"""

CLIENT = """
import asyncio, json, sys
from pathlib import Path
from bus.clock import SystemClock
from bus.trust import Trust

async def main() -> None:
    trust = await Trust.open(
        Path(sys.argv[1]), mesh="st-elsewhere", site="north", buckets=None, clock=SystemClock()
    )
    identity = await trust.identity("his-out", subscribe=["evt.>"])
    print(json.dumps({
        "instance": identity.instance,
        "keys": sorted(key.hex() for key in identity.kem_keys),
        "site_key": trust.site_key.hex(),
    }), flush=True)
    sys.stdin.readline()
    await trust.stop()

asyncio.run(main())
"""


async def run(code: str, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        code,
        *arguments,
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )


async def test_versions_never_go_back_and_never_repeat(tmp_path: Path) -> None:
    folder = str(tmp_path / "authority")
    processes = [await run(HEADS, folder, place * 16) for place in "abc"]
    async with asyncio.timeout(90):
        printed = [(await one.communicate())[0] for one in processes]
    answers = [json.loads(one) for one in printed]
    assert len({one["root"] for one in answers}) == 1, "one authority was made"
    for one in answers:
        assert one["versions"] == sorted(set(one["versions"]))
    every = [version for one in answers for version in one["versions"]]
    assert len(every) == len(set(every)) == 120
    authority = Authority.load(tmp_path / "authority", mesh="st-elsewhere", clock=SystemClock())
    last = open_head(authority.head(), authority.root)
    assert last.version >= max(every)
    assert len(last.live) == 3


async def test_instances_have_their_own_names_and_one_service_key(tmp_path: Path) -> None:
    folder = str(tmp_path / "trust")
    processes = [await run(CLIENT, folder) for _ in range(3)]
    async with asyncio.timeout(60):
        answers = [json.loads(await _line(one)) for one in processes]
        assert len({one["instance"] for one in answers}) == 3
        assert len({one["site_key"] for one in answers}) == 1
        assert len({tuple(one["keys"]) for one in answers}) == 1
        await asyncio.gather(*(one.communicate(b"\n") for one in processes))


async def test_a_killed_process_gives_its_place_back(tmp_path: Path) -> None:
    folder = tmp_path / "trust"
    process = await run(CLIENT, str(folder))
    async with asyncio.timeout(60):
        first = json.loads(await _line(process))
        process.send_signal(signal.SIGKILL)
        await process.wait()
    trust = await Trust.open(
        folder, mesh="st-elsewhere", site="north", buckets=None, clock=SystemClock()
    )
    identity = await trust.identity("his-out", subscribe=["evt.>"])
    assert identity.instance == first["instance"]
    assert sorted(key.hex() for key in identity.kem_keys) == first["keys"]
    await trust.stop()


async def _line(process: asyncio.subprocess.Process) -> bytes:
    if process.stdout is None:
        pytest.fail("the process has no output")
    return await process.stdout.readline()
