from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from bus.services.discovery.leases import LeaseReader
from bus.services.discovery.records import record_of
from bus.services.discovery.settings import DiscoverySettings
from bus.services.discovery.table import Changes, Table
from bus.telemetry.counters import Counters
from bus.transport.protocol import Entry
from schemas.clock import FakeClock
from tests.unit.bus.services.discovery.kit import NORTH, Identity, World, offer

ID = "a" * 16
KEY = f"lab.{ID}"


class Bench:
    """A reader whose bucket is the test."""

    def __init__(self, settings: DiscoverySettings | None = None) -> None:
        self.settings = settings or DiscoverySettings()
        self.world = World()
        self.identity = self.world.identity()
        self.clock = FakeClock()
        self.counters = Counters()
        self.table = Table(self.settings)
        self.changes: list[tuple[str, str]] = []
        self.reader = LeaseReader(
            self.table,
            self.world.seals(clock=self.clock),
            site="north",
            clock=self.clock,
            settings=self.settings,
            counters=self.counters,
            report=self._report,
        )

    def _report(self, changes: Changes) -> None:
        self.changes += [(seen.health.value, seen.reason) for seen in changes]

    def raw(self, *, started_ms: int = 5, by: Identity | None = None) -> bytes:
        made = record_of(
            offer(), site=NORTH, instance=ID, connection="lab/1", started_ms=started_ms
        )
        return self.world.seals(by or self.identity).seal(made)

    async def put(self, raw: bytes | None, key: str = KEY) -> None:
        self.reader.changed(Entry(key=key, value=raw, revision=1))
        await self.reader.seen([key] if raw is not None else [])

    def refusals(self, reason: str) -> int:
        return self.counters.get("record_refused", reason=reason)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    work = asyncio.create_task(made.reader.work())
    yield made
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


async def test_record_that_is_renewed_is_verified_once(bench: Bench) -> None:
    raw = bench.raw()
    for _ in range(20):
        await bench.put(raw)
        bench.clock.advance(1.7)
    assert bench.world.asked == 1
    assert bench.changes == [("healthy", "")]


async def test_revoked_instance_goes_when_its_record_is_verified_again(bench: Bench) -> None:
    raw = bench.raw()
    await bench.put(raw)
    bench.world.revoked.add(bench.identity.certificate.id)
    await bench.put(raw)
    assert ("lab", ID) in bench.table
    bench.clock.advance(bench.settings.verify_again_s)
    await bench.put(raw)
    assert bench.changes[-1] == ("gone", "record_refused")
    assert bench.refusals("signer_revoked") == 1


async def test_refused_bytes_are_not_verified_at_each_renewal(bench: Bench) -> None:
    raw = bench.raw(by=bench.world.identity("his"))
    for _ in range(10):
        await bench.put(raw)
    assert bench.refusals("wrong_signer") == 1
    assert len(bench.table) == 0


async def test_certificate_that_has_not_arrived_is_fetched(bench: Bench) -> None:
    held = bench.world.certificates.pop(bench.identity.certificate.id)
    bench.world.hidden[held.id] = held
    await bench.put(bench.raw())
    assert ("lab", ID) in bench.table


async def test_unknown_signer_is_looked_at_again_with_the_next_renewal(bench: Bench) -> None:
    held = bench.world.certificates.pop(bench.identity.certificate.id)
    await bench.put(bench.raw())
    assert bench.refusals("unknown_signer") == 1
    bench.world.certificates[held.id] = held
    await bench.put(bench.raw())
    assert ("lab", ID) in bench.table


async def test_older_record_of_a_restarted_instance_does_not_replace_the_new_one(
    bench: Bench,
) -> None:
    await bench.put(bench.raw(started_ms=9))
    await bench.put(bench.raw(started_ms=5))
    assert bench.table.started_ms(("lab", ID)) == 9
    assert bench.refusals("stale_record") == 1


async def test_paused_instance_comes_back_with_its_old_record_after_it_was_forgotten(
    bench: Bench,
) -> None:
    raw = bench.raw()
    await bench.put(raw)
    bench.clock.advance(10)
    await bench.put(None)
    bench.clock.advance(bench.settings.remember_s)
    bench.table.tick(bench.clock.monotonic_s())
    assert not bench.table.knows(("lab", ID))
    await bench.put(raw)
    assert bench.changes == [("healthy", ""), ("gone", "lease_expired"), ("healthy", "")]


@pytest.mark.parametrize("key", ["", "lab", ".", "lab.a.b"])
async def test_key_of_another_form_is_refused(bench: Bench, key: str) -> None:
    bench.reader.changed(Entry(key=key, value=bench.raw(), revision=1))
    await bench.reader.seen([])
    assert len(bench.table) == 0
    assert bench.counters.get("record_refused") == 1


async def test_full_table_is_counted_and_takes_the_next_renewal_when_there_is_room() -> None:
    bench = Bench(DiscoverySettings(max_instances=1))
    work = asyncio.create_task(bench.reader.work())
    await bench.put(bench.raw())
    other = "b" * 16
    made = record_of(offer(), site=NORTH, instance=other, connection="", started_ms=1)
    raw = bench.world.seals(bench.world.identity(instance=other)).seal(made)
    await bench.put(raw, f"lab.{other}")
    assert bench.refusals("table_full") == 1
    bench.clock.advance(10)
    await bench.put(None)
    await bench.put(raw, f"lab.{other}")
    assert ("lab", other) in bench.table
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


async def test_flood_of_unverified_records_is_bounded() -> None:
    bench = Bench(DiscoverySettings(max_instances=10))
    for number in range(50):  # nobody verifies
        bench.reader.changed(Entry(key=f"lab.{number}", value=b"x", revision=1))
    assert bench.refusals("too_many_waiting") == 40
