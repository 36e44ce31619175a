"""FHIR over HTTP, the whole way: creates, reads and searches a second at the gateway of a running site.

    python -m benchmarks.fhir_gateway [--json] [--rounds 3] [--requests 2000]

h2load asks `medmesh up`, whose gateway calls the store through a real carrier: each interaction is identified, allowed,
sealed, signed and verified both ways, and its access record stored before the answer leaves; a create is on the disk,
with its event. Rounds are interleaved, at 1 and 32 connections. CPU is that of medmesh (gateway and store in one
process) and of the carrier, in microseconds a request. Median round counts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from benchmarks.fhir_store import patient
from benchmarks.mllp import cpu_seconds
from tests.hospital import Site, archive, running
from tests.ports import free_port

LEVELS = (1, 32)
SEEDED = 300
_SITE = """
[[adapter]]
name = "fhir-store"
kind = "fhir.store"

[gateway]
listen = "127.0.0.1:{port}"

[gateway.fhir]
"""
_FHIR = "content-type: application/fhir+json"


async def load(urls: Path, count: int, connections: int, body: Path | None) -> tuple[float, float]:
    """Requests a second, and the mean answer in milliseconds. Raises where one of them fails."""
    more = ["-d", str(body), "-H", _FHIR] if body is not None else []
    process = await asyncio.create_subprocess_exec(
        "h2load", "--h1", "-c", str(connections), "-n", str(count), "-i", str(urls), *more,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out = (await process.communicate())[0].decode()
    if f"status codes: {count} 2xx" not in out:
        raise RuntimeError(out[-800:])
    finished = next(line for line in out.splitlines() if line.startswith("finished in"))
    per_s = float(finished.split(",")[1].split()[0])
    return per_s, connections / per_s * 1000


async def seed(base: str) -> Sequence[str]:
    """Ids of patients to read. The site is waited for."""
    async with httpx.AsyncClient(base_url=base, timeout=30) as client:
        async with asyncio.timeout(60):
            while (await client.get("/Patient?_count=1")).status_code != 200:  # noqa: ASYNC110 - a process tells nobody
                await asyncio.sleep(0.1)
        ids: list[str] = []
        for start in range(0, SEEDED, 25):
            made = await asyncio.gather(
                *(
                    client.post(
                        "/Patient",
                        content=patient(number),
                        headers={"content-type": "application/fhir+json"},
                    )
                    for number in range(start, start + 25)
                )
            )
            ids += [one.raise_for_status().json()["id"] for one in made]
        return ids


def asked(folder: Path, base: str, ids: Sequence[str]) -> Mapping[str, tuple[Path, Path | None]]:
    """Files of what is asked, by name: addresses, and a body where one is sent."""
    body = folder / "patient.json"
    body.write_bytes(patient(SEEDED + 1))
    paths = {
        "create": ["/Patient"],
        "read": [f"/Patient/{one}" for one in ids],
        "search by identifier": [
            f"/Patient?identifier=urn:oid:1.2.3.4%7CP{number:08d}" for number in range(SEEDED)
        ],
        "search by family": [f"/Patient?family={one}&_count=10" for one in ("ber1", "har2")],
    }
    found: dict[str, tuple[Path, Path | None]] = {}
    for name, those in paths.items():
        file = folder / f"{name.replace(' ', '-')}.txt"
        file.write_text("".join(f"{base}{one}\n" for one in those))
        found[name] = file, body if name == "create" else None
    return found


async def measure(rounds: int, count: int) -> Mapping[str, Mapping[str, float]]:
    """Medians, by row and figure."""
    cells: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        site = Site(folder, archive(folder / "archive") + _SITE.format(port=port))
        async with running(site):
            base = f"http://127.0.0.1:{port}/fhir/R4"
            rows = asked(folder, base, await seed(base))
            carrier = site.server_pid()
            assert site.child is not None
            assert carrier is not None
            processes = {"medmesh": site.child.pid, "carrier": carrier}
            for _ in range(rounds):
                for level in LEVELS:
                    for row, (urls, body) in rows.items():
                        made = count if level > 1 else count // 4
                        before = {key: cpu_seconds(pid) for key, pid in processes.items()}
                        per_s, mean_ms = await load(urls, made, level, body)
                        cell = cells.setdefault(f"{row}, {level} at a time", {})
                        cell.setdefault("per_s", []).append(per_s)
                        cell.setdefault("mean_ms", []).append(mean_ms)
                        for key, pid in processes.items():
                            used = (cpu_seconds(pid) - before[key]) / made * 1e6
                            cell.setdefault(f"cpu_us_{key}", []).append(used)
    return {
        row: {key: round(statistics.median(found), 1) for key, found in cell.items()}
        for row, cell in cells.items()
    }


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=2000)
    given = parser.parse_args()
    if shutil.which("h2load") is None:
        raise SystemExit("h2load is not installed (Debian: nghttp2-client)")
    found: Mapping[str, Mapping[str, Any]] = asyncio.run(measure(given.rounds, given.requests))
    if given.json:
        print(json.dumps(found))
        return
    for row, cell in found.items():
        print(
            f"{row:36} {cell['per_s']:8.0f}/s {cell['mean_ms']:8.1f} ms  CPU us: medmesh "
            f"{cell['cpu_us_medmesh']:.0f}, carrier {cell['cpu_us_carrier']:.0f}"
        )


if __name__ == "__main__":
    main()
