"""A service and its callers for tests: on any transport, with seals on paper or real ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from bus.envelope.seals import Seals
from bus.flow.priority import Priority
from bus.services.channel import Carries, ChannelLimits, SealedChannel
from bus.services.limits import ServerLimits
from bus.services.protocol import CallContext, Method, Offer, Overloaded, Request
from bus.services.server import Server
from bus.telemetry.counters import Counters
from bus.transport.memory import MemoryBroker
from schemas.clock import Clock
from schemas.subjects import SiteId
from tests.unit.bus.events.kit import LoopClock, PaperSeals, Vault

SITE = SiteId("north")
DEADLINE_S = 20.0


class Slots:
    """`Admission` with a fixed number of slots."""

    def __init__(self, limit: int = 10_000) -> None:
        self.limit = limit
        self.in_flight = 0
        self.asked: list[tuple[Priority, float, float]] = []
        self.ended: list[bool] = []

    def admit(self, priority: Priority, *, waited_s: float, left_s: float) -> None:
        self.asked.append((priority, waited_s, left_s))
        if self.in_flight >= self.limit:
            raise Overloaded(f"{self.in_flight} calls in work", retry_after_s=0.25)
        self.in_flight += 1

    def done(self, took_s: float, *, ok: bool) -> None:
        self.in_flight -= 1
        self.ended.append(ok)


@dataclass
class Calls:
    """Handlers that a test watches and holds."""

    seen: list[CallContext] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    begun: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    cancelled: int = 0
    error: Exception | None = None

    async def echo(self, body: bytes, call: CallContext) -> bytes:
        self.seen.append(call)
        return body

    async def hold(self, body: bytes, call: CallContext) -> bytes:
        """Waits for the gate."""
        self.seen.append(call)
        self.begun.release()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return body

    async def fail(self, body: bytes, call: CallContext) -> bytes:
        self.seen.append(call)
        assert self.error is not None
        raise self.error

    async def started(self, count: int) -> None:
        """Return when so many calls of `hold` have begun."""
        async with asyncio.timeout(DEADLINE_S):
            for _ in range(count):
                await self.begun.acquire()

    def offer(self, **more: Any) -> Offer:
        """`echo`, `hold`, `fail` act once only; `again`, `hold-again`, `fail-again` may act twice."""
        handlers = {"echo": self.echo, "hold": self.hold, "fail": self.fail}
        twice = {"again": self.echo, "hold-again": self.hold, "fail-again": self.fail}
        return Offer(
            name="beds",
            version="1.2.0",
            methods=(
                *(Method(name=name, handler=one) for name, one in handlers.items()),
                *(Method(name=n, handler=one, is_idempotent=True) for n, one in twice.items()),
            ),
            **more,
        )


@dataclass
class Ward:
    """One server of `beds`, and how to call it."""

    server: Server
    calls: Calls
    admission: Slots
    counters: Counters
    connect: Callable[[str], Awaitable[tuple[Carries, Seals]]]
    clock: Clock
    channels: list[SealedChannel] = field(default_factory=list)

    async def channel(self, name: str = "emr", **limits: Any) -> SealedChannel:
        """A channel of a service on a connection of its own."""
        transport, seals = await self.connect(name)
        channel = SealedChannel(
            site=SITE,
            transport=transport,
            seals=seals,
            clock=self.clock,
            counters=self.counters,
            limits=ChannelLimits(**limits),
        )
        self.channels.append(channel)
        return channel


@asynccontextmanager
async def serving(
    connect: Callable[[str], Awaitable[tuple[Carries, Seals]]],
    *,
    calls: Calls | None = None,
    offer: Offer | None = None,
    limit: int = 10_000,
    clock: Clock | None = None,
    instance: str = "a1",
    **limits: Any,
) -> AsyncIterator[Ward]:
    """Run a server of `beds`; `connect(name)` gives a service its transport and seals."""
    clock, counters, admission = clock or LoopClock(), Counters(), Slots(limit)
    calls = calls or Calls()
    transport, seals = await connect("beds")
    async with running(
        offer or calls.offer(), transport, seals, instance=instance, admission=admission,
        clock=clock, counters=counters, **limits,
    ) as server:  # fmt: skip
        ward = Ward(server, calls, admission, counters, connect, clock)
        try:
            yield ward
        finally:
            calls.gate.set()
            for channel in ward.channels:
                await channel.stop()


@asynccontextmanager
async def running(
    offer: Offer,
    transport: Carries,
    seals: Seals,
    *,
    instance: str = "a1",
    admission: Slots | None = None,
    clock: Clock | None = None,
    counters: Counters | None = None,
    **limits: Any,
) -> AsyncIterator[Server]:
    """Run a server."""
    server = Server(
        offer,
        instance=instance,
        site=SITE,
        transport=transport,
        seals=seals,
        admission=admission or Slots(),
        clock=clock or LoopClock(),
        counters=counters or Counters(),
        limits=ServerLimits(**limits),
    )
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@dataclass
class Paper:
    """Seals on paper over an in-memory broker."""

    broker: MemoryBroker = field(default_factory=MemoryBroker)
    vault: Vault = field(default_factory=Vault)
    seals: dict[str, PaperSeals] = field(default_factory=dict)

    async def __call__(self, name: str) -> tuple[Carries, Seals]:
        """A connection and the seals of a service."""
        seals = self.seals[name] = PaperSeals(self.vault, service=name)
        return await self.broker.connect(name=name), seals


def request(method: str = "echo", body: bytes = b"ward 3", **more: Any) -> Request:
    """A request to `beds`."""
    fields: dict[str, Any] = {"type": "application/octet-stream", "major": 1, **more}
    return Request(service="beds", method=method, body=body, **fields)
