"""Consuming while the server is killed, stopped or cut off."""

from __future__ import annotations

import asyncio
import gc
import os
import random
from functools import partial
from pathlib import Path

import pytest

from bus.transport import nats
from bus.transport.nats import NatsOptions, NatsTransport
from bus.transport.protocol import ConsumerSpec, Delivery, Incoming, StreamSpec
from tests.contract.carriers import OrderedReader, Reader, eventually, outgoing
from tests.faults.proxy import Proxy
from tests.nats_server import NatsServer

pytestmark = pytest.mark.server
EVT = StreamSpec(name="EVT", subjects=("evt.>",))
READ = ConsumerSpec(stream="EVT", name="reader", patterns=("evt.>",))
OPTIONS = NatsOptions(
    ping_interval_s=0.5,
    ping_timeout_s=0.5,
    ack_timeout_s=1.0,
    reconnect_wait_max_s=0.2,
    pull_heartbeat_s=0.5,
    pull_expires_s=2.0,
)


async def connect(url: str) -> NatsTransport:
    return await nats.connect([url], name="faults", options=OPTIONS)


async def fill(transport: NatsTransport, count: int, start: int = 0) -> None:
    for at in range(start, start + count, 1000):
        batch = [outgoing("evt.a", b"%d" % i) for i in range(at, min(at + 1000, start + count))]
        await transport.store.store(batch, timeout_s=30)


class BoundedReader(OrderedReader):
    """Never holds more than its credit; finishes messages a little later, in small groups."""

    def __init__(self, credit: int) -> None:
        super().__init__()
        self._credit = credit
        self._hand: list[Delivery] = []
        self.most = 0

    def delivered(self, delivery: Delivery) -> None:
        self._hand.append(delivery)
        self.most = max(self.most, len(self._hand))
        if len(self._hand) == 1:
            asyncio.get_running_loop().call_later(0.001, self._finish)

    def _finish(self) -> None:
        hand, self._hand = self._hand, []
        for delivery in hand:
            super().delivered(delivery)


@pytest.mark.slow
async def test_everything_comes_in_order_over_kills_of_the_server(nats_server: NatsServer) -> None:
    transport = await connect(nats_server.url)
    await transport.store.ensure_stream(EVT)
    await fill(transport, 20_000)
    reader = BoundedReader(50)
    reader.consumer = consumer = await transport.store.consume(READ, reader)
    consumer.credit(50)
    for kill in range(1, 4):
        await reader.until(partial(reader.has_done, 3000 * kill), "progress")
        await asyncio.to_thread(nats_server.restart)
    await reader.until(lambda: reader.done == 20_000, "the last message")
    assert reader.payloads == [b"%d" % i for i in range(20_000)]
    assert reader.most <= 50
    assert set(reader.interruptions) <= {"reconnected", "gap"}
    await consumer.close()
    await transport.close()


@pytest.mark.slow
async def test_everything_comes_in_order_over_broken_connections(nats_server: NatsServer) -> None:
    rng = random.Random(4)
    direct = await connect(nats_server.url)
    await direct.store.ensure_stream(EVT)
    async with Proxy(nats_server.port) as proxy:
        transport = await connect(f"nats://127.0.0.1:{proxy.port}")
        reader = BoundedReader(200)
        reader.consumer = consumer = await transport.store.consume(READ, reader)
        consumer.credit(200)
        total = 0
        for _ in range(15):
            connections = proxy.connections
            proxy.break_after(rng.randrange(10, 4000))
            await fill(direct, 500, total)
            total += 500
            await eventually(partial(proxy.was_used, connections + 1), "the reconnect")
        await reader.until(lambda: reader.done == total, "the last message")
        assert reader.payloads == [b"%d" % i for i in range(total)]
        assert reader.most <= 200
        await consumer.close()
        await transport.close()
    await direct.close()


async def test_half_open_connection_of_the_past_takes_no_message_for_good(
    nats_server: NatsServer,
) -> None:
    """A stalled link keeps its pull requests standing at the server while the client is back on another."""
    direct = await connect(nats_server.url)
    await direct.store.ensure_stream(EVT)
    async with Proxy(nats_server.port) as proxy:
        transport = await connect(f"nats://127.0.0.1:{proxy.port}")
        reader = OrderedReader()
        reader.consumer = consumer = await transport.store.consume(READ, reader)
        consumer.credit(10)
        proxy.stall()
        await fill(direct, 5)
        await eventually(lambda: transport.link.value == "reconnecting", "the doubt")
        proxy.heal()
        await reader.until(lambda: reader.done == 5, "the last message")
        assert reader.payloads == [b"%d" % i for i in range(5)]
        await fill(direct, 30, 5)
        await reader.until(lambda: reader.done == 35, "the later messages")
        assert reader.payloads == [b"%d" % i for i in range(35)]
        await consumer.close()
        await transport.close()
    await direct.close()


async def test_stopped_server_that_goes_on_delivers_everything_in_order(
    nats_server: NatsServer,
) -> None:
    transport = await connect(nats_server.url)
    await transport.store.ensure_stream(EVT)
    await fill(transport, 3000)
    reader = BoundedReader(20)
    reader.consumer = consumer = await transport.store.consume(READ, reader)
    consumer.credit(20)
    await reader.until(lambda: reader.done > 500, "progress")
    nats_server.pause()
    await eventually(lambda: transport.link.value == "reconnecting", "the doubt")
    nats_server.resume()
    await reader.until(lambda: reader.done == 3000, "the last message")
    assert reader.payloads == [b"%d" % i for i in range(3000)]
    await consumer.close()
    await transport.close()


async def test_deleted_consumer_is_made_again_where_the_reader_stood(
    nats_server: NatsServer,
) -> None:
    transport, other = await connect(nats_server.url), await connect(nats_server.url)
    await transport.store.ensure_stream(EVT)
    await fill(transport, 10)
    reader = OrderedReader()
    reader.consumer = consumer = await transport.store.consume(READ, reader)
    consumer.credit(20)
    await reader.until(lambda: reader.done == 10, "message 10")
    await consumer.state()
    await other.messenger.request("$JS.API.CONSUMER.DELETE.EVT.reader", b"", timeout_s=10)
    await reader.wait_interrupted()
    await fill(transport, 5, 10)
    await reader.until(lambda: reader.done == 15, "message 15")
    assert reader.payloads == [b"%d" % i for i in range(15)]
    await consumer.close()
    await transport.close()
    await other.close()


async def steal(transport: NatsTransport, count: int) -> None:
    """Take deliveries away from the reader, as a pull request of a half-open past connection would."""
    taken: list[Incoming] = []
    await transport.messenger.subscribe("_INBOX.thief", taken.append)
    await transport.messenger.publish(
        "$JS.API.CONSUMER.MSG.NEXT.EVT.reader", b"%d" % count, reply="_INBOX.thief"
    )
    await eventually(lambda: len(taken) >= count, "the theft")


async def test_gap_in_the_deliveries_is_seen_at_the_next_one_and_filled(
    nats_server: NatsServer,
) -> None:
    transport, thief = await connect(nats_server.url), await connect(nats_server.url)
    await transport.store.ensure_stream(EVT)
    await fill(transport, 20)
    reader = OrderedReader()
    reader.consumer = consumer = await transport.store.consume(READ, reader)
    await steal(thief, 3)
    consumer.credit(4)
    await reader.until(lambda: reader.done == 20, "the last message")
    assert reader.payloads == [b"%d" % i for i in range(20)]
    assert reader.interruptions == ["gap"]
    for each in (transport, thief):
        await each.close()


async def test_gap_at_the_end_is_seen_by_the_heartbeat_and_filled(nats_server: NatsServer) -> None:
    transport, thief = await connect(nats_server.url), await connect(nats_server.url)
    await transport.store.ensure_stream(EVT)
    await fill(transport, 3)
    reader = OrderedReader()
    reader.consumer = consumer = await transport.store.consume(READ, reader)
    await steal(thief, 3)
    consumer.credit(4)  # nothing more comes: only the heartbeat tells of what was delivered
    await reader.until(lambda: reader.done == 3, "the last message")
    assert reader.interruptions == ["gap"]
    for each in (transport, thief):
        await each.close()


async def test_standing_request_is_renewed_before_messages_come(nats_server: NatsServer) -> None:
    options = NatsOptions(pull_expires_s=0.4, pull_heartbeat_s=0.1)
    transport = await nats.connect([nats_server.url], name="renewal", options=options)
    await transport.store.ensure_stream(EVT)
    reader = Reader()
    consumer = await transport.store.consume(READ, reader)
    consumer.credit(3)
    seen: list[str] = []
    watcher = await connect(nats_server.url)
    await watcher.messenger.subscribe(
        "$JS.API.CONSUMER.MSG.NEXT.EVT.reader", lambda m: seen.append(m.reply)
    )
    await eventually(lambda: len(seen) >= 3, "the third request")
    await fill(transport, 5)
    await reader.get(3)
    assert (await consumer.state()).delivered == 3
    assert reader.interruptions == []
    for each in (transport, watcher):
        await each.close()


@pytest.mark.slow
async def test_backlog_of_100_000_messages_passes_with_little_memory(
    nats_server: NatsServer,
) -> None:
    transport = await connect(nats_server.url)
    await transport.store.ensure_stream(EVT)
    payload = bytes(1000)
    for _ in range(100):
        await transport.store.store([outgoing("evt.a", payload) for _ in range(1000)], timeout_s=60)
    reader = CountingReader()
    reader.consumer = consumer = await transport.store.consume(READ, reader)
    gc.collect()
    before = resident_bytes()
    consumer.credit(256)
    await reader.until(lambda: reader.done == 100_000, "message 100 000")
    assert reader.most_resident - before < 30_000_000  # of 100 MB that passed
    assert reader.interruptions == []
    await consumer.close()
    await transport.close()


def resident_bytes() -> int:
    """Memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class CountingReader(OrderedReader):
    """Keeps a number instead of the messages."""

    def __init__(self) -> None:
        super().__init__()
        self.most_resident = 0

    def delivered(self, delivery: Delivery) -> None:
        assert self.consumer is not None
        assert delivery.seq == self.done + 1
        self.done = delivery.seq
        self.consumer.acknowledge(delivery)
        self.consumer.credit(1)
        if self.done % 1000 == 0:
            self.most_resident = max(self.most_resident, resident_bytes())
            self.changed()
