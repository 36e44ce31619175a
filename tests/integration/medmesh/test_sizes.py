"""Sizes at their borders, with real keys: what is accepted can become a dead letter and be replayed."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from adapters.contract import Rights
from bus.clock import SystemClock
from bus.envelope.types import ContentTooLarge
from bus.events.content import to_content
from bus.events.protocol import ConsumeSpec, NewEvent, ReceivedEvent, Rejected
from bus.events.replays import DeadLetterSummary
from bus.events.rights import consumer_rights
from bus.events.sizes import max_content_bytes
from bus.telemetry.counters import Counters
from bus.transport import nats
from bus.transport.memory import MemoryBroker
from bus.transport.protocol import Transport
from bus.trust import Trust
from medmesh.config import Configuration
from medmesh.runtime.services import Services
from schemas.config import MeshSection, SiteConfig
from schemas.subjects import SiteId
from tests.conftest import StartNatsServer
from tests.contract.carriers import eventually
from tests.hospital import Site, archive, mllp_in, running
from tests.integration.medmesh.test_tools import tool
from tests.peers.sender import ask, read_answer
from tests.ports import free_port

KIB, MIB = 1 << 10, 1 << 20
SUBJECT = "evt.north.raw.hl7v2.7"
pytestmark = pytest.mark.timeout(60)


@dataclass
class Mesh:
    """What `Services` stands on."""

    configuration: Configuration
    transport: Transport
    trust: Trust


@asynccontextmanager
async def services(
    folder: Path, transport: Transport, settings: SiteConfig | None = None
) -> AsyncIterator[Services]:
    settings = settings or SiteConfig(mesh=MeshSection(site="north", data=folder))
    configuration = Configuration(settings=settings, adapters=(), file=None, origins={})
    trust = await Trust.open(
        folder / "trust", mesh="m", site="north", buckets=transport, clock=SystemClock(),
        counters=Counters(), passphrase=lambda: "",
    )  # fmt: skip
    running = Services(
        Mesh(configuration, transport, trust),
        clock=SystemClock(),
        counters=Counters(),
        chance=random.Random(1),
    )
    try:
        await running.start()
        yield running
    finally:
        await running.stop()
        await trust.stop()
        await transport.close()


def largest(max_payload: int) -> NewEvent:
    """An event whose content is exactly the largest."""
    event = NewEvent(subject=SUBJECT, type="hl7v2/MDM^T02", body=b"", received_ms=1)
    most = max_content_bytes(max_payload)
    for size in range(most - 100, most):
        event = replace(event, body=random.Random(size).randbytes(size))
        content = to_content(event, message_id=bytes(16), source="emr", now_ms=1)
        if content.ByteSize() == most:
            return event
    raise AssertionError("no body gives a content of that size")


async def goes_round(mesh: Services, max_payload: int) -> None:
    """Published, given up on, replayed, worked: with the largest event, and one byte more is refused."""
    rights = consumer_rights(SiteId("north"), "his")
    emr = await mesh.open("emr", Rights(publish=("evt.north.>",)))
    his = await mesh.open(
        "his", Rights(publish=rights.publish, subscribe=(*rights.subscribe, "evt.north.>"))
    )
    operator = (await mesh.open_operator()).events.dead_letters()
    seen: asyncio.Queue[bytes] = asyncio.Queue()
    rejecting = True

    async def handle(received: ReceivedEvent) -> None:
        await seen.put(received.body)
        if rejecting:
            raise Rejected("no room for it")

    consumption = await his.events.consume(
        ConsumeSpec(name="his", patterns=("evt.north.raw.>",)), handle
    )
    event = largest(max_payload)
    with pytest.raises(ContentTooLarge, match=r"max_payload|max_envelope_bytes"):
        await emr.events.publish(replace(event, body=event.body + b"x"))
    await emr.events.publish(event)
    async with asyncio.timeout(60):
        assert await seen.get() == event.body
        await eventually(lambda: consumption.stats().dead_lettered == 1, "the dead letter")
        letters = [one async for one in operator.list() if isinstance(one, DeadLetterSummary)]
        assert letters[0].envelope_bytes > len(event.body), "the original went along"
        rejecting = False
        done = await operator.replay([letters[0].seq], reason="r" * 5000)
        assert done.failed == {}
        assert await seen.get() == event.body
    assert await consumption.drain(timeout_s=30)


@pytest.mark.parametrize(
    "payload", [256 * KIB, 300 * KIB + 1, MIB, 5 * MIB + 4321, 8 * MIB, 16 * MIB]
)
async def test_the_largest_event_is_dead_lettered_and_replayed(
    tmp_path: Path, payload: int
) -> None:
    transport = await MemoryBroker(max_payload=payload).connect()
    async with services(tmp_path, transport) as mesh:
        await goes_round(mesh, payload)


@pytest.mark.server
@pytest.mark.parametrize("payload", [MIB, 8 * MIB])
async def test_the_largest_event_is_dead_lettered_and_replayed_on_a_real_server(
    tmp_path: Path, start_nats_server: StartNatsServer, payload: int
) -> None:
    server = start_nats_server(extra=f"max_payload: {payload}")
    transport = await nats.connect([server.url], name="sizes")
    assert transport.max_payload == payload
    async with services(tmp_path, transport) as mesh:
        await goes_round(mesh, payload)


@pytest.mark.server
async def test_a_smaller_server_is_seen_at_the_start_and_by_the_doctor_and_told_to_senders(
    tmp_path: Path, start_nats_server: StartNatsServer
) -> None:
    server = start_nats_server(extra="max_payload: 1MB")
    site = Site(
        tmp_path,
        mllp_in(port := free_port()) + archive(tmp_path / "archive"),
        extra=f'[nats]\nservers = ["{server.url}"]\n',
    )
    head = b"MSH|^~\\&|EMR|NORTH|HIS|NORTH|20260101||MDM^T02|%s|P|2.5\rPID|1||4711\rOBX|1|TX|1||"
    async with running(site):
        (ready,) = site.events("ready")
        assert ready["max_event_bytes"] == max_content_bytes(MIB)
        (limit,) = site.events("limit")
        assert "emr-in" in limit["text"]
        assert "max_payload" in limit["text"]
        _, findings, _ = await tool(site, "doctor")
        assert "max_payload" in json.dumps(findings)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        answer = await ask(reader, writer, head % b"C1" + b"x" * MIB + b"\r")
        assert read_answer(answer) == ("AR", b"C1")
        assert b"max_payload" in answer
        assert b"1048576" in answer
        answer = await ask(reader, writer, head % b"C2" + b"x" * (900 * KIB) + b"\r")
        assert read_answer(answer) == ("AA", b"C2")
        answer = await ask(reader, writer, head % b"C3" + b"x" * (7 * MIB) + b"\r")
        assert read_answer(answer) == ("AR", b"C3")
        assert b"max_message_bytes" in answer
        writer.close()
