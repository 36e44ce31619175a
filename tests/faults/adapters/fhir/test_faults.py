"""Servers that die, connections that break anywhere: nothing is lost, nothing is doubled, every byte is as it was."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import random
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from bus.clock import SystemClock
from bus.transport.memory import MemoryBroker
from tests.integration.adapters.fhir.kit import (
    event,
    fhir_client,
    fhir_receiver,
    patient,
)
from tests.peers.fhir_server import Fault, fhir_server
from tests.ports import free_port
from tests.unit.adapters.memory_events import MemoryEvents
from tests.unit.adapters.parts import DEADLINE_S, eventually
from tests.unit.bus.events.kit import Bench


class ServerProcess:
    """The FHIR server as a process that is killed and started again; its journal stays."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.journal = folder / "journal"
        self._process: asyncio.subprocess.Process | None = None

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}/fhir"

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "tests.peers.fhir_server", str(self.port), str(self.journal)),
            stdout=asyncio.subprocess.PIPE,
        )
        assert self._process.stdout is not None
        async with asyncio.timeout(DEADLINE_S):
            assert await self._process.stdout.readline() == b"ready\n"

    async def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        await self._process.communicate()

    def versions(self) -> dict[str, list[bytes]]:
        """What the server keeps: by id, bodies in order."""
        found: dict[str, list[bytes]] = {}
        lines = self.journal.read_bytes().splitlines() if self.journal.exists() else []
        for line in lines:
            with contextlib.suppress(ValueError):
                _, id_, text = json.loads(line)
                found.setdefault(id_, []).append(base64.b64decode(text))
        return found

    def written(self) -> int:
        return sum(map(len, self.versions().values()))

    def has_written(self, wanted: int) -> bool:
        return self.written() >= wanted


@pytest.mark.parametrize("identified", ["id", "identifier"])
async def test_server_that_is_killed_again_and_again_gets_everything_once_and_in_order(
    tmp_path: Path, identified: str
) -> None:
    bench = Bench(MemoryBroker(clock=SystemClock()), tmp_path / "mesh")
    source, outward = [await bench.service(name) for name in ("emr-in", "repository")]
    by_identifier = identified == "identifier"
    rounds, patients, kills = 12, 8, 3
    expected: dict[int, list[bytes]] = {n: [] for n in range(patients)}
    server = ServerProcess(tmp_path)
    await server.start()
    try:
        async with fhir_client(outward.events, tmp_path, server.base, lanes=4) as (_, own):
            number = before = 0
            for round_ in range(rounds):
                for n in range(patients):
                    number += 1
                    key = {"id": "", "identifier": f"P{n}"} if by_identifier else {"id": f"p{n}"}
                    body = patient(**key, family=f"R{round_}")
                    expected[n].append(body)
                    await source.events.publish(event(body, number, partition=n))
                if round_ % (rounds // kills) == 1:
                    await eventually(partial(server.has_written, before + 5), what="it writes")
                    await server.kill()
                    before = server.written()
                    await server.start()
            await eventually(
                lambda: own.counters.get("resource_delivered") == rounds * patients,
                what="everything is delivered",
            )
    finally:
        await server.kill()
        for service in (source, outward):
            await service.events.stop()
    kept = server.versions()
    assert len(kept) == patients
    # a write whose answer the kill cut off comes again: the same version once more, never another order
    told = sorted([list(dict.fromkeys(versions)) for versions in kept.values()])
    assert told == sorted(expected.values())
    assert server.written() <= rounds * patients + kills * 4
    hashes = {hashlib.sha256(body).digest() for bodies in expected.values() for body in bodies}
    assert {hashlib.sha256(b).digest() for bodies in kept.values() for b in bodies} == hashes


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_random_faults_neither_lose_nor_double_a_conditional_create(
    tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    events = MemoryEvents()
    settings = {
        "interactions": {"Patient": "conditional-create"},
        "request_timeout_s": 0.2,
        "lanes": 4,
    }
    kinds = [
        Fault(drop=True),
        Fault(drop=True, work=True),
        Fault(hang=True, work=True),
        Fault(status=503, headers=(("retry-after", "0"),)),
        Fault(status=502, work=True),
        Fault(status=429),
    ]
    bodies = [patient("", identifier=f"I{n}") for n in range(60)]
    async with fhir_server() as server, fhir_client(events, tmp_path, server.base, **settings):
        server.faults.extend(chance.choice(kinds) for _ in range(40))
        for number, body in enumerate(bodies, 1):
            await events.publish(event(body, number, partition=number % 64))
        async with asyncio.timeout(60):
            await events.until(lambda: len(events.receipts) == len(bodies))
        kept = [body for _, body in server.store.current("Patient")]
        assert Counter(kept) == Counter(bodies)
        assert not events.dead_letters


async def persistent_sender(port: int, bodies: list[bytes], chance: random.Random) -> None:
    """Send each body until it is answered 2xx, over connections that are cut at random moments."""
    for body in bodies:
        head = (
            f"POST /fhir HTTP/1.1\r\nhost: x\r\ncontent-type: application/fhir+json\r\n"
            f"connection: close\r\ncontent-length: {len(body)}\r\n\r\n"
        ).encode()
        wire = head + body
        while True:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            cut = chance.random() < 0.4
            writer.write(wire[: chance.randrange(len(wire) + 1)] if cut else wire)
            await writer.drain()
            answer = b"" if cut and chance.random() < 0.7 else await _answer(reader, cut=cut)
            writer.transport.abort()
            if answer.startswith(b"HTTP/1.1 200"):
                break


async def _answer(reader: asyncio.StreamReader, *, cut: bool) -> bytes:
    with contextlib.suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(0.05 if cut else DEADLINE_S):
            return await reader.read()
    return b""


@pytest.mark.parametrize("seed", [1, 2])
async def test_senders_that_are_cut_anywhere_lose_and_double_nothing(
    tmp_path: Path, seed: int
) -> None:
    events = MemoryEvents()
    chance = random.Random(seed)
    batches = [[patient(f"p{s}", family=f"V{n}") for n in range(20)] for s in range(4)]
    async with (
        fhir_receiver(events, tmp_path) as (receiver, _),
        asyncio.timeout(60),
        asyncio.TaskGroup() as group,
    ):
        for batch in batches:
            group.create_task(persistent_sender(receiver.bound_port, batch, chance))
    stored = events.bodies()
    for number, batch in enumerate(batches):
        mine = [body for body in stored if f'"id": "p{number}"'.encode() in body]
        assert mine == batch


async def test_server_that_is_away_at_the_start_is_no_fault(tmp_path: Path) -> None:
    events = MemoryEvents()
    server = ServerProcess(tmp_path)
    async with fhir_client(events, tmp_path, server.base) as (sender, own):
        await events.publish(event(patient()))
        await eventually(lambda: "no connection" in sender.health().detail, what="health tells")
        assert "1 events wait" in sender.health().detail or own.counters.get("server_away") > 0
        await server.start()
        try:
            await events.until(lambda: len(events.receipts) == 1)
        finally:
            await server.kill()
    assert server.versions() == {"p1": [patient()]}
