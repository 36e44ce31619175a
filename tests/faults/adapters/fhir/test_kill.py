"""`medmesh up` is killed with FHIR on both sides: what was answered 2xx reaches the other server, once and in order."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from tests.hospital import Site, eventually, running
from tests.integration.adapters.fhir.kit import FHIR_JSON, patient
from tests.peers.fhir_server import fhir_server
from tests.ports import free_port

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(300)]

PATIENTS, ROUNDS, KILLS = 4, 15, 2


def adapters(port: int, base: str) -> str:
    return f"""
[[adapter]]
name = "fhir-in"
kind = "fhir.receiver"
listen = "127.0.0.1:{port}"

[[adapter]]
name = "repository"
kind = "fhir.client"
base = "{base}"
subscribe = "evt.north.raw.fhir.*"
"""


async def send_all(port: int, bodies: list[bytes]) -> None:
    """Send each body until it is answered 2xx, however often the receiver dies meanwhile."""
    async with httpx.AsyncClient(trust_env=False, timeout=10) as http:
        for body in bodies:
            while True:
                try:
                    answer = await http.post(
                        f"http://127.0.0.1:{port}/fhir",
                        content=body,
                        headers={"content-type": FHIR_JSON},
                    )
                except httpx.TransportError:
                    await asyncio.sleep(0.05)  # a sender's own pause before it tries again
                    continue
                if answer.status_code == 200:
                    break


async def test_killed_mesh_loses_doubles_and_reorders_nothing(tmp_path: Path) -> None:
    port = free_port()
    sent = [[patient(f"p{n}", family=f"R{r}") for r in range(ROUNDS)] for n in range(PATIENTS)]
    async with fhir_server() as server:
        site = Site(tmp_path, adapters(port, server.base))
        async with running(site):
            senders = [asyncio.create_task(send_all(port, bodies)) for bodies in sent]
            try:
                for kill in range(KILLS):
                    wanted = (kill + 1) * 10
                    await server.until(lambda w=wanted: len(server.writes()) >= w, 60)
                    await site.kill()
                    await site.start()
                async with asyncio.timeout(120):
                    await asyncio.gather(*senders)
            finally:
                for task in senders:
                    task.cancel()
            last = [bodies[-1] for bodies in sent]
            await eventually(
                lambda: sorted(b for _, b in server.store.current("Patient")) == sorted(last),
                within_s=60,
                what="the last versions arrived",
            )
            told = "".join(site.child.errors if site.child else [])
        kept = server.store.versions
    for number, bodies in enumerate(sent):
        assert list(dict.fromkeys(kept["Patient", f"p{number}"])) == bodies
    assert len(server.writes()) <= PATIENTS * ROUNDS + KILLS * PATIENTS
    assert "EXAMPLE" not in told
    assert "Patient/p" not in told
