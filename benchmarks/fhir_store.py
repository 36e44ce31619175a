"""The FHIR store alone: creates and reads a second, and searches over many patients, without mesh and gateway.

    python -m benchmarks.fhir_store [--json] [--patients 100000] [--seconds 3] [--folder DIR]

Beside it, on the same disk, in interleaved rounds: the naive store (one SQLite table of JSON; each create a commit of
its own, each read a statement on a thread). It has no versions, index, events or judgement. Best round counts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sqlite3
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from adapters.fhir.store.capabilities import capability_statement
from adapters.fhir.store.config import StoreConfig
from adapters.fhir.store.cursors import Cursors
from adapters.fhir.store.holdings import Store
from adapters.fhir.store.interactions import Interactions
from adapters.fhir.store.repository import Repository
from adapters.fhir.store.sqlite import SqliteEngine
from adapters.fhir.validation import Validator
from bus.clock import SystemClock
from schemas.fhir.release import Release
from schemas.fhir.searching import parameters_of
from schemas.generated.medmesh.fhir.v1 import interaction_pb2 as pb
from schemas.subjects import site_id

FAMILIES = [
    f"{start}{end}" for start in ("Ber", "Mül", "Har", "Ost", "Wag") for end in map(str, range(400))
]
ROUNDS = 3


def patient(number: int) -> bytes:
    """A synthetic patient of 700 bytes."""
    family = FAMILIES[number * 7919 % len(FAMILIES)]
    born = f"{1930 + number % 90}-{1 + number % 12:02d}-{1 + number % 28:02d}"
    return json.dumps(
        {
            "resourceType": "Patient",
            "identifier": [{"system": "urn:oid:1.2.3.4", "value": f"P{number:08d}"}],
            "active": True,
            "name": [{"use": "official", "family": family, "given": ["Synthetic", f"N{number}"]}],
            "telecom": [{"system": "phone", "value": f"+49 000 {number:07d}"}],
            "gender": ("male", "female")[number % 2],
            "birthDate": born,
            "address": [{"line": [f"Street {number % 500}"], "city": "Example", "postalCode": f"{number % 99999:05d}"}],
        },
        ensure_ascii=False,
    ).encode()  # fmt: skip


class Naive:
    """One table of JSON."""

    def __init__(self, path: Path) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.execute("pragma journal_mode = wal")
        self._connection.execute("pragma synchronous = full")
        self._connection.execute("create table resource (id text primary key, body text)")

    async def create(self, number: int, body: bytes) -> None:
        """One commit."""
        await self._run("insert into resource values (?, ?)", (str(number), body.decode()))

    async def read(self, number: int) -> None:
        """One row."""
        await self._run("select body from resource where id = ?", (str(number),))

    async def _run(self, sql: str, values: tuple[str, ...]) -> list[Any]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._thread, lambda: self._connection.execute(sql, values).fetchall()
        )


def made_store(folder: Path) -> tuple[SqliteEngine, Interactions]:
    """A store without adapter, service and relay."""
    clock, key = SystemClock(), b"k" * 32
    config = StoreConfig(name="store", kind="fhir.store")
    engine = SqliteEngine(folder / "store.db", release=Release.R4, clock=clock)
    store = Store(
        engine=engine,
        repository=Repository(site=site_id("north"), site_key=key, clock=clock),
        parameters=parameters_of(Release.R4),
        cursors=Cursors(key),
        clock=clock,
        limits=config.limits.bounds(),
        types=config.owned,
        count=lambda _name, _reason: None,
        validator=Validator(config.validation, name="store", count=lambda *_: None, chance=None),  # type: ignore[arg-type]
    )
    return engine, Interactions(store)


def interaction(
    kind: pb.Kind.ValueType,
    identity: str = "",
    body: bytes = b"",
    query: Mapping[str, str] | None = None,
) -> pb.Interaction:
    """One about patients."""
    asked = pb.Interaction(kind=kind, release="R4", resource_type="Patient", id=identity, body=body)
    asked.parameters.extend(
        pb.Parameter(name=name, value=value) for name, value in (query or {}).items()
    )
    return asked


async def rate(work: Callable[[int], Awaitable[object]], *, at_once: int, seconds: float) -> float:
    """How often a second `work(number)` is done by so many at a time."""
    numbers = iter(range(1 << 40))
    end = time.perf_counter() + seconds
    done = 0

    async def one() -> None:
        nonlocal done
        while time.perf_counter() < end:
            await work(next(numbers))
            done += 1

    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(at_once)))
    return done / (time.perf_counter() - began)


async def measure(folder: Path, patients: int, seconds: float) -> dict[str, float]:
    """Every number."""
    engine, interactions = made_store(folder)
    naive = Naive(folder / "naive.db")
    await engine.start()
    ids: list[str] = []
    offset = 0

    async def create(_: int) -> None:
        nonlocal offset
        offset += 1
        outcome = await interactions.answer(interaction(pb.KIND_CREATE, body=patient(offset)))
        ids.append(outcome.id)

    async def naive_create(_: int) -> None:
        nonlocal offset
        offset += 1
        await naive.create(offset, patient(offset))

    async def read(number: int) -> None:
        await interactions.answer(interaction(pb.KIND_READ, ids[number * 7919 % len(ids)]))

    found: dict[str, float] = {}
    each = seconds / ROUNDS
    for _ in range(ROUNDS):
        for name, work, at_once in (
            ("creates/s, 1 at a time", create, 1),
            ("creates/s, 64 at a time", create, 64),
            ("creates/s, naive, 64 at a time", naive_create, 64),
            ("reads/s, 1 at a time", read, 1),
            ("reads/s, 64 at a time", read, 64),
            ("reads/s, naive, 64 at a time", naive.read, 64),
        ):
            found[name] = max(found.get(name, 0.0), await rate(work, at_once=at_once, seconds=each))
    await fill(create, patients - len(ids))
    found["patients"] = len(ids)
    found["bytes on disk a patient"] = (folder / "store.db").stat().st_size / len(ids)
    found |= await searches(interactions, seconds)
    await engine.stop()
    return found


async def fill(create: Callable[[int], Awaitable[None]], missing: int) -> None:
    """Create so many more."""
    for start in range(0, max(missing, 0), 256):
        await asyncio.gather(*(create(0) for _ in range(min(256, missing - start))))


async def searches(interactions: Interactions, seconds: float) -> dict[str, float]:
    """Milliseconds of one search; the best of several."""
    queries: dict[str, dict[str, str]] = {
        "identifier": {"identifier": "urn:oid:1.2.3.4|P00000077"},
        "family, 10 of its matches": {"family": "mül1", "_count": "10"},
        "family and gender, without total": {"family": "mül1", "gender": "male", "_count": "10", "_total": "none"},
        "birth date, sorted by family": {"birthdate": "1970-05", "_sort": "family", "_count": "10"},
        "gender (half of all), 10, with total": {"gender": "male", "_count": "10"},
        "gender (half of all), 10, without total": {"gender": "male", "_count": "10", "_total": "none"},
        "family contains": {"family:contains": "l12", "_count": "10"},
        "count of all": {"_summary": "count"},
    }  # fmt: skip
    found: dict[str, float] = {}
    for name, query in queries.items():
        best, end = float("inf"), time.perf_counter() + seconds / len(queries)
        while time.perf_counter() < end or best == float("inf"):
            began = time.perf_counter()
            outcome = await interactions.answer(interaction(pb.KIND_SEARCH, query=query))
            best = min(best, time.perf_counter() - began)
            if outcome.status != 200:
                raise SystemExit(outcome.body.decode())
        found[f"ms, {name}"] = best * 1000
    return found


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--patients", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=3.0, help="a measured number")
    parser.add_argument("--folder", type=Path, help="on the disk to measure")
    given = parser.parse_args()
    capability_statement(parameters_of(Release.R4), {"Patient"}, base="", now_ms=0)
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        found = asyncio.run(measure(Path(folder), given.patients, given.seconds))
    if given.json:
        sys.stdout.write(json.dumps(found) + "\n")
        return
    for name, value in found.items():
        sys.stdout.write(f"{name:45} {value:12,.1f}\n")


if __name__ == "__main__":
    main()
