"""`from medmesh import Mesh`: publish and subscribe durable events from Python, sealed and stored as adapters do it."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol

from adapters.contract import Rights
from bus.clock import SystemClock
from bus.events.protocol import (
    ConsumeSpec,
    Consumption,
    Events,
    Handler,
    NewEvent,
    RetryPolicy,
    StoredEvent,
)
from bus.events.rights import consumer_rights, schedule_rights
from bus.events.schedules.when import When
from bus.flow.priority import Priority
from bus.telemetry.counters import Counters
from medmesh.calling import Calling, check_name
from medmesh.config import load
from medmesh.runtime.calls import Calls
from medmesh.runtime.connection import SiteConnection
from medmesh.runtime.memory import MemoryConnection
from medmesh.runtime.services import Connected, Service, Services
from medmesh.subscription import Subscription
from schemas import subjects
from schemas.clock import Clock
from schemas.errors import Closed, SubjectError
from schemas.subjects import Domain

_CLOSE_S: Final = 10.0
_NAME_PARTS: Final = 2


class Carrier(Connected, Protocol):
    """Transport and trust of a mesh, of a site or in memory, and how to get them."""

    @property
    def name(self) -> str:
        """Under which it is connected to the carrier."""
        ...

    async def start(self) -> None:
        """Reach the mesh."""
        ...

    async def stop(self) -> None:
        """Leave it."""
        ...


class Mesh(Calling):
    """One service of the mesh, in the hands of a Python program: `async with Mesh.connect(…) as mesh`."""

    def __init__(
        self,
        carrier: Carrier,
        service: str,
        clock: Clock,
        counters: Counters,
        *,
        is_alone: bool = False,
    ) -> None:
        chance = random.SystemRandom()
        super().__init__(
            name=subjects.token(service, what="service"),
            configuration=carrier.configuration,
            services=Services(carrier, clock=clock, counters=counters, chance=chance),
            calls=Calls(
                carrier,
                connection_name=carrier.name,
                clock=clock,
                counters=counters,
                chance=chance,
            ),
            counters=counters,
        )
        self._carrier = carrier
        self._clock = clock
        self._is_alone = is_alone
        self._service: Service | None = None
        self._rights = Rights()
        self._subscriptions: list[Subscription] = []
        self._growing = asyncio.Lock()

    @classmethod
    def connect(
        cls, config: str | Path = "mesh.toml", *, service: str, flags: Sequence[str] = ()
    ) -> Mesh:
        """The mesh of a configuration, whose `medmesh up` runs on this machine, in the name of `service`.

        The service gets its certificate from the authority on this machine; it may publish and read what the program
        asks for. `flags` are `key=value` as for `--set`. Raises `ConfigurationError`; entering raises `Unavailable`
        when no mesh runs, `NoAuthority` on a machine that holds none.
        """
        configuration = load(Path(config), flags=flags)
        check_name(service, configuration)
        clock, counters = SystemClock(), Counters()
        connection = SiteConnection(
            configuration,
            name=_own_name(service),
            clock=clock,
            counters=counters,
            owns_server=False,
        )
        return cls(connection, service, clock, counters)

    @classmethod
    def in_memory(cls, *, service: str = "test", site: str = "test") -> Mesh:
        """A mesh for tests: in this process, without a server, sealed and signed like a real one, gone at the end."""
        clock, counters = SystemClock(), Counters()
        connection = MemoryConnection(site, clock, counters, name=_own_name(service))
        return cls(connection, service, clock, counters, is_alone=True)

    async def __aenter__(self) -> Mesh:
        await self._carrier.start()
        try:
            await self._services.start()
            self._rights = self._services.registry.read(self._name)
            if self._is_alone:
                await self._services.open_operator()
                await (await self._services.open_scheduler()).start()
            self._service = await self._services.open(self._name, self._rights)
        except BaseException:
            await self._carrier.stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self._calls.stop(timeout_s=_CLOSE_S)
            await asyncio.gather(*(one.close() for one in self._subscriptions))
            await self._services.drain(timeout_s=_CLOSE_S)
            await self._services.stop()
        finally:
            self._service = None
            await self._carrier.stop()

    async def publish(
        self,
        event: str,
        body: bytes,
        *,
        type: str,
        key: bytes = b"",
        message_id: bytes = b"",
        priority: Priority = Priority.ROUTINE,
        timeout_s: float = 30.0,
    ) -> StoredEvent:
        """Store one event, sealed for whoever may read it; returns when it is on the disk.

        `event` is `<domain>.<name>`, e.g. `patient.admitted`. Events with the same `key` (a patient's identifier)
        stay in order; the key itself goes nowhere. The same `message_id` (16 bytes) is stored once. `priority` says who
        goes first where many wait. Raises
        `SubjectError`, `StreamFull`, `DeadlineExceeded`, `Unavailable`: it may be sent again with the same id;
        `SchemaRefused` for content that its subject is not bound to.
        """
        new = await self.event(
            event, body, type=type, key=key, message_id=message_id, priority=priority
        )
        return await self._opened.events.publish(new, timeout_s=timeout_s)

    async def event(
        self,
        event: str,
        body: bytes,
        *,
        type: str,
        key: bytes = b"",
        message_id: bytes = b"",
        priority: Priority = Priority.ROUTINE,
    ) -> NewEvent:
        """The event that `publish` would store, once the right to publish it is held: for `medmesh.transactions`.

        Raises `SubjectError`, `Unavailable`.
        """
        domain, name = _event_name(event)
        site = self._configuration.site
        kind = f"evt.{site}.{domain.value}.{name}.*"
        # Whoever publishes may read it back: the first event finds a reader even before anyone else has subscribed.
        await self._grow(Rights(publish=(kind,), subscribe=(kind,)))
        partition = subjects.partition_for(self._services.site_key, key or secrets.token_bytes(16))
        return NewEvent(
            subject=subjects.event(site, domain, name, partition),
            type=type,
            body=body,
            message_id=message_id,
            received_ms=self._clock.now_ms(),
            priority=priority,
        )

    @property
    def events(self) -> Events:
        """The bus's own seam, in the name of this service: for relays. Raises `Closed` while the mesh is not open."""
        return self._opened.events

    @property
    def counters(self) -> Counters:
        """What this program counts, for parts that count into it."""
        return self._counters

    async def schedule(
        self,
        name: str,
        event: str,
        body: bytes,
        *,
        type: str,
        key: bytes = b"",
        at_ms: int = 0,
        every_s: float = 0.0,
        cron: str = "",
        time_zone: str = "UTC",
    ) -> int:
        """Have an event published later: once `at_ms` (milliseconds since 1970), every `every_s` seconds, or by `cron`.

        `name` is this program's own, and visible in subjects, so no patient data: a schedule of the same name is
        replaced, `unschedule` takes it back. What is due
        while nothing runs comes once when the site runs again; missed periods are left out. Readers see the service
        `scheduler` as its source, with this one in `on_behalf_of`. Returns when it is due first. Raises
        `ConfigurationError`, `SubjectError`, `SchemaRefused`, `Unavailable`.
        """
        when = When(at_ms=at_ms, every_s=every_s, cron=cron, time_zone=time_zone)
        domain, kind = _event_name(event)
        site = self._configuration.site
        wanted = f"evt.{site}.{domain.value}.{kind}.*"
        await self._grow(
            Rights(
                publish=(wanted, *schedule_rights(site, self._name).publish), subscribe=(wanted,)
            )
        )
        partition = subjects.partition_for(self._services.site_key, key or secrets.token_bytes(16))
        planned = NewEvent(
            subject=subjects.event(site, domain, kind, partition), type=type, body=body
        )
        return await self._services.schedules(self._opened).place(
            subjects.token(name, what="schedule"), planned, when
        )

    async def unschedule(self, name: str) -> bool:
        """Take a schedule of this program back; False when there is none."""
        return await self._services.schedules(self._opened).cancel(name)

    def subscribe(
        self,
        pattern: str,
        *,
        durable: str,
        new_only: bool = False,
        max_attempts: int = 8,
        shared: bool = False,
    ) -> Subscription:
        """Events of this site in order, from where the durable place `durable` was left: `async for event in …`.

        Each event is acknowledged when the loop goes on to the next one; `event.retry()` and `event.reject()` say
        otherwise. Leaving the loop leaves the event in hand unacknowledged: it comes again, unless `event.accept()`
        was called. `new_only` skips what was stored before the place existed. With `shared` any number of programs with
        the same `service` and `durable` share the 64 partitions: each patient's events stay in order and are worked by
        one of them at a time, and `event.fence` tells effects of a former owner. Raises `SubjectError`.
        """
        own = subjects.events_of(self._configuration.site)
        if not subjects.matches(own, subjects.pattern(pattern)):
            raise SubjectError(
                f"{pattern!r} is not within the events of this site: it must begin with {own[:-1]!r}"
            )
        spec = ConsumeSpec(
            name=subjects.token(durable, what="durable"),
            patterns=(pattern,),
            max_in_flight=64,
            retry=RetryPolicy(max_attempts=max_attempts),
            deliver_new=new_only,
            shared=shared,
        )
        subscription = Subscription(self._begin, spec)
        self._subscriptions.append(subscription)
        return subscription

    async def _begin(self, spec: ConsumeSpec, handler: Handler) -> Consumption:
        """Get the rights that a subscription needs, and start it.

        What was stored before this service had any right to it was not sealed for it: its place begins behind that.
        """
        held = self._rights.subscribe
        if not any(subjects.overlaps(right, wanted) for right in held for wanted in spec.patterns):
            spec = replace(spec, deliver_new=True)
        needed = consumer_rights(self._configuration.site, spec.name)
        await self._grow(
            Rights(publish=needed.publish, subscribe=(*spec.patterns, *needed.subscribe))
        )
        return await self._opened.events.consume(spec, handler)

    @property
    def _opened(self) -> Service:
        if self._service is None:
            raise Closed("the mesh is not open: use `async with Mesh.connect(…) as mesh`")
        return self._service

    async def _grow(self, wanted: Rights) -> None:
        """Have more rights certified, once each."""
        _ = self._opened
        async with self._growing:
            if set(wanted.publish) <= set(self._rights.publish) and set(wanted.subscribe) <= set(
                self._rights.subscribe
            ):
                return
            rights = self._services.registry.add(self._name, wanted)
            await self._services.open(self._name, rights)
            self._rights = Rights(
                publish=(*rights.publish, *wanted.publish),
                subscribe=(*rights.subscribe, *wanted.subscribe),
            )


def _own_name(service: str) -> str:
    """The connection's name, of this process alone: when it ends, discovery knows who is gone."""
    return f"{service}/{secrets.token_hex(4)}"


def _event_name(event: str) -> tuple[Domain, str]:
    parts = event.split(".")
    if len(parts) != _NAME_PARTS or parts[0] not in set(Domain):
        raise SubjectError(
            f"{event!r} is no event: write <domain>.<name>; domains: {', '.join(Domain)}"
        )
    return Domain(parts[0]), subjects.token(parts[1], what="event")


__all__ = ["Mesh"]
