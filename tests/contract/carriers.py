"""The carriers that must pass one suite, and a reader that tests can wait on."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Protocol

from bus.telemetry.counters import Counters
from bus.transport import nats
from bus.transport.memory import MemoryBroker, MemoryTransport
from bus.transport.nats import Credentials, NatsOptions, NatsTransport
from bus.transport.protocol import Delivery, DurableConsumer, Outgoing, Transport
from tests.nats_server import NatsServer

DEADLINE_S = 20.0
ids = itertools.count(1)

PERMISSIONS = """
authorization { users: [
  { user: all, password: x }
  { user: limited, password: x, permissions: {
      publish: { deny: ["secret.>", "evt.secret.>"] }, subscribe: { deny: ["secret.>"] } } }
] }
"""


class Carrier(Protocol):
    """A carrier whose connections a test can break."""

    async def connect(self) -> Transport: ...

    async def connect_limited(self) -> Transport:
        """A connection that may neither publish nor subscribe `secret.>`, nor publish `evt.secret.>`."""
        ...

    async def cut(self) -> None:
        """Take the carrier away until `restore`."""
        ...

    async def restore(self) -> None: ...

    async def close(self) -> None: ...


class MemoryCarrier:
    def __init__(self) -> None:
        self.broker = MemoryBroker()
        self._open: list[MemoryTransport] = []

    async def connect(self) -> Transport:
        self._open.append(await self.broker.connect())
        return self._open[-1]

    async def connect_limited(self) -> Transport:
        transport = await self.broker.connect(
            deny_publish=("secret.>", "evt.secret.>"), deny_subscribe=("secret.>",)
        )
        self._open.append(transport)
        return transport

    async def cut(self) -> None:
        self.broker.disconnect_all()

    async def restore(self) -> None:
        self.broker.reconnect_all()

    async def close(self) -> None:
        for transport in self._open:
            await transport.close()


class NatsCarrier:
    def __init__(self, server: NatsServer, *, fast: bool = True) -> None:
        self.server = server
        self.fast = fast
        self._open: list[NatsTransport] = []

    async def connect(self, **options: float) -> Transport:
        chosen = NatsOptions(monitor_url=self.server.monitor_url, fast=self.fast)
        return await self._connect("all", chosen)

    async def connect_limited(self) -> Transport:
        return await self._connect("limited", NatsOptions(fast=self.fast))

    async def _connect(self, user: str, options: NatsOptions) -> Transport:
        counters = Counters()
        transport = await nats.connect(
            [self.server.url],
            name=f"{user}-{len(self._open)}",
            credentials=Credentials(user=user, password="x"),
            options=options,
            counters=counters,
        )
        assert counters.get("fast_path_unavailable") == 0, counters.snapshot()
        self._open.append(transport)
        return transport

    async def cut(self) -> None:
        await asyncio.to_thread(self.server.kill)

    async def restore(self) -> None:
        await asyncio.to_thread(self.server.start)

    async def close(self) -> None:
        for transport in self._open:
            await transport.close()


class Changes:
    """Something that a test can wait on."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def changed(self) -> None:
        self._event.set()
        self._event = asyncio.Event()

    async def until(self, done: Callable[[], bool], what: str = "what the test waits for") -> None:
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not done():
                    await self._event.wait()
        except TimeoutError:
            raise AssertionError(f"{what} did not happen within {DEADLINE_S} s") from None


class Reader(Changes):
    """`ConsumerEvents` that keeps what it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.deliveries: list[Delivery] = []
        self.interruptions: list[str] = []

    def delivered(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)
        self.changed()

    def interrupted(self, reason: str) -> None:
        self.interruptions.append(reason)
        self.changed()

    @property
    def seqs(self) -> list[int]:
        return [delivery.seq for delivery in self.deliveries]

    async def get(self, count: int) -> list[Delivery]:
        """Wait until `count` deliveries came in all."""
        await self.until(lambda: len(self.deliveries) >= count, f"delivery {count}")
        return self.deliveries

    async def wait_interrupted(self) -> str:
        await self.until(lambda: bool(self.interruptions), "the interruption")
        return self.interruptions[-1]


class OrderedReader(Reader):
    """Acknowledges at once, gives the credit back, rewinds by itself; keeps each message's first delivery."""

    def __init__(self) -> None:
        super().__init__()
        self.consumer: DurableConsumer | None = None
        self.done = 0
        self.payloads: list[bytes] = []
        self._rewinds: set[asyncio.Task[None]] = set()

    def has_done(self, count: int) -> bool:
        """Whether the first `count` messages of the stream came."""
        return self.done >= count

    def delivered(self, delivery: Delivery) -> None:
        assert self.consumer is not None
        if delivery.seq > self.done:
            self.payloads.append(delivery.payload)
            self.done = delivery.seq
        self.consumer.acknowledge(delivery)
        self.consumer.credit(1)
        self.changed()

    def interrupted(self, reason: str) -> None:
        assert self.consumer is not None
        super().interrupted(reason)
        task = asyncio.ensure_future(self.consumer.rewind(self.done + 1))
        self._rewinds.add(task)
        task.add_done_callback(self._rewinds.discard)


async def eventually(done: Callable[[], Awaitable[bool] | bool], what: str) -> None:
    """Ask until it is so, within the deadline: for states that report to nobody."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            while True:
                so = done()
                if so if isinstance(so, bool) else await so:
                    return
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"{what} did not happen within {DEADLINE_S} s") from None


def outgoing(subject: str, payload: bytes = b"x", message_id: str = "") -> Outgoing:
    """A message with an id of its own."""
    return Outgoing(subject=subject, payload=payload, message_id=message_id or f"id-{next(ids)}")
