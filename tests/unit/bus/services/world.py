"""A world in simulated time: an event loop that jumps to the next timer, services with slots, and open-loop load.

Everything but the wire is real: `Caller`, picker, breakers, budgets and `AdaptiveAdmission` run as in production, and
seconds of load pass in as long as the computing takes. All chance comes from one seed.
"""

from __future__ import annotations

import asyncio
import random
import selectors
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from bus.services.balancing import AdaptiveAdmission, AdmissionSettings
from bus.services.caller import Caller
from bus.services.callers.settings import CallSettings, Hedge
from bus.services.protocol import (
    Agreement,
    Health,
    Instance,
    Load,
    Overloaded,
    Priority,
    Request,
    Response,
    Seen,
)
from bus.telemetry.counters import Counters
from bus.transport.protocol import NoResponders
from schemas.errors import DeadlineExceeded, MeshError

T = TypeVar("T")
SERVICE = "lab"


class _Jump(selectors.DefaultSelector):
    """Waits for nothing: time goes to the next timer instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise AssertionError("the world stands still: nobody will ever wake anybody")
        if not ready and timeout:
            self.now_s += timeout
        return ready


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop on simulated time; also a `Clock`."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        return self._jump.now_s

    def monotonic_s(self) -> float:
        return self.time()

    def now_ms(self) -> int:
        return 1_800_000_000_000 + round(self.time() * 1000)


def simulate(play: Callable[[SimulatedLoop], Coroutine[Any, Any, T]]) -> T:
    """Run a play in a world of its own."""
    loop = SimulatedLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(play(loop))


@dataclass
class Node:
    """One instance: slots, a service time, and what a test does to it."""

    instance: Instance
    loop: SimulatedLoop
    chance: random.Random
    slots: int = 8
    service_s: float = 0.01
    admission: AdaptiveAdmission | None = None
    is_wedged: bool = False
    is_up: bool = True
    is_erring: float = 0.0
    """Share of answers that are `DeadlineExceeded` at once: failures."""
    worked: int = 0
    arrived: int = 0
    free: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self.free = asyncio.Semaphore(self.slots)

    async def work(self, request: Request, left_s: float) -> Response:
        """Serve one request as the real server does: admit, queue for a slot, work, report."""
        self.arrived += 1
        if self.is_wedged:
            await asyncio.Event().wait()
        if self.chance.random() < self.is_erring:
            raise DeadlineExceeded("a failure")
        if self.admission is not None:
            self.admission.admit(request.priority, waited_s=0.0, left_s=left_s)
        began_s = self.loop.time()
        ok = False
        try:
            async with self.free:
                await asyncio.sleep(self.service_s * self.chance.uniform(0.8, 1.2))
            ok = True
        finally:
            if self.admission is not None:
                self.admission.done(self.loop.time() - began_s, ok=ok)
        self.worked += 1
        return Response(type="t", body=b"", instance=self.instance.id, load=Load())


@dataclass
class World:
    """Instances, the registry that knows them, and the channel that reaches them."""

    loop: SimulatedLoop
    seed: int = 1
    way_s: float = 0.000_5
    nodes: dict[str, Node] = field(default_factory=dict)
    seen: dict[str, Seen] = field(default_factory=dict)
    counters: Counters = field(default_factory=Counters)
    sent: int = 0
    sees_death_after_s: float = 0.3
    listeners: list[Callable[[Seen], None]] = field(default_factory=list)
    chance: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)

    def add(
        self,
        name: str,
        *,
        service_s: float = 0.01,
        slots: int = 8,
        admission: AdmissionSettings | None = None,
        site: str = "north",
        zone: str = "",
        is_new: bool = False,
    ) -> Node:
        """Start an instance; the registry knows it at once."""
        started = self.loop.now_ms() - (0 if is_new else 3_600_000)
        instance = Instance(
            service=SERVICE, id=name, version="1.0.0", site=site, zone=zone, started_ms=started
        )
        gate = (
            AdaptiveAdmission(clock=self.loop, counters=self.counters, who=name, settings=admission)
            if admission
            else None
        )
        node = Node(instance, self.loop, self.chance, slots, service_s, gate)
        self.nodes[name] = node
        self.tell(name, Health.HEALTHY)
        return node

    def tell(self, name: str, health: Health) -> None:
        """The registry learns of an instance's health."""
        seen = Seen(instance=self.nodes[name].instance, health=health)
        if health is Health.GONE:
            self.seen.pop(name, None)
        else:
            self.seen[name] = seen
        for listener in self.listeners:
            listener(seen)

    def kill(self, name: str) -> None:
        """The process ends: nobody answers, and the registry notices a little later."""
        node = self.nodes[name]
        node.is_up, node.is_wedged = False, True
        self.loop.call_later(self.sees_death_after_s, self.tell, name, Health.GONE)

    def instances(self, service: str, major: int) -> Sequence[Seen]:
        return list(self.seen.values()) if (service, major) == (SERVICE, 1) else []

    def services(self) -> dict[str, Sequence[Seen]]:
        return {SERVICE: list(self.seen.values())}

    def missing(self, instance: Instance) -> None:
        if instance.id in self.seen:
            self.tell(instance.id, Health.GONE)

    def heard(self, service: str, instance: str, load: Load) -> None:
        pass

    def on_change(self, changed: Callable[[Seen], None]) -> Callable[[], None]:
        self.listeners.append(changed)
        return lambda: self.listeners.remove(changed)

    async def call(
        self, request: Request, *, timeout_s: float, instance: str = "", site: str = ""
    ) -> Response:
        """The channel: a way there, the work, a way back, all within the deadline."""
        self.sent += 1
        node = self.nodes.get(instance) if instance else self._any()
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.sleep(self.way_s)
                if node is None or not node.is_up:
                    raise NoResponders("nobody listens")
                response = await node.work(request, timeout_s - self.way_s)
                await asyncio.sleep(self.way_s)
                return response
        except TimeoutError as error:
            if isinstance(error, MeshError):
                raise
            raise DeadlineExceeded("no answer") from None

    def _any(self) -> Node | None:
        up = [node for node in self.nodes.values() if node.is_up]
        return self.chance.choice(up) if up else None

    def caller(
        self,
        settings: CallSettings | None = None,
        *,
        zone: str = "",
        agreement: Agreement | None = None,
    ) -> Caller:
        """A caller at site north."""
        return Caller(
            self,
            self,
            site="north",
            zone=zone,
            clock=self.loop,
            chance=random.Random(self.seed + 1),
            counters=self.counters,
            settings=settings,
            agreement=agreement,
        )


@dataclass
class Report:
    """What became of the calls of one load."""

    latencies_s: list[float] = field(default_factory=list)
    """Of those that went well."""
    errors: Counter[str] = field(default_factory=Counter)
    ended_s: list[float] = field(default_factory=list)

    @property
    def calls(self) -> int:
        return len(self.latencies_s) + sum(self.errors.values())

    def ms(self, quantile: float) -> float:
        """A quantile of the latencies in milliseconds."""
        ordered = sorted(self.latencies_s)
        return ordered[min(len(ordered) - 1, int(len(ordered) * quantile))] * 1e3

    def __str__(self) -> str:
        tail = f"p50 {self.ms(0.5):.1f} p99 {self.ms(0.99):.1f} ms" if self.latencies_s else ""
        return f"{self.calls} calls, {len(self.latencies_s)} ok, {dict(self.errors)} {tail}"


def request(priority: Priority = Priority.ROUTINE, method: str = "find") -> Request:
    return Request(
        service=SERVICE, major=1, method=method, type="t", body=b"", id=bytes(16), priority=priority
    )


async def load(
    world: World,
    call: Callable[[], Awaitable[object]],
    *,
    per_s: float,
    for_s: float,
) -> Report:
    """Poisson arrivals that do not wait for one another; returns when the last one has ended."""
    report = Report()

    async def one() -> None:
        began_s = world.loop.time()
        try:
            await call()
        except MeshError as error:
            report.errors[error.code] += 1
        else:
            report.latencies_s.append(world.loop.time() - began_s)
            report.ended_s.append(world.loop.time())

    end_s = world.loop.time() + for_s
    async with asyncio.TaskGroup() as tasks:
        while world.loop.time() < end_s:
            await asyncio.sleep(world.chance.expovariate(per_s))
            tasks.create_task(one())
    return report


def why(world: World, report: Report) -> str:
    """Everything that was counted, for the message of an assertion."""
    counts = {f"{n}:{r}": c for (n, _, r), c in sorted(world.counters.snapshot().items())}
    worked = {name: node.worked for name, node in world.nodes.items()}
    return f"{report}; sent {world.sent}; worked {worked}; {counts}"


__all__ = [
    "SERVICE",
    "Hedge",
    "Node",
    "Overloaded",
    "Report",
    "SimulatedLoop",
    "World",
    "load",
    "request",
    "simulate",
    "why",
]
