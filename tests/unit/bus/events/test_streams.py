"""Streams of a site, the rights they need, and what retention may drop."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bus.events.events import EventsCondition, without_covered
from bus.events.protocol import ConsumeSpec, ReceivedEvent
from bus.events.retention import RetentionKeeper
from bus.events.rights import EventRights, consumer_rights, operator_rights, receipt_rights
from bus.events.streams import StreamLimits, derived_id, stream_for, stream_specs
from bus.telemetry.counters import Counters
from bus.transport.memory import MemoryBroker
from schemas import subjects
from schemas.errors import Closed, SubjectError, Unavailable
from schemas.subjects import SiteId, matches
from tests.unit.bus.events.kit import SITE, Bench, LoopClock, Service, event, run_jumping

DAY_S = 86_400.0


def test_each_subject_belongs_to_the_stream_that_takes_it() -> None:
    specs = {spec.name: spec for spec in stream_specs(SITE, StreamLimits())}
    for subject in (
        "evt.north.raw.hl7v2.3",
        str(subjects.replay(SITE, "his")),
        str(subjects.dead_letter("evt-north", "his")),
        str(subjects.receipt(SITE, b"x" * 16, "his")),
    ):
        spec = specs.pop(stream_for(subject, SITE)) if "replay" not in subject else None
        if spec is not None:
            assert any(matches(pattern, subject) for pattern in spec.subjects)
    with pytest.raises(SubjectError, match="no stream of site"):
        stream_for("evt.south.raw.hl7v2.3", SITE)


def test_only_receipts_are_lost_by_age() -> None:
    ages = {spec.name: spec.max_age_s for spec in stream_specs(SITE, StreamLimits())}
    kept = dict.fromkeys(("evt-north", "dlq-north", "sch-north", "aud-north"), 0.0)
    assert ages == kept | {"rcp-north": DAY_S}


def test_access_records_are_bounded_and_never_make_room() -> None:
    specs = {spec.name: spec for spec in stream_specs(SITE, StreamLimits(audit_bytes=7))}
    spec = specs["aud-north"]
    assert (spec.max_bytes, spec.discard_old_per_subject) == (7, False)
    assert stream_for("audit.north.access", SITE) == "aud-north"


def test_derived_ids_tell_things_apart() -> None:
    assert derived_id("replay", "a", 1) == derived_id("replay", "a", 1)
    assert (
        len({derived_id("replay", "a", 1), derived_id("replay", "a", 2), derived_id("dlq", "a", 1)})
        == 3
    )


def test_one_certificate_has_the_rights_of_all_its_roles() -> None:
    site = SiteId("north")
    rights = consumer_rights(site, "his") + consumer_rights(site, "his") + EventRights()
    assert rights.publish == ("dlq.evt-north.his", "ctl.north.receipts.*.his")
    assert rights.subscribe == ("ctl.north.replay.his",)
    assert any(matches(p, subjects.receipt(site, b"x" * 16, "his")) for p in rights.publish)
    waits = receipt_rights(site, ("his", "pacs"))
    assert waits.subscribe == ("ctl.north.receipts.*.his", "ctl.north.receipts.*.pacs")
    operator = operator_rights(site)
    assert any(matches(p, subjects.replay(site, "his")) for p in operator.publish)
    assert any(matches(p, subjects.dead_letter("evt-north", "his")) for p in operator.subscribe)


def test_overlapping_patterns_are_reduced_to_those_that_cover() -> None:
    assert without_covered(("evt.a.b.>", "evt.a.>", "evt.a.>", "evt.b.*")) == ("evt.a.>", "evt.b.*")


async def aged(folder: Path) -> tuple[Bench, Service, RetentionKeeper]:
    """Ten events, one an hour, in a stream whose retention is five hours."""
    bench = Bench(MemoryBroker(clock=LoopClock()), folder)
    service = await bench.service("emr-in")
    keeper = RetentionKeeper(
        transport=service.transport,
        clock=LoopClock(),
        counters=Counters(),
        streams=("evt-north",),
        retention_s=5 * 3600.0,
    )
    for number in range(10):
        await service.events.publish(event(number))
        await asyncio.sleep(3600)
    return bench, service, keeper


def test_what_is_old_and_had_by_everyone_goes(tmp_path: Path) -> None:
    async def main() -> None:
        _, service, keeper = await aged(tmp_path)
        assert await keeper.keep("evt-north") == 6
        state = await service.transport.store.stream_state("evt-north")
        assert (state.first_seq, state.messages) == (7, 4)
        assert await keeper.keep("evt-north") == 0
        await asyncio.sleep(DAY_S)
        assert await keeper.keep("evt-north") == 4
        assert await keeper.keep("evt-north") == 0

    run_jumping(main())


def test_what_a_consumer_has_not_acknowledged_stays_however_old(tmp_path: Path) -> None:
    async def main() -> None:
        bench, service, keeper = await aged(tmp_path)
        consumer = await bench.service("his-out")

        async def handler(received: ReceivedEvent) -> None:
            if received.body == b"0:2":
                raise Unavailable("away")

        spec = ConsumeSpec(name="his", patterns=("evt.north.>",))
        await consumer.events.consume(spec, handler)
        await asyncio.sleep(DAY_S / 4)
        assert await keeper.keep("evt-north") == 2
        await consumer.die()
        assert await keeper.keep("evt-north") == 0
        state = await service.transport.store.stream_state("evt-north")
        assert (state.first_seq, state.messages) == (3, 8)

    run_jumping(main())


def test_a_consumer_without_anything_to_read_holds_nothing_back(tmp_path: Path) -> None:
    async def main() -> None:
        bench, service, keeper = await aged(tmp_path)
        consumer = await bench.service("pacs")

        async def handler(_: ReceivedEvent) -> None:
            return None

        spec = ConsumeSpec(name="pacs", patterns=("evt.north.imaging.>",))
        await consumer.events.consume(spec, handler)
        await service.transport.store.delete("evt-north", 3)
        assert await keeper.keep("evt-north") == 5

    run_jumping(main())


def test_the_keeper_goes_on_after_a_failure(tmp_path: Path) -> None:
    async def main() -> None:
        bench, service, _ = await aged(tmp_path)
        counters = Counters()
        keeper = RetentionKeeper(
            transport=service.transport,
            clock=LoopClock(),
            counters=counters,
            streams=("evt-south", "evt-north"),
            retention_s=5 * 3600.0,
        )
        keeper.start()
        await asyncio.sleep(10)
        await keeper.stop()
        assert counters.get("retention_failed", who="evt-south", reason="not_found") == 1
        assert counters.get("message_retired", who="evt-north") == 6
        assert bench.counters.get("retention_failed") == 0

    run_jumping(main())


def test_health_says_how_the_events_are(tmp_path: Path) -> None:
    async def main() -> None:
        bench = Bench(MemoryBroker(clock=LoopClock()), tmp_path)
        service = await bench.service("emr-in")
        assert service.events.health().condition is EventsCondition.RUNNING
        service.transport.disconnect()
        assert service.events.health().condition is EventsCondition.CARRIER_AWAY
        service.transport.reconnect()
        await service.events.stop()
        assert service.events.health().condition is EventsCondition.STOPPED
        with pytest.raises(Closed):
            await service.events.consume(ConsumeSpec(name="x", patterns=("evt.north.>",)), _nothing)

    run_jumping(main())


async def _nothing(_: ReceivedEvent) -> None:
    return None
