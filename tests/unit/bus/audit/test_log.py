"""Access records: durable when `record` returns, many a message, and truthful when they cannot be kept."""

from __future__ import annotations

import asyncio

import pytest

from bus.audit import AccessEntry, AccessLog
from bus.audit.records import decode, encode
from bus.bodies import UnreadableContent
from bus.telemetry.counters import Counters
from schemas.errors import Closed, MeshError, ResourceExhausted, Unavailable
from schemas.subjects import site_id
from tests.unit.gateway.access.kit import Recorded

SITE = site_id("north")


def entry(number: int = 1, **changes: object) -> AccessEntry:
    said: dict[str, object] = {
        "at_ms": number,
        "client": "lab",
        "proof": "api_key",
        "deed": "read",
        "what": f"Patient/{number}",
        "user": "f3a1",
    }
    return AccessEntry(**(said | changes))  # type: ignore[arg-type]


def log(events: Recorded, counters: Counters | None = None) -> AccessLog:
    return AccessLog(site=SITE, events=events, counters=counters or Counters())


async def test_a_record_is_stored_when_record_returns() -> None:
    events = Recorded()

    await log(events).record(entry(details={"purpose": "TREAT"}))

    assert events.entries == [entry(details={"purpose": "TREAT"})]
    assert events.events[0].subject == "audit.north.access"


async def test_nothing_returns_before_it_is_stored() -> None:
    events = Recorded()
    events.gate.clear()
    waiting = asyncio.create_task(log(events).record(entry()))
    await asyncio.sleep(0.01)
    assert not waiting.done()

    events.gate.set()
    await waiting
    assert events.entries == [entry()]


async def test_what_comes_while_others_are_stored_shares_messages_and_keeps_its_order() -> None:
    events, counters = Recorded(), Counters()
    events.gate.clear()
    access_log = log(events, counters)
    waiting = [asyncio.create_task(access_log.record(entry(n))) for n in range(1, 1001)]
    await asyncio.sleep(0)
    events.gate.set()
    await asyncio.gather(*waiting)

    assert [one.at_ms for one in sorted(events.entries, key=lambda e: e.at_ms)] == list(
        range(1, 1001)
    )
    assert len(events.events) < 20
    assert counters.get("access_recorded") == 1000


async def test_a_record_that_cannot_be_stored_fails_for_everyone_in_its_message() -> None:
    events, counters = Recorded(), Counters()
    events.failure = Unavailable("the store is away")
    access_log = log(events, counters)

    answers = await asyncio.gather(
        *(access_log.record(entry(n)) for n in range(10)), return_exceptions=True
    )

    assert {type(one) for one in answers} == {Unavailable}
    assert counters.get("access_record_failed", reason="unavailable") == 10
    events.failure = None
    await access_log.record(entry())


async def test_a_bug_below_is_no_success() -> None:
    events = Recorded()

    async def broken(event: object, *, timeout_s: float = 30.0) -> object:
        raise RuntimeError("a bug")

    events.publish = broken  # type: ignore[method-assign,assignment]
    access_log = log(events)
    with pytest.raises(MeshError):
        await access_log.record(entry())
    for writer in tuple(access_log._writers):
        with pytest.raises(RuntimeError):
            await writer


async def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bus.audit.log._WAITING", 5)
    events = Recorded()
    events.gate.clear()
    access_log = log(events)
    waiting = [asyncio.create_task(access_log.record(entry(n))) for n in range(5)]
    await asyncio.sleep(0)
    held = [asyncio.create_task(access_log.record(entry(n))) for n in range(5)]
    await asyncio.sleep(0)

    with pytest.raises(ResourceExhausted):
        await access_log.record(entry())

    events.gate.set()
    await asyncio.gather(*waiting, *held)


async def test_a_caller_that_leaves_does_not_take_its_record_back() -> None:
    events = Recorded()
    events.gate.clear()
    access_log = log(events)
    waiting = asyncio.create_task(access_log.record(entry()))
    await asyncio.sleep(0)
    waiting.cancel()
    events.gate.set()
    await access_log.drain()

    assert events.entries == [entry()]


async def test_callers_of_a_log_that_stops_are_told() -> None:
    events = Recorded()
    events.gate.clear()
    access_log = log(events)
    waiting = [asyncio.create_task(access_log.record(entry(n))) for n in range(300)]
    await asyncio.sleep(0)
    await access_log.stop()

    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(one) for one in answers} == {Closed}
    with pytest.raises(Closed):
        await access_log.record(entry())


async def test_a_long_request_does_not_fill_the_log() -> None:
    events = Recorded()

    await log(events).record(
        entry(
            what="x" * 1_000_000,
            user="u" * 10_000,
            details={f"k{n}": "v" * 10_000 for n in range(1000)},
        )
    )

    assert len(events.events[0].body) < 32 * 1024


def test_a_record_shows_nothing_of_whom_it_is_about() -> None:
    shown = repr(entry(remote="10.1.2.3", details={"query": "name=example"}))

    for protected in ("Patient/1", "f3a1", "10.1.2.3", "example"):
        assert protected not in shown


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b'{"records": 5}',
        b'{"records": "\xff"}',
        b'{"version": 2, "records": []}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_record_is_not_read(body: bytes) -> None:
    with pytest.raises(UnreadableContent):
        decode(body)


def test_later_versions_may_add_fields() -> None:
    body = encode([entry()]).replace(b'"client"', b'"added":1,"client"')

    assert decode(body) == (entry(),)
