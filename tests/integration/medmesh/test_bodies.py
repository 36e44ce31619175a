"""Body encodings with real keys and a real server: versions with different dictionaries read each other's events."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Literal

import pytest

from adapters.contract import Rights
from bus.bodies import BodyCodec, Dictionaries
from bus.clock import SystemClock
from bus.events.bodies import DICTIONARY_BUCKET, Bodies
from bus.events.events import MeshEvents
from bus.events.protocol import ConsumeSpec, NewEvent, ReceivedEvent, Rejected
from bus.events.replays import DeadLetterSummary
from bus.events.rights import consumer_rights
from bus.telemetry.counters import Counters
from bus.transport import nats
from bus.transport.memory import MemoryBroker
from bus.transport.protocol import NotFound, Transport
from medmesh.runtime.services import Service
from schemas.config import EventsSection, MeshSection, SiteConfig
from schemas.subjects import SiteId
from tests.conftest import StartNatsServer
from tests.contract.carriers import eventually
from tests.integration.medmesh.test_sizes import SUBJECT, services
from tests.unit.bus.bodies.kit import MESSAGE, other_dictionary, shipped_for

pytestmark = pytest.mark.timeout(60)


async def of_another_version(
    service: Service, transport: Transport, codec: BodyCodec, folder: Path
) -> MeshEvents:
    """The events of a service as a program with other dictionaries has them."""
    counters = Counters()
    events = MeshEvents(
        site=SiteId("north"),
        transport=transport,
        seals=service.seals,
        clock=SystemClock(),
        chance=random.Random(1),
        counters=counters,
        folder=folder,
        bodies=Bodies(transport, counters, codec),
    )
    await events.start()
    return events


@pytest.mark.server
async def test_an_event_of_another_version_is_read_dead_lettered_and_replayed(
    tmp_path: Path, start_nats_server: StartNatsServer
) -> None:
    server = start_nats_server()
    other = other_dictionary()
    rights = consumer_rights(SiteId("north"), "his")
    own = await nats.connect([server.url], name="own")
    theirs = await nats.connect([server.url], name="theirs")
    async with services(tmp_path, own) as mesh:
        his = await mesh.open(
            "his", Rights(publish=rights.publish, subscribe=(*rights.subscribe, "evt.north.>"))
        )
        operator = (await mesh.open_operator()).events.dead_letters()
        emr = await mesh.open("emr", Rights(publish=("evt.north.>",)))
        codec = BodyCodec(Dictionaries((other,)))
        newer = await of_another_version(emr, theirs, codec, tmp_path)
        for number in range(20):
            body = MESSAGE + b"ZZZ|%d\r" % number
            await newer.publish(NewEvent(subject=SUBJECT, type="hl7v2/ADT^A01", body=body))
        await newer.stop()
        seen: asyncio.Queue[ReceivedEvent] = asyncio.Queue()

        async def handle(received: ReceivedEvent) -> None:
            await seen.put(received)
            if received.body.endswith(b"|7\r") and not received.replayed:
                raise Rejected("not this one")

        consumption = await his.events.consume(
            ConsumeSpec(name="his", patterns=("evt.north.raw.>",)), handle
        )
        async with asyncio.timeout(40):
            came = [(await seen.get()).body for _ in range(20)]
            assert came == [MESSAGE + b"ZZZ|%d\r" % number for number in range(20)]
            await eventually(lambda: consumption.stats().dead_lettered == 1, "the dead letter")
            letters = [one async for one in operator.list() if isinstance(one, DeadLetterSummary)]
            assert 0 < letters[0].envelope_bytes < len(MESSAGE) + 512
            await operator.replay([letters[0].seq], reason="again")
            again = await seen.get()
        assert (again.body, again.replayed) == (MESSAGE + b"ZZZ|7\r", True)
        bucket = await theirs.key_value(DICTIONARY_BUCKET)
        for one in (other, shipped_for("hl7v2"), shipped_for("fhir-json")):
            assert (await bucket.get(one.id.hex())).value == one.raw
        with pytest.raises(NotFound):
            await bucket.get(bytes(32).hex())
        assert await consumption.drain(timeout_s=10)
    await theirs.close()


@pytest.mark.parametrize(("compress", "is_smaller"), [("auto", True), ("off", False)])
async def test_the_configuration_decides_what_is_written(
    tmp_path: Path, compress: Literal["auto", "off"], is_smaller: bool
) -> None:
    transport = await MemoryBroker().connect()
    settings = SiteConfig(
        mesh=MeshSection(site="north", data=tmp_path), events=EventsSection(compress=compress)
    )
    async with services(tmp_path, transport, settings) as mesh:
        emr = await mesh.open("emr", Rights(publish=("evt.north.>",), subscribe=("evt.north.>",)))
        event = NewEvent(subject=SUBJECT, type="hl7v2/ADT^A01", body=MESSAGE * 4)
        await emr.events.publish(event)
        held = await transport.store.read("evt-north", 1)
        assert (len(held.payload) < len(event.body)) is is_smaller
        seen: asyncio.Queue[bytes] = asyncio.Queue()

        async def handle(received: ReceivedEvent) -> None:
            await seen.put(received.body)

        await emr.events.consume(ConsumeSpec(name="his", patterns=("evt.north.raw.>",)), handle)
        async with asyncio.timeout(20):
            assert await seen.get() == event.body
