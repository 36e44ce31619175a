"""Instances of a service, each with its own connection, on a real server: sealed calls, leases, heartbeats and all."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bus.clock import SystemClock
from bus.services.balancing import AdaptiveAdmission, AdmissionSettings
from bus.services.caller import Caller
from bus.services.channel import SealedChannel
from bus.services.discovery import Announcer, DiscoverySettings, MeshRegistry
from bus.services.protocol import CallContext, Method, Offer, Request
from bus.services.rights import caller_rights, service_rights
from bus.services.server import Server
from bus.telemetry.counters import Counters
from bus.transport import nats
from bus.transport.nats import NatsTransport
from bus.trust import Trust
from bus.trust.identity import ServiceIdentity
from bus.trust.records import InstanceSeals
from medmesh.runtime.seals import ServiceSeals
from schemas.errors import MeshError
from schemas.subjects import SiteId

NORTH = SiteId("north")
SERVICE = "lab"
DISCOVERY = DiscoverySettings(heartbeat_s=0.3, renew_s=0.5, lease_s=2.0, tick_s=0.1)
NAMES = ("a", "b", "c", "d")


@dataclass
class Work:
    """What the handler of one instance does; a test changes it."""

    service_s: float = 0.01
    slots: int = 8
    is_wedged: bool = False
    worked: int = 0
    free: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self.free = asyncio.Semaphore(self.slots)

    async def __call__(self, body: bytes, call: CallContext) -> bytes:
        if self.is_wedged:
            await asyncio.Event().wait()
        async with self.free:
            await asyncio.sleep(self.service_s)
        self.worked += 1
        return body


@dataclass
class Running:
    """One instance."""

    name: str
    work: Work
    transport: NatsTransport
    server: Server
    announcer: Announcer
    admission: AdaptiveAdmission

    async def leave(self) -> None:
        """Drain and stop, as a rolling restart does."""
        await self.announcer.draining()
        await self.server.drain(timeout_s=2.0)
        await self.announcer.stop()
        await self.server.stop()
        await self.transport.close()

    async def die(self) -> None:
        """The connection ends; nothing is given back, nothing answered."""
        await self.transport.close()


class Mesh:
    """The instances, and one caller with its own connection."""

    def __init__(self, url: str, trust: Trust, counters: Counters, chance: random.Random) -> None:
        self.url = url
        self.counters = counters
        self.chance = chance
        self.running: dict[str, Running] = {}
        self.caller: Caller
        self.registry: MeshRegistry
        self._trust = trust
        self._clock = SystemClock()
        self._starts = 0
        self._identities: dict[str, ServiceIdentity] = {}
        self._closing: list[Callable[[], Awaitable[object]]] = []

    async def start(self, names: tuple[str, ...] = NAMES, **slow: float) -> None:
        """Start the instances (`a=0.1` makes one slow) and the caller; returns when it knows all."""
        caller = caller_rights(NORTH, SERVICE, 1, caller="emr")
        serving = service_rights(NORTH, _offer(Work()))
        for service, rights in (("emr", caller), (SERVICE, serving)):
            self._identities[service] = await self._trust.identity(
                service, publish=rights.publish, subscribe=rights.subscribe
            )
        for name in names:
            await self.launch(name, service_s=slow.get(name, 0.01))
        transport = await self._connect("emr")
        self.registry = MeshRegistry(
            transport,
            InstanceSeals(self._identities["emr"], self._trust, self._clock),
            site=NORTH,
            clock=self._clock,
            settings=DISCOVERY,
            counters=self.counters,
        )
        await self.registry.start()
        channel = SealedChannel(
            site=NORTH,
            transport=transport,
            seals=self._seals("emr"),
            clock=self._clock,
            counters=self.counters,
        )
        self.caller = Caller(
            channel,
            self.registry,
            site=NORTH,
            clock=self._clock,
            chance=self.chance,
            counters=self.counters,
        )
        self._closing = [channel.stop, self.registry.stop, transport.close]
        await self.until_known(len(names))

    async def until_known(self, count: int) -> None:
        """Wait until the caller's table holds so many instances."""
        changed = asyncio.Event()
        stop = self.registry.on_change(lambda _: changed.set())
        async with asyncio.timeout(10.0):
            while len(self.registry.instances(SERVICE, 1)) < count:
                await changed.wait()
                changed.clear()
        stop()

    async def launch(
        self, name: str, *, service_s: float = 0.01, admission: AdmissionSettings | None = None
    ) -> Running:
        """Start an instance, anew after it was gone."""
        self._starts += 1
        identity = self._identities[SERVICE]
        instance = f"{identity.certificate.instance}-{name}{self._starts}"
        transport = await self._connect(instance)
        work = Work(service_s)
        gate = AdaptiveAdmission(
            clock=self._clock, counters=self.counters, who=SERVICE, settings=admission
        )
        offer = _offer(work)
        server = Server(
            offer,
            instance=instance,
            site=NORTH,
            transport=transport,
            seals=self._seals(SERVICE),
            admission=gate,
            clock=self._clock,
            counters=self.counters,
        )
        await server.start()
        announcer = Announcer(
            transport,
            InstanceSeals(identity, self._trust, self._clock),
            offer=offer,
            site=NORTH,
            instance=instance,
            connection=instance,
            load=server.load,
            clock=self._clock,
            rng=self.chance,
            settings=DISCOVERY,
            counters=self.counters,
        )
        await announcer.start()
        self.running[name] = Running(name, work, transport, server, announcer, gate)
        return self.running[name]

    async def stop(self) -> None:
        """End everything."""
        self.caller.close()
        for one in self.running.values():
            await one.announcer.stop()
            await one.server.stop()
            await one.transport.close()
        for close in self._closing:
            await close()

    async def load(
        self, *, per_s: float, for_s: float, timeout_s: float = 3.0, idempotent: bool = False
    ) -> Report:
        """Poisson arrivals that do not wait for one another."""
        loop = asyncio.get_running_loop()
        report = Report()
        at_s = loop.time()
        end_s = at_s + for_s
        async with asyncio.TaskGroup() as tasks:
            while at_s < end_s:
                at_s += self.chance.expovariate(per_s)
                await asyncio.sleep(max(0.0, at_s - loop.time()))
                tasks.create_task(self._one(report, timeout_s, idempotent))
        return report

    async def _one(self, report: Report, timeout_s: float, idempotent: bool) -> None:
        began_s = self._clock.monotonic_s()
        request = Request(service=SERVICE, major=1, method="find", type="t", body=b"x")
        try:
            await self.caller.call(request, timeout_s=timeout_s, idempotent=idempotent)
        except MeshError as error:
            report.errors[f"{error.code}: {error}"[:120]] += 1
        else:
            report.latencies_s.append(self._clock.monotonic_s() - began_s)

    def why(self, report: Report) -> str:
        """Everything that was counted."""
        counts: Counter[str] = Counter()
        for (name, _, reason), count in self.counters.snapshot().items():
            counts[f"{name}:{reason}"] += count
        worked = {name: one.work.worked for name, one in self.running.items()}
        return f"{report}; worked {worked}; {dict(counts)}"

    async def _connect(self, name: str) -> NatsTransport:
        return await nats.connect([self.url], name=name, counters=self.counters, rng=self.chance)

    def _seals(self, service: str) -> ServiceSeals:
        return ServiceSeals(
            identity=self._identities[service], trust=self._trust, clock=self._clock
        )


@dataclass
class Report:
    """What became of the calls."""

    latencies_s: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)

    @property
    def calls(self) -> int:
        return len(self.latencies_s) + self.failed

    @property
    def failed(self) -> int:
        return sum(self.errors.values())

    def __str__(self) -> str:
        ordered = sorted(self.latencies_s) or [0.0]
        p50, p99 = (ordered[int(len(ordered) * q)] * 1e3 for q in (0.5, 0.99))
        return f"{self.calls} calls, {self.failed} failed {dict(self.errors)}, p50 {p50:.0f} p99 {p99:.0f} ms"


def _offer(work: Work) -> Offer:
    return Offer(
        name=SERVICE,
        version="1.0.0",
        methods=(Method(name="find", handler=work, is_idempotent=True),),
    )


@asynccontextmanager
async def running_mesh(url: str, folder: Path, *, seed: int = 1) -> AsyncIterator[Mesh]:
    """A mesh with trust of its own; ends with the block."""
    counters, clock = Counters(), SystemClock()
    transport = await nats.connect([url], name="trust")
    trust = await Trust.open(
        folder / "trust",
        mesh="st-elsewhere",
        site=NORTH,
        buckets=transport,
        clock=clock,
        counters=counters,
        passphrase=lambda: "",
    )
    mesh = Mesh(url, trust, counters, random.Random(seed))
    try:
        yield mesh
    finally:
        await mesh.stop()
        await trust.stop()
        await transport.close()
