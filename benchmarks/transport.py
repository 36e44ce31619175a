"""What a message costs the client: the transport's fast path against nats-py, both on uvloop, in one run.

    python -m benchmarks.transport [--json] [--rounds 5] [publish request …]

Processor time of the client's process per message (`time.process_time`), each cell measured in turn by every side in
each round; medians. nats-py is used as its documentation says: `publish`, a callback subscription, `request`,
`respond`, `js.publish` and `fetch` with `ack`. Ours goes through the public seam alone. The server and the other end of
a conversation (a quick one, the same for both) run in processes of their own, and their time is not counted.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import json
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import nats as nats_py
import uvloop
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import StorageType

from bus.transport.nats import Credentials, NatsOptions, NatsTransport, connect
from bus.transport.protocol import (
    ConsumerSpec,
    Delivery,
    DurableConsumer,
    Incoming,
    Outgoing,
    Stored,
)
from bus.transport.server import EmbeddedServer
from bus.transport.server_files import Access

BODY: Final = bytes(256)
HEADERS: Final = {
    "Content-Type": "hl7v2",
    "Trace": "00-4bf92f3577b34da6a3ce929d0e0e4736-01",
    "N": "1",
}
BUDGETS: Final = {
    "publish": 3.0,
    "publish_headers": 3.0,
    "subscribe": 2.0,
    "request": 2.0,
    "respond": None,
    "store": None,
    "pull": 5.0,
}
SAYS: Final = {
    "publish": "publish, 256 B",
    "publish_headers": "publish, 256 B, 3 headers",
    "subscribe": "subscribe, 256 B",
    "request": "request, 64 at a time",
    "respond": "respond, 64 at a time",
    "store": "JetStream publish, 256 under way",
    "pull": "pull and acknowledge, 100",
}
LARGE, SMALL = 20_000, 8_000
_DEADLINE_S: Final = 60.0


@dataclass(kw_only=True)
class Bench:
    """Both sides on one server, and a second process that talks to them."""

    plain: Client
    js: JetStreamContext
    ours: NatsTransport
    peer: Peer


class Peer:
    """A process that answers, asks and publishes on order."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, access: Access) -> Peer:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks.transport", "--peer"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        peer = cls(process)
        login = {"server": access.servers[0], "user": access.user, "password": access.password}
        await peer.order(login)
        return peer

    async def order(self, fields: Mapping[str, object]) -> None:
        """Give an order and wait until it is carried out."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(fields).encode() + b"\n")
        async with asyncio.timeout(_DEADLINE_S):
            answer = await self._process.stdout.readline()
        assert answer == b"done\n", answer

    async def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()


async def run_peer() -> None:
    """Carry out orders from standard input."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    login = json.loads(await reader.readline())
    credentials = Credentials(user=login["user"], password=login["password"])
    transport = await connect([login["server"]], name="peer", credentials=credentials)
    messenger = transport.messenger

    def echo(message: Incoming) -> None:
        messenger.send(message.reply, message.payload)

    await messenger.subscribe("bench.echo", echo)
    print("done", flush=True)
    while line := await reader.readline():
        order = json.loads(line)
        subject, count = order["subject"], order["count"]
        if order["do"] == "publish":
            for _ in range(count):
                await messenger.publish(subject, BODY)
        else:
            ask = functools.partial(messenger.request, subject, BODY, timeout_s=_DEADLINE_S)
            await ask_many(count, ask)
        print("done", flush=True)
    await transport.close()


async def ask_many(count: int, ask: Callable[[], Awaitable[object]], at_a_time: int = 64) -> None:
    """`count` calls, so many at a time."""
    left = count

    async def one_after_another() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await ask()

    async with asyncio.TaskGroup() as group:
        for _ in range(at_a_time):
            group.create_task(one_after_another())


class Countdown:
    """Counts what comes; `done` is set with the last."""

    def __init__(self, count: int) -> None:
        self._left = count
        self.done = asyncio.Event()

    def one(self) -> None:
        self._left -= 1
        if not self._left:
            self.done.set()

    async def wait(self) -> None:
        async with asyncio.timeout(_DEADLINE_S):
            await self.done.wait()


# -- nats-py as its documentation says ---------------------------------------------------------------


async def settle(client: Client) -> None:
    """Return when the server has taken in everything: nats-py writes the ping of a flush ahead of what is queued."""
    await client.flush()
    await client.flush()


async def plain_publish(bench: Bench, count: int) -> None:
    for _ in range(count):
        await bench.plain.publish("bench.out", BODY)
    await settle(bench.plain)


async def plain_publish_headers(bench: Bench, count: int) -> None:
    for _ in range(count):
        await bench.plain.publish("bench.out", BODY, headers=HEADERS)
    await settle(bench.plain)


async def plain_subscribe(bench: Bench, count: int) -> None:
    countdown = Countdown(count)

    async def arrived(message: Msg) -> None:
        countdown.one()

    subscription = await bench.plain.subscribe("bench.in.plain", cb=arrived)
    await settle(bench.plain)
    await bench.peer.order({"do": "publish", "subject": "bench.in.plain", "count": count})
    await countdown.wait()
    await subscription.unsubscribe()


async def plain_request(bench: Bench, count: int) -> None:
    await ask_many(count, lambda: bench.plain.request("bench.echo", BODY, timeout=_DEADLINE_S))


async def plain_respond(bench: Bench, count: int) -> None:
    async def answer(message: Msg) -> None:
        await message.respond(BODY)

    subscription = await bench.plain.subscribe("bench.rpc.plain", cb=answer)
    await settle(bench.plain)
    await bench.peer.order({"do": "ask", "subject": "bench.rpc.plain", "count": count})
    await subscription.unsubscribe()


async def plain_store(bench: Bench, count: int) -> None:
    async def store() -> None:
        message_id = {"Nats-Msg-Id": secrets.token_hex(8)}
        await bench.js.publish("bench.js.a", BODY, headers=message_id, timeout=_DEADLINE_S)

    await ask_many(count, store, at_a_time=256)


async def plain_pull(bench: Bench, count: int) -> None:
    subscription = await bench.js.pull_subscribe("bench.js.>", durable=_fresh())
    left = count
    while left > 0:
        for message in await subscription.fetch(min(100, left), timeout=_DEADLINE_S):
            await message.ack()
            left -= 1
    await settle(bench.plain)
    await subscription.unsubscribe()


# -- ours, through the seam --------------------------------------------------------------------------


async def our_publish(bench: Bench, count: int) -> None:
    publish = bench.ours.messenger.publish
    for _ in range(count):
        await publish("bench.out", BODY)
    await _flush(bench)


async def our_publish_headers(bench: Bench, count: int) -> None:
    publish = bench.ours.messenger.publish
    for _ in range(count):
        await publish("bench.out", BODY, headers=HEADERS)
    await _flush(bench)


async def _flush(bench: Bench) -> None:
    """A first message of a subject waits until the server has taken in everything before it."""
    await bench.ours.messenger.publish(f"bench.flush.{secrets.token_hex(4)}", b"")


async def our_subscribe(bench: Bench, count: int) -> None:
    countdown = Countdown(count)

    def arrived(message: Incoming) -> None:
        countdown.one()

    subscription = await bench.ours.messenger.subscribe("bench.in.ours", arrived)
    await bench.peer.order({"do": "publish", "subject": "bench.in.ours", "count": count})
    await countdown.wait()
    await subscription.close()


async def our_request(bench: Bench, count: int) -> None:
    request = bench.ours.messenger.request
    await ask_many(count, lambda: request("bench.echo", BODY, timeout_s=_DEADLINE_S))


async def our_respond(bench: Bench, count: int) -> None:
    send = bench.ours.messenger.send

    def answer(message: Incoming) -> None:
        send(message.reply, BODY)

    subscription = await bench.ours.messenger.subscribe("bench.rpc.ours", answer)
    await bench.peer.order({"do": "ask", "subject": "bench.rpc.ours", "count": count})
    await subscription.close()


async def our_store(bench: Bench, count: int) -> None:
    async def store() -> None:
        message = Outgoing(subject="bench.js.a", payload=BODY, message_id=secrets.token_hex(8))
        [result] = await bench.ours.store.store([message], timeout_s=_DEADLINE_S)
        assert isinstance(result, Stored), result

    await ask_many(count, store, at_a_time=256)


class Worker:
    """Acknowledges each delivery and gives its credit back."""

    def __init__(self, count: int) -> None:
        self.countdown = Countdown(count)
        self.consumer: DurableConsumer | None = None

    def delivered(self, delivery: Delivery) -> None:
        assert self.consumer is not None
        self.consumer.acknowledge(delivery)
        self.consumer.credit(1)
        self.countdown.one()

    def interrupted(self, reason: str) -> None:
        raise AssertionError(reason)


async def our_pull(bench: Bench, count: int) -> None:
    worker = Worker(count)
    spec = ConsumerSpec(stream="bench", name=_fresh(), patterns=("bench.js.>",))
    worker.consumer = consumer = await bench.ours.store.consume(spec, worker)
    consumer.credit(100)
    await worker.countdown.wait()
    await consumer.close()


def _fresh() -> str:
    return f"c{secrets.token_hex(6)}"


Work = Callable[[Bench, int], Awaitable[None]]
CELLS: Final[dict[str, tuple[int, Work, Work]]] = {
    "publish": (LARGE * 2, plain_publish, our_publish),
    "publish_headers": (LARGE, plain_publish_headers, our_publish_headers),
    "subscribe": (LARGE, plain_subscribe, our_subscribe),
    "request": (SMALL, plain_request, our_request),
    "respond": (SMALL, plain_respond, our_respond),
    "store": (SMALL, plain_store, our_store),
    "pull": (SMALL, plain_pull, our_pull),
}


async def cost_us(work: Work, bench: Bench, count: int) -> float:
    """Microseconds of this process's processor time per message."""
    began = time.process_time()
    await work(bench, count)
    return (time.process_time() - began) / count * 1e6


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[Bench]:
    """A server, both sides and the peer. The stream is in memory: no disk takes part."""
    with tempfile.TemporaryDirectory(prefix="medmesh-bench-") as scratch:
        server = EmbeddedServer(Path(scratch) / "nats")
        access = await server.start()
        plain = await nats_py.connect(access.servers[0], user=access.user, password=access.password)
        ours = await connect(
            access.servers,
            name="bench",
            credentials=Credentials(user=access.user, password=access.password),
            options=NatsOptions(),
        )
        js = plain.jetstream()
        await js.add_stream(name="bench", subjects=["bench.js.>"], storage=StorageType.MEMORY)
        peer = await Peer.start(access)
        try:
            yield Bench(plain=plain, js=js, ours=ours, peer=peer)
        finally:
            await peer.stop()
            await ours.close()
            await plain.close()
            await server.stop()


async def measure(rounds: int, wanted: list[str]) -> dict[str, tuple[float, float]]:
    """Median cost by cell: nats-py's and ours."""
    seen: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in wanted}
    async with running() as bench:
        if "pull" in wanted:  # what there is to pull
            await our_store(bench, SMALL)
        for name in wanted:  # warm up: connections, caches, first messages of subjects
            _, plain, ours = CELLS[name]
            await plain(bench, 100)
            await ours(bench, 100)
        for turn in range(rounds):
            for name in wanted:
                count, plain, ours = CELLS[name]
                sides = [(0, plain), (1, ours)]
                for side, work in sides if turn % 2 else reversed(sides):
                    seen[name][side].append(await cost_us(work, bench, count))
    return {name: (statistics.median(p), statistics.median(o)) for name, (p, o) in seen.items()}


def show(costs: dict[str, tuple[float, float]]) -> None:
    """Print a table."""
    print(f"{'':<34}{'nats-py':>10}{'ours':>10}{'ratio':>8}   budget")
    for name, (plain, ours) in costs.items():
        budget = BUDGETS[name]
        said = "" if budget is None else f"{budget:.0f}x"
        print(f"{SAYS[name]:<34}{plain:>8.1f}us{ours:>8.1f}us{plain / ours:>7.1f}x   {said}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("cells", nargs="*", default=[], metavar="cell", help=", ".join(CELLS))
    arguments = parser.parse_args()
    if arguments.peer:
        uvloop.run(run_peer())
        return
    unknown = set(arguments.cells) - set(CELLS)
    if unknown:
        parser.error(f"no such cell: {', '.join(sorted(unknown))}")
    costs = uvloop.run(measure(arguments.rounds, arguments.cells or list(CELLS)))
    if not arguments.json:
        show(costs)
        return
    print(
        json.dumps(
            {
                name: {
                    "nats_py_us": round(plain, 2),
                    "ours_us": round(ours, 2),
                    "ratio": round(plain / ours, 2),
                    "budget": BUDGETS[name],
                }
                for name, (plain, ours) in costs.items()
            }
        )
    )


if __name__ == "__main__":
    main()
