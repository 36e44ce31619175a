"""What views remember of earlier messages, and that the carrier can neither read nor invent it."""

from __future__ import annotations

import asyncio

import pytest

from adapters.hl7v2.views.ledger import BUCKET, Ledger, Merge, Report
from bus.transport.memory import MemoryBroker
from bus.transport.protocol import KeyValue

KEY = b"s" * 32


@pytest.fixture
async def bucket() -> KeyValue:
    transport = await MemoryBroker().connect(name="views")
    return await transport.key_value(BUCKET)


@pytest.fixture
def ledger(bucket: KeyValue) -> Ledger:
    return Ledger(bucket, KEY)


async def test_an_older_report_is_outdated_and_the_same_again_is_not(ledger: Ledger) -> None:
    new, old = Report("r1", "2026-03-02T10:00:00Z"), Report("r1", "2026-03-01T10:00:00Z")
    assert not await ledger.is_outdated(new)
    assert await ledger.is_outdated(old)
    assert not await ledger.is_outdated(new)
    assert not await ledger.is_outdated(Report("r2", old.at))


async def test_what_is_remembered_outlives_the_process(bucket: KeyValue) -> None:
    assert not await Ledger(bucket, KEY).is_outdated(Report("r1", "2026-03-02T10:00:00Z"))
    assert await Ledger(bucket, KEY).is_outdated(Report("r1", "2026-03-01T10:00:00Z"))


async def test_of_many_at_once_the_newest_stays(bucket: KeyValue) -> None:
    ledgers = [Ledger(bucket, KEY) for _ in range(4)]
    reports = [Report("r1", f"2026-03-{day:02}T10:00:00Z") for day in range(1, 5)]
    await asyncio.gather(
        *(ledger.is_outdated(one) for ledger, one in zip(ledgers, reports, strict=True))
    )
    assert await ledgers[0].is_outdated(reports[2])
    assert not await ledgers[0].is_outdated(reports[3])


async def test_merges_are_followed_to_the_survivor(ledger: Ledger) -> None:
    assert await ledger.survivor_of("a") == ""
    await ledger.merge(Merge("a", "b"))
    await ledger.merge(Merge("b", "c"))
    assert await ledger.survivor_of("a") == "c"
    assert await ledger.survivor_of("c") == ""
    await ledger.unmerge("a")
    assert await ledger.survivor_of("a") == ""


async def test_a_survivor_that_was_retired_lives_again(ledger: Ledger) -> None:
    await ledger.merge(Merge("a", "b"))
    await ledger.merge(Merge("b", "a"))
    assert await ledger.survivor_of("a") == ""
    assert await ledger.survivor_of("b") == "a"


async def test_the_carrier_sees_no_identity_and_cannot_invent_an_entry(
    ledger: Ledger, bucket: KeyValue
) -> None:
    await ledger.merge(Merge("retired-4711", "survivor-4712"))
    keys = await bucket.keys()
    assert keys
    assert not any("4711" in key or "4712" in key for key in keys)
    for key in keys:
        await bucket.put(key, b"\0" * 16 + b"somebody-else")
    assert await ledger.survivor_of("retired-4711") == ""
