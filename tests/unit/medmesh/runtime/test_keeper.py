"""The keeper deletes only what is old and what everyone has: on the in-memory twin of NATS."""

from __future__ import annotations

import asyncio

import pytest

from bus.transport.memory import MemoryBroker
from bus.transport.protocol import ConsumerSpec, Delivery, Outgoing, StreamSpec, Transport
from medmesh.runtime.keeper import RetentionKeeper, lowest_floor
from schemas.clock import FakeClock

HOUR_S = 3600.0


class Taken:
    """A reader that keeps what it gets."""

    def __init__(self, wanted: int) -> None:
        self.deliveries: list[Delivery] = []
        self.done = asyncio.Event()
        self._wanted = wanted

    def delivered(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)
        if len(self.deliveries) == self._wanted:
            self.done.set()

    def interrupted(self, reason: str) -> None:
        raise AssertionError(reason)


async def prepared(clock: FakeClock) -> tuple[Transport, RetentionKeeper]:
    transport: Transport = await MemoryBroker(clock=clock).connect()
    await transport.store.ensure_stream(StreamSpec(name="evt-north", subjects=("evt.north.>",)))
    keeper = RetentionKeeper(
        store=transport.store,
        administration=transport.administration,
        stream="evt-north",
        keep_s=10 * HOUR_S,
        clock=clock,
    )
    return transport, keeper


async def store(transport: Transport, count: int, start: int) -> None:
    messages = [
        Outgoing(subject="evt.north.raw.hl7v2.1", payload=b"x", message_id=f"m{start + n}")
        for n in range(count)
    ]
    await transport.store.store(messages, timeout_s=5)


async def consumed(transport: Transport, name: str, count: int) -> None:
    """A durable consumer that has acknowledged its first `count` messages."""
    taken = Taken(count)
    spec = ConsumerSpec(stream="evt-north", name=name, patterns=("evt.north.>",))
    consumer = await transport.store.consume(spec, taken)
    if count:
        consumer.credit(count)
        async with asyncio.timeout(5):
            await taken.done.wait()
        for delivery in taken.deliveries:
            consumer.acknowledge(delivery)
    await consumer.close()


@pytest.mark.parametrize(
    ("one", "other", "first_kept"),
    [(20, 20, 11), (20, 5, 6), (0, 20, 1), (10, 10, 11)],
)
async def test_what_is_old_goes_only_when_every_consumer_has_it(
    one: int, other: int, first_kept: int
) -> None:
    clock = FakeClock()
    transport, keeper = await prepared(clock)
    await store(transport, 10, 0)
    clock.advance(11 * HOUR_S)
    await store(transport, 10, 10)
    await consumed(transport, "his-out", one)
    await consumed(transport, "archive", other)
    await keeper.round()
    assert (await transport.store.stream_state("evt-north")).first_seq == first_kept
    assert await keeper.round() == 0
    await transport.close()


async def test_what_is_young_stays_even_when_everyone_has_it() -> None:
    clock = FakeClock()
    transport, keeper = await prepared(clock)
    await store(transport, 10, 0)
    await consumed(transport, "his-out", 10)
    assert await keeper.round() == 0
    await transport.close()


async def test_an_empty_stream_is_left_alone_and_gaps_do_no_harm() -> None:
    clock = FakeClock()
    transport, keeper = await prepared(clock)
    assert await keeper.round() == 0
    await store(transport, 10, 0)
    for seq in (3, 4, 5, 6):
        await transport.store.delete("evt-north", seq)
    clock.advance(11 * HOUR_S)
    await store(transport, 10, 10)
    await consumed(transport, "his-out", 14)
    await keeper.round()
    assert (await transport.store.stream_state("evt-north")).first_seq == 11
    await transport.close()


def test_the_floor_is_that_of_the_slowest() -> None:
    assert lowest_floor({}) is None
