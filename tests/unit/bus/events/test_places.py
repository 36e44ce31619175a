from __future__ import annotations

from bus.events.places import gathered, places, with_ages
from bus.events.streams import event_stream
from bus.transport.memory import MemoryBroker
from bus.transport.protocol import ConsumerSpec, ConsumerState, Delivery, Outgoing, StreamSpec
from schemas.clock import FakeClock
from schemas.subjects import SiteId

SITE = SiteId("north")
STREAM = event_stream(SITE)


class Silent:
    """Reads nothing."""

    def delivered(self, delivery: Delivery) -> None:
        raise AssertionError("no credit was given")

    def interrupted(self, reason: str) -> None:
        """Nothing to do."""


def state(floor: int, pending: int, *patterns: str) -> ConsumerState:
    return ConsumerState(
        ack_floor=floor, delivered=floor, pending=pending, unacknowledged=1, patterns=patterns
    )


def test_partitions_of_a_shared_consumer_are_one_place() -> None:
    states = {
        "wards-p3": state(10, 2, "evt.north.a.b.3"),
        "wards-p7": state(20, 0, "evt.north.a.b.7"),
        "archive": state(5, 4, "evt.north.>"),
        "other-p1": state(1, 0),
    }
    found = {one.name: one for one in gathered(states, ("wards", "idle"))}
    assert set(found) == {"wards", "idle", "archive", "other-p1"}
    wards = found["wards"]
    assert (wards.is_shared, wards.pending, wards.unacknowledged, wards.waiting) == (True, 2, 2, 4)
    assert wards.patterns == ("evt.north.a.b.3", "evt.north.a.b.7")
    assert (found["idle"].is_shared, found["idle"].waiting) == (True, 0)
    assert not found["other-p1"].is_shared


async def test_the_oldest_that_waits_is_one_that_the_consumer_reads() -> None:
    clock = FakeClock()
    transport = await MemoryBroker(clock=clock).connect()
    await transport.store.ensure_stream(StreamSpec(name=STREAM, subjects=("evt.north.>",)))
    for name in ("a", "b", "b"):
        message = Outgoing(subject=f"evt.north.x.{name}.1", payload=b"", message_id="")
        await transport.store.store([message], timeout_s=5)
        clock.advance(60.0)
    for name, pattern in (("first", "evt.north.>"), ("second", "evt.north.x.b.*")):
        spec = ConsumerSpec(stream=STREAM, name=name, patterns=(pattern,))
        await transport.store.consume(spec, Silent())
    views = await with_ages(transport, SITE, await places(transport, SITE))
    begun_ms = clock.now_ms() - 180_000
    assert {one.name: one.oldest_ms - begun_ms for one in views} == {"first": 0, "second": 60_000}
    assert {one.name: one.waiting for one in views} == {"first": 3, "second": 2}
