"""Storing while the server is killed, stopped, cut off, or out of disk."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from bus.transport import nats
from bus.transport.nats import NatsOptions, NatsTransport
from bus.transport.protocol import ConsumerSpec, Outgoing, Stored, StreamFull, StreamSpec
from schemas.errors import DeadlineExceeded, MeshError, ResourceExhausted, Unavailable
from tests.conftest import StartNatsServer
from tests.contract.carriers import Reader, eventually, outgoing
from tests.faults.disks import fill, small_disk_at
from tests.faults.proxy import Proxy
from tests.nats_server import NatsServer

pytestmark = pytest.mark.server
EVT = StreamSpec(name="EVT", subjects=("evt.>",))
OPTIONS = NatsOptions(
    ping_interval_s=0.5, ping_timeout_s=0.5, ack_timeout_s=1.0, reconnect_wait_max_s=0.2
)


async def connect(url: str, options: NatsOptions = OPTIONS) -> NatsTransport:
    return await nats.connect([url], name="faults", options=options)


class Publisher:
    """Sends numbered messages, each batch until it is stored; the next batch only then."""

    def __init__(self, transport: NatsTransport, number: int, batch: int) -> None:
        self._transport = transport
        self._number = number
        self._batch = batch
        self.acknowledged: dict[bytes, int] = {}
        self.stop = False

    async def run(self) -> None:
        count = 0
        while not self.stop:
            batch = [self._message(count + i) for i in range(self._batch)]
            count += self._batch
            while batch:
                results = await self._transport.store.store(batch, timeout_s=3.0)
                batch = self._note(batch, results)

    def _message(self, count: int) -> Outgoing:
        name = b"%d-%d" % (self._number, count)
        return outgoing(f"evt.{self._number}", name, name.decode())

    def _note(self, batch: list[Outgoing], results: list[Stored | MeshError]) -> list[Outgoing]:
        left: list[Outgoing] = []
        for message, result in zip(batch, results, strict=True):
            if isinstance(result, Stored):
                assert not left, "stored behind one whose fate is unknown"
                self.acknowledged[message.payload] = result.seq
            else:
                assert isinstance(result, Unavailable | DeadlineExceeded), repr(result)
                left.append(message)
        return left


async def stored_messages(transport: NatsTransport) -> list[tuple[int, bytes]]:
    """Everything in the stream, by its sequence."""
    state = await transport.store.stream_state("EVT")
    reader = Reader()
    consumer = await transport.store.consume(
        ConsumerSpec(
            stream="EVT", name="audit", patterns=("evt.>",), max_ack_pending=state.messages + 1
        ),
        reader,
    )
    consumer.credit(state.messages)
    await reader.get(state.messages)
    await consumer.close()
    return [(d.seq, d.payload) for d in reader.deliveries]


def check(publishers: list[Publisher], held: list[tuple[int, bytes]]) -> int:
    """Every acknowledged message is there once, where the answer said, and each publisher's order holds."""
    places = {payload: seq for seq, payload in held}
    twice = [payload for payload, n in Counter(p for _, p in held).items() if n > 1]
    assert twice == []
    acknowledged = 0
    for number, publisher in enumerate(publishers):
        for payload, seq in publisher.acknowledged.items():
            assert places.get(payload) == seq
        own = [p for _, p in held if p.startswith(b"%d-" % number)]
        assert own == sorted(own, key=lambda p: int(p.split(b"-")[1]))
        acknowledged += len(publisher.acknowledged)
    return acknowledged


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 8, 60])
async def test_what_was_acknowledged_survives_kill_9_once_and_in_order(
    nats_server: NatsServer, batch: int
) -> None:
    transports = [await connect(nats_server.url) for _ in range(2)]
    await transports[0].store.ensure_stream(EVT)
    publishers = [Publisher(transports[i % 2], i, batch) for i in range(16)]
    rng = random.Random(batch)
    async with asyncio.TaskGroup() as group:
        for publisher in publishers:
            group.create_task(publisher.run())
        for _ in range(3):
            before = sum(len(p.acknowledged) for p in publishers)
            await _more_acknowledged(publishers, before, 200 + rng.randrange(200))
            await asyncio.to_thread(nats_server.kill)
            await asyncio.to_thread(nats_server.start)
        before = sum(len(p.acknowledged) for p in publishers)
        await _more_acknowledged(publishers, before, 200)
        for publisher in publishers:
            publisher.stop = True
    assert check(publishers, await stored_messages(transports[0])) > 800
    for transport in transports:
        await transport.close()


async def _more_acknowledged(publishers: list[Publisher], before: int, count: int) -> None:
    await eventually(
        lambda: sum(len(p.acknowledged) for p in publishers) >= before + count, "acknowledgements"
    )


@pytest.mark.slow
@pytest.mark.parametrize("batch", [7, 60])
async def test_connection_that_breaks_in_the_middle_of_anything_loses_and_doubles_nothing(
    nats_server: NatsServer, batch: int
) -> None:
    rng = random.Random(batch)
    async with Proxy(nats_server.port) as proxy:
        transport = await connect(f"nats://127.0.0.1:{proxy.port}")
        await transport.store.ensure_stream(EVT)
        publishers = [Publisher(transport, i, batch) for i in range(4)]
        async with asyncio.TaskGroup() as group:
            for publisher in publishers:
                group.create_task(publisher.run())
            for _ in range(12):
                connections = proxy.connections
                proxy.break_after(rng.randrange(50, 60_000))
                await eventually(partial(proxy.was_used, connections + 1), "the reconnect")
            for publisher in publishers:
                publisher.stop = True
        direct = await connect(nats_server.url)
        check(publishers, await stored_messages(direct))
        await direct.close()
        await transport.close()


@pytest.mark.parametrize("batch", [1, 60])
async def test_stalled_server_is_waited_for_and_stores_once(
    nats_server: NatsServer, batch: int
) -> None:
    transport = await connect(nats_server.url)
    await transport.store.ensure_stream(EVT)
    messages = [outgoing("evt.a", b"%d" % i) for i in range(batch)]
    nats_server.pause()
    storing = asyncio.ensure_future(transport.store.store(messages, timeout_s=20.0))
    await eventually(lambda: transport.link.value == "reconnecting", "the doubt")
    nats_server.resume()
    results = await storing
    assert all(isinstance(r, Stored) for r in results)
    assert [p for _, p in await stored_messages(transport)] == [m.payload for m in messages]
    await transport.close()


async def test_stalled_server_gives_a_truthful_unknown_at_the_deadline(
    nats_server: NatsServer,
) -> None:
    transport = await connect(nats_server.url)
    await transport.store.ensure_stream(EVT)
    nats_server.pause()
    results = await transport.store.store([outgoing("evt.a"), outgoing("evt.b")], timeout_s=0.5)
    assert all(isinstance(r, DeadlineExceeded | Unavailable) for r in results)
    nats_server.resume()
    await transport.close()


async def test_slow_link_stores_in_order(nats_server: NatsServer) -> None:
    async with Proxy(nats_server.port) as proxy:
        transport = await connect(f"nats://127.0.0.1:{proxy.port}")
        await transport.store.ensure_stream(EVT)
        proxy.delay(0.05)
        batches = [[outgoing("evt.a", b"%d" % (n * 10 + i)) for i in range(10)] for n in range(3)]
        for batch in batches:
            await transport.store.store(batch, timeout_s=20.0)
        held = await stored_messages(transport)
        assert [p for _, p in held] == [b"%d" % i for i in range(30)]
        await transport.close()


async def test_cut_link_fails_waiting_calls_at_once_not_at_their_deadline(
    nats_server: NatsServer,
) -> None:
    async with Proxy(nats_server.port) as proxy:
        transport = await connect(f"nats://127.0.0.1:{proxy.port}")
        await transport.messenger.subscribe("rpc.silent", lambda _: None)
        asking = asyncio.ensure_future(
            transport.messenger.request("rpc.silent", b"", timeout_s=3600)
        )
        await transport.store.ensure_stream(EVT)
        proxy.break_connections()
        with pytest.raises(Unavailable):
            await asyncio.wait_for(asking, 20)
        await transport.close()


async def test_store_limit_of_the_server_refuses_and_keeps_what_was_acknowledged(
    start_nats_server: StartNatsServer,
) -> None:
    server = start_nats_server(jetstream=", max_file_store: 300KB")
    transport = await connect(server.url)
    await transport.store.ensure_stream(EVT)
    results: list[Stored | MeshError] = []
    for size in (1, 40):
        batch = [outgoing("evt.a", bytes(10_000)) for _ in range(size)]
        results += await transport.store.store(batch, timeout_s=10)
    acknowledged = sum(isinstance(r, Stored) for r in results)
    assert 1 < acknowledged < 41
    assert all(isinstance(r, Stored | ResourceExhausted) for r in results)
    assert (await transport.store.stream_state("EVT")).messages == acknowledged
    await transport.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MB."""
    yield from small_disk_at(tmp_path / "disk")


async def test_full_disk_refuses_and_loses_nothing(
    small_disk: Path, start_nats_server: StartNatsServer
) -> None:
    server = start_nats_server(folder=small_disk / "nats")
    options = NatsOptions(ack_timeout_s=0.5, monitor_url=server.monitor_url)
    transport = await connect(server.url, options)
    await transport.store.ensure_stream(EVT)
    first = [outgoing("evt.a", b"%d " % i + bytes(1000)) for i in range(10)]
    assert all(isinstance(r, Stored) for r in await transport.store.store(first, timeout_s=10))
    waste = fill(small_disk)
    more = [outgoing("evt.a", b"%d " % i + bytes(1000)) for i in range(10, 40)]
    results = await transport.store.store(more, timeout_s=20)
    assert isinstance(results[-1], StreamFull)
    acknowledged = [m for m, r in zip(more, results, strict=True) if isinstance(r, Stored)]
    assert [type(r) for r in results[len(acknowledged) :]] == [StreamFull] * (
        len(more) - len(acknowledged)
    )
    waste.unlink()
    await asyncio.to_thread(server.restart)
    held = [p for _, p in await stored_messages(transport)]
    assert held[: 10 + len(acknowledged)] == [m.payload for m in [*first, *acknowledged]]
    again = await transport.store.store(more, timeout_s=20)
    assert all(isinstance(r, Stored) for r in again)
    assert (await transport.store.stream_state("EVT")).messages == 40
    await transport.close()
