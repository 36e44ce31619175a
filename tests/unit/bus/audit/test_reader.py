"""Only an auditor reads access records, and believes them only from the subject where they belong."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from adapters.contract import Rights
from bus.audit import AccessEntry, AccessLog, AccessReader, StoredEntry, UnreadableEntries
from bus.clock import SystemClock
from bus.events.protocol import NewEvent
from bus.events.streams import audit_stream
from bus.telemetry.counters import Counters
from gateway.access.rights import GATEWAY, mesh_rights
from medmesh.runtime.memory import MemoryConnection
from medmesh.runtime.services import Service, Services
from schemas.errors import MeshError
from schemas.gateway import GatewaySection
from schemas.subjects import SiteId
from tests.unit.bus.audit.test_log import entry

SITE = SiteId("north")


@asynccontextmanager
async def site() -> AsyncIterator[tuple[MemoryConnection, Services]]:
    clock, counters = SystemClock(), Counters()
    connection = MemoryConnection("north", clock, counters, name="test")
    await connection.start()
    services = Services(connection, clock=clock, counters=counters, chance=random.Random(7))
    await services.start()
    try:
        yield connection, services
    finally:
        await services.stop()
        await connection.stop()


def reader(connection: MemoryConnection, service: Service) -> AccessReader:
    return AccessReader(
        site=SITE, store=connection.transport.store, inspector=service.events.inspector()
    )


async def all_of(
    access_reader: AccessReader, since_ms: int = 0
) -> list[StoredEntry | UnreadableEntries]:
    return [one async for one in access_reader.entries(since_ms=since_ms)]


async def test_an_auditor_reads_what_a_gateway_recorded() -> None:
    async with site() as (connection, services):
        auditor = await services.open_auditor()
        gateway = await services.open(GATEWAY, mesh_rights(GatewaySection(), SITE))
        log = AccessLog(site=SITE, events=gateway.events, counters=Counters())
        long = entry(2, what="Patient/" + "é" * 900)  # long enough to be compressed
        await log.record(entry(1))
        await log.record(long)

        found = await all_of(reader(connection, auditor))

        assert [one.entry for one in found if isinstance(one, StoredEntry)] == [entry(1), long]
        assert {one.recorded_by for one in found if isinstance(one, StoredEntry)} == {GATEWAY}


async def test_nobody_else_can_read_them_and_the_carrier_sees_nothing() -> None:
    async with site() as (connection, services):
        await services.open_auditor()
        operator = await services.open_operator()
        gateway = await services.open(GATEWAY, mesh_rights(GatewaySection(), SITE))
        await AccessLog(site=SITE, events=gateway.events, counters=Counters()).record(entry())

        for service in (operator, gateway):
            found = await all_of(reader(connection, service))
            assert [type(one) for one in found] == [UnreadableEntries]
        stored = await connection.transport.store.read(audit_stream(SITE), 1)
        for shown in (b"Patient", b"lab", b"f3a1"):
            assert shown not in stored.payload


async def test_who_may_not_record_cannot() -> None:
    async with site() as (_, services):
        await services.open_auditor()
        stranger = await services.open("stranger", Rights(publish=("evt.north.>",)))

        with pytest.raises(MeshError):
            await AccessLog(site=SITE, events=stranger.events, counters=Counters()).record(entry())


async def test_records_can_be_read_from_a_moment_on() -> None:
    async with site() as (connection, services):
        auditor = await services.open_auditor()
        gateway = await services.open(GATEWAY, mesh_rights(GatewaySection(), SITE))
        log = AccessLog(site=SITE, events=gateway.events, counters=Counters())
        for number in range(1, 40):
            await log.record(entry(number))
        access_reader = reader(connection, auditor)
        every = await all_of(access_reader)

        for moment in sorted({one.stored_ms for one in every}):
            found = await all_of(access_reader, since_ms=moment)
            assert found == [one for one in every if one.stored_ms >= moment]
        assert await all_of(access_reader, since_ms=every[-1].stored_ms + 1) == []


async def test_what_is_no_record_is_shown_as_such() -> None:
    async with site() as (connection, services):
        auditor = await services.open_auditor()
        wide = Rights(publish=("audit.north.>",))
        gateway = await services.open(GATEWAY, wide)
        for subject, type in (
            ("audit.north.access", "other"),
            ("audit.north.access", "medmesh/access-records"),
            ("audit.north.elsewhere", "medmesh/access-records"),
        ):
            await gateway.events.publish(NewEvent(subject=subject, type=type, body=b"{}"))

        found = await all_of(reader(connection, auditor))

        assert [one.reason for one in found if isinstance(one, UnreadableEntries)] == [
            "unreadable_content"
        ] * 3


def test_an_entry_is_a_value() -> None:
    assert isinstance(entry(), AccessEntry)
    assert entry() == entry()
