"""The faults and the clock that the in-memory broker offers to users' tests."""

from __future__ import annotations

import asyncio

import pytest

from bus.transport.memory import MemoryBroker
from bus.transport.protocol import ConsumerSpec, LinkState, Stored, StreamFull, StreamSpec
from schemas.clock import FakeClock
from schemas.errors import DeadlineExceeded
from tests.contract.carriers import Reader, outgoing

EVT = StreamSpec(name="EVT", subjects=("evt.>",))
READ = ConsumerSpec(stream="EVT", name="reader", patterns=("evt.>",), ack_wait_s=60)


async def settle() -> None:
    """Let the broker hand over what it has."""
    for _ in range(3):
        await asyncio.sleep(0)


async def test_ordered_refusals_come_as_often_as_ordered(memory_broker: MemoryBroker) -> None:
    transport = await memory_broker.connect()
    await transport.store.ensure_stream(EVT)
    full = StreamFull("ordered")
    memory_broker.faults.refuse_stores(full, count=1)
    results = await transport.store.store([outgoing("evt.a"), outgoing("evt.a")], timeout_s=1)
    assert results[0] is full
    assert isinstance(results[1], Stored)
    memory_broker.faults.refuse_stores(full)
    assert await transport.store.store([outgoing("evt.a")] * 2, timeout_s=1) == [full, full]
    memory_broker.faults.heal()
    assert isinstance((await transport.store.store([outgoing("evt.a")], timeout_s=1))[0], Stored)


async def test_message_whose_answer_is_lost_is_stored_all_the_same(
    memory_broker: MemoryBroker,
) -> None:
    transport = await memory_broker.connect()
    await transport.store.ensure_stream(EVT)
    memory_broker.faults.lose_store_answers(1)
    message = outgoing("evt.a")
    [lost] = await transport.store.store([message], timeout_s=1)
    assert isinstance(lost, DeadlineExceeded)
    assert await transport.store.store([message], timeout_s=1) == [
        Stored(stream="EVT", seq=1, duplicate=True)
    ]


async def test_message_whose_acknowledgement_is_lost_comes_again_when_the_clock_says_so() -> None:
    clock = FakeClock()
    broker = MemoryBroker(clock=clock)
    transport, reader = await broker.connect(), Reader()
    await transport.store.ensure_stream(EVT)
    await transport.store.store([outgoing("evt.a"), outgoing("evt.b")], timeout_s=1)
    consumer = await transport.store.consume(READ, reader)
    consumer.credit(10)
    await settle()
    broker.faults.drop_acknowledgements(1)
    for delivery in list(reader.deliveries):
        consumer.acknowledge(delivery)
    clock.advance(59.9)
    broker.tick()
    await settle()
    assert reader.seqs == [1, 2]
    clock.advance(0.2)
    broker.tick()
    await settle()
    assert [(d.seq, d.deliveries) for d in reader.deliveries[2:]] == [(1, 2)]


async def test_ids_are_forgotten_after_the_duplicate_window() -> None:
    clock = FakeClock()
    transport = await MemoryBroker(clock=clock).connect()
    await transport.store.ensure_stream(
        StreamSpec(name="EVT", subjects=("evt.>",), duplicate_window_s=10)
    )
    message = outgoing("evt.a")
    seqs = []
    for _ in range(3):
        [result] = await transport.store.store([message], timeout_s=1)
        assert isinstance(result, Stored)
        seqs.append(result.seq)
        clock.advance(6)
    assert seqs == [1, 1, 2]


async def test_messages_and_keys_that_are_too_old_go() -> None:
    clock = FakeClock()
    broker = MemoryBroker(clock=clock)
    transport = await broker.connect()
    await transport.store.ensure_stream(StreamSpec(name="R", subjects=("r.>",), max_age_s=60))
    bucket = await transport.key_value("leases", max_age_s=5)
    await transport.store.store([outgoing("r.a")], timeout_s=1)
    await bucket.put("a", b"1")
    clock.advance(6)
    broker.tick()
    assert await bucket.keys() == []
    assert (await transport.store.stream_state("R")).messages == 1
    clock.advance(60)
    assert (await transport.store.stream_state("R")).messages == 0


async def test_one_connection_can_be_cut_while_others_live(memory_broker: MemoryBroker) -> None:
    cut, other = await memory_broker.connect(), await memory_broker.connect()
    cut.disconnect()
    assert (cut.link, other.link) == (LinkState.RECONNECTING, LinkState.CONNECTED)
    cut.reconnect()
    assert cut.link is LinkState.CONNECTED


@pytest.mark.parametrize("count", [5000])
async def test_many_unacknowledged_messages_do_not_slow_delivery_down(
    memory_broker: MemoryBroker, count: int
) -> None:
    transport, reader = await memory_broker.connect(), Reader()
    await transport.store.ensure_stream(EVT)
    await transport.store.store([outgoing("evt.a") for _ in range(count)], timeout_s=1)
    spec = ConsumerSpec(stream="EVT", name="r", patterns=(), max_ack_pending=count)
    consumer = await transport.store.consume(spec, reader)
    consumer.credit(count)
    await reader.get(count)
    for delivery in reader.deliveries:
        consumer.acknowledge(delivery)
    assert (await consumer.state()).ack_floor == count
