"""The faults that matter most, on what nats-py offers publicly: what the mesh falls back to."""

from __future__ import annotations

import asyncio
import random
from functools import partial

import pytest

from bus.transport import nats
from bus.transport.nats import NatsOptions, NatsTransport
from bus.transport.nats.connection import CLOSE_WITHIN_S
from bus.transport.nats.stock import StockWire
from bus.transport.protocol import ConsumerSpec, Stored, StreamSpec
from tests.contract.carriers import OrderedReader, eventually, outgoing
from tests.faults.proxy import Proxy
from tests.nats_server import NatsServer

pytestmark = pytest.mark.server
EVT = StreamSpec(name="EVT", subjects=("evt.>",))
READ = ConsumerSpec(stream="EVT", name="reader", patterns=("evt.>",))
OPTIONS = NatsOptions(
    fast=False,
    ping_interval_s=0.5,
    ping_timeout_s=0.5,
    ack_timeout_s=1.0,
    reconnect_wait_max_s=0.2,
    pull_heartbeat_s=0.5,
    pending_bytes=1024 * 1024,
)


async def connect(url: str) -> NatsTransport:
    transport = await nats.connect([url], name="stock", options=OPTIONS)
    assert isinstance(transport._connection.wire, StockWire)
    return transport


async def store_all(transport: NatsTransport, start: int, count: int, group: int) -> None:
    """Store numbered messages, each group until it is stored."""
    for at in range(start, start + count, group):
        batch = [outgoing("evt.a", b"%d" % i, str(i)) for i in range(at, at + group)]
        while batch:
            results = await transport.store.store(batch, timeout_s=5.0)
            batch = [m for m, r in zip(batch, results, strict=True) if not isinstance(r, Stored)]


@pytest.mark.parametrize("group", [5, 50])
async def test_everything_is_stored_once_and_delivered_in_order_over_kills_of_the_server(
    nats_server: NatsServer, group: int
) -> None:
    transport = await connect(nats_server.url)
    await transport.store.ensure_stream(EVT)
    reader = OrderedReader()
    reader.consumer = consumer = await transport.store.consume(READ, reader)
    consumer.credit(100)
    for kill in range(3):
        storing = asyncio.ensure_future(store_all(transport, kill * 500, 500, group))
        await reader.until(partial(reader.has_done, kill * 500 + 100), "progress")
        await asyncio.to_thread(nats_server.restart)
        await storing
    await reader.until(partial(reader.has_done, 1500), "the last message")
    assert reader.payloads == [b"%d" % i for i in range(1500)]
    await consumer.close()
    await transport.close()


async def test_everything_comes_in_order_over_broken_connections(nats_server: NatsServer) -> None:
    rng = random.Random(7)
    direct = await connect(nats_server.url)
    await direct.store.ensure_stream(EVT)
    async with Proxy(nats_server.port) as proxy:
        transport = await connect(f"nats://127.0.0.1:{proxy.port}")
        reader = OrderedReader()
        reader.consumer = consumer = await transport.store.consume(READ, reader)
        consumer.credit(100)
        for cut in range(5):
            connections = proxy.connections
            proxy.break_after(rng.randrange(10, 4000))
            await store_all(direct, cut * 500, 500, 100)
            await eventually(partial(proxy.was_used, connections + 1), "the reconnect")
        await reader.until(partial(reader.has_done, 2500), "the last message")
        assert reader.payloads == [b"%d" % i for i in range(2500)]
        await consumer.close()
        await transport.close()
    await direct.close()


async def test_stopped_server_is_left_and_the_connection_closes_within_its_bound(
    nats_server: NatsServer,
) -> None:
    transport = await connect(nats_server.url)
    await transport.messenger.publish("a", b"")
    nats_server.pause()
    try:
        publishing = [
            asyncio.ensure_future(transport.messenger.publish("a", bytes(100_000)))
            for _ in range(100)
        ]
        await eventually(lambda: transport.link.value == "reconnecting", "the doubt")
        async with asyncio.timeout(CLOSE_WITHIN_S):
            await transport.close()
        await asyncio.gather(*publishing, return_exceptions=True)
    finally:
        nats_server.resume()
