"""A FHIR server's notification to another FHIR server through sealed events: byte for byte, once, in order."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import httpx
import pytest

from adapters.fhir.codec.partial import read_head
from bus.clock import SystemClock
from bus.transport.memory import MemoryBroker
from tests.integration.adapters.fhir.kit import (
    FHIR_JSON,
    endpoint,
    fhir_client,
    fhir_receiver,
    notification,
    patient,
)
from tests.integration.adapters.hl7v2.certificates import TestAuthority
from tests.peers.fhir_server import fhir_server
from tests.shared_data import shared_path
from tests.unit.adapters.memory_events import MemoryEvents
from tests.unit.adapters.parts import eventually
from tests.unit.bus.events.kit import Bench

SUBSCRIBE = {"subscribe": "evt.north.raw.fhir.*"}


def examples() -> dict[tuple[str, str], bytes]:
    """Official R4 examples that a server keeps, by type and id."""
    found = {}
    for path in sorted(shared_path("data/fhir/r4-examples").glob("*.json")):
        body = path.read_bytes()
        head = read_head(body)
        if head.id and head.resource_type != "Bundle":
            found[head.resource_type, head.id] = body
    return found


async def test_every_example_arrives_at_the_other_server_as_it_was_sent(tmp_path: Path) -> None:
    wanted = examples()
    assert len(wanted) > 50
    bench = Bench(MemoryBroker(clock=SystemClock()), tmp_path / "mesh")
    inward, outward = [await bench.service(name) for name in ("fhir-in", "repository")]
    async with (
        fhir_server() as server,
        fhir_receiver(inward.events, tmp_path) as (receiver, _),
        fhir_client(outward.events, tmp_path, server.base, **SUBSCRIBE) as (_, own),
        httpx.AsyncClient(trust_env=False, timeout=60) as http,
    ):
        bodies = list(wanted.values())
        half = len(bodies) // 2
        for body in bodies[:half]:
            answer = await http.post(
                endpoint(receiver), content=body, headers={"content-type": FHIR_JSON}
            )
            assert answer.status_code == 200
        for _ in range(2):  # its server hears no answer and sends it again
            answer = await http.post(
                endpoint(receiver),
                content=notification("event-notification", *bodies[half:], release="R4"),
                headers={"content-type": FHIR_JSON},
            )
            assert answer.status_code == 200
        await eventually(
            lambda: own.counters.get("resource_delivered") >= len(bodies), what="all arrive"
        )
        kept = server.store.versions
        for key, body in wanted.items():
            expected = body if body in bodies[:half] else body.strip().removeprefix(b"\xef\xbb\xbf")
            assert [hashlib.sha256(one or b"").digest() for one in kept[key]] == [
                hashlib.sha256(expected).digest()
            ]
        assert own.counters.get("resource_delivered") == len(bodies)
    for service in (inward, outward):
        await service.events.stop()


async def test_mutual_tls_lets_in_whom_the_authority_knows(tmp_path: Path) -> None:
    authority, stranger = TestAuthority(tmp_path), TestAuthority(tmp_path, "stranger")
    own, known, unknown = authority.sign("own"), authority.sign("ehr"), stranger.sign("nobody")
    tls = {"cert": own.cert, "key": own.key, "client_ca": authority.ca}
    events = MemoryEvents()
    async with fhir_receiver(events, tmp_path, tls=tls) as (receiver, _):
        address = endpoint(receiver).replace("http:", "https:")
        for shown in (known, unknown, None):
            async with httpx.AsyncClient(verify=authority.client(shown), trust_env=False) as http:
                request = http.post(address, content=patient(), headers={"content-type": FHIR_JSON})
                if shown is known:
                    assert (await request).status_code == 200
                else:
                    with pytest.raises(httpx.TransportError):
                        await request
        _, silent = await asyncio.open_connection("127.0.0.1", receiver.bound_port)
        silent.transport.abort()
    assert events.bodies() == [patient()]
