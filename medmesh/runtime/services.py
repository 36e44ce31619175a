"""Services of one process: an identity, seals and events for each; the remembered ones of other programs kept alive."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from adapters.contract import Rights
from bus.bodies import BodyCodec, BodyPolicy
from bus.catalogue import BindingVerifier, Catalogue
from bus.events.bodies import Bodies
from bus.events.events import MeshEvents
from bus.events.path import StorePath
from bus.events.rights import auditor_rights, operator_rights, scheduler_rights
from bus.events.schedules.orders import Schedules
from bus.events.schedules.scheduler import SCHEDULER, Scheduler
from bus.events.streams import StreamLimits, event_stream, schedule_stream
from bus.flow import QuotaLimits
from bus.services.protocol import Agreement
from bus.telemetry.counters import Counters
from bus.transport.protocol import ConsumerState, LinkState, NotFound, Transport
from bus.trust import Trust
from bus.trust.identity import ServiceIdentity
from medmesh.config import Configuration
from medmesh.runtime.registry import ServiceRegistry
from medmesh.runtime.seals import ServiceSeals
from schemas.clock import Clock
from schemas.registry.models import Mode

OPERATOR: Final = "operator"
"""The service in whose name `medmesh dlq` lists and replays."""
AUDITOR: Final = "auditor"
"""The service in whose name access records are read."""


class Connected(Protocol):
    """What services stand on: a configuration, and transport and trust that were started."""

    @property
    def configuration(self) -> Configuration:
        """The site's configuration."""
        ...

    @property
    def transport(self) -> Transport:
        """The connection to the carrier."""
        ...

    @property
    def trust(self) -> Trust:
        """Keys and certificates."""
        ...


@dataclass(frozen=True, slots=True)
class Service:
    """One service as this process runs it."""

    name: str
    identity: ServiceIdentity
    seals: ServiceSeals
    events: MeshEvents
    agreement: Agreement | None = None
    """What calls in its name are held to."""


class Services:
    """Opens services on a connection that was started; `start`, `drain`, `stop`."""

    def __init__(
        self,
        connection: Connected,
        *,
        clock: Clock,
        counters: Counters,
        chance: random.Random,
    ) -> None:
        self._connection = connection
        self._clock = clock
        self._counters = counters
        self._chance = chance
        self._open: dict[str, Service] = {}
        self._registered: dict[str, Rights] = {}
        settings = connection.configuration.settings
        self.registry = ServiceRegistry(settings.mesh.data / "services")
        self._limits = StreamLimits(
            max_bytes=settings.limits.event_bytes,
            dead_letter_bytes=settings.limits.dead_letter_bytes,
            audit_bytes=settings.limits.access_bytes,
            replicas=settings.nats.replicas,
        )
        self._quota = QuotaLimits(
            events_per_s=settings.limits.events_per_s,
            bytes_per_s=settings.limits.bytes_per_s,
            wait_s=settings.limits.rate_wait_s,
        )
        self._path = StorePath(clock)  # one connection, one way
        self._policy = BodyPolicy(
            compress=settings.events.compress == "auto", min_bytes=settings.events.compress_from
        )
        self._bodies: Bodies | None = None
        self._catalogue: Catalogue | None = None

    @property
    def site_key(self) -> bytes:
        """Secret of the site for keyed hashes."""
        return self._connection.trust.site_key

    async def start(self) -> None:
        """Begin renewals of certificates and keys, and follow what subjects are bound to."""
        await self._connection.trust.start()
        mode = Mode(self._connection.configuration.settings.schemas.check)
        if mode is not Mode.OFF and self._catalogue is None:
            self._catalogue = self._follow_bindings(mode)
            await self._catalogue.start()

    def _follow_bindings(self, mode: Mode) -> Catalogue:
        connection = self._connection
        return Catalogue(
            buckets=connection.transport,
            verifier=binding_verifier(connection, self._clock),
            folder=schemas_folder(connection.configuration),
            mode=mode,
            reachable=lambda: connection.transport.link is LinkState.CONNECTED,
            counters=self._counters,
        )

    @property
    def catalogue(self) -> Catalogue | None:
        """What publishers are held to; None before `start`, and where `[schemas] check` is off."""
        return self._catalogue

    async def open(self, name: str, rights: Rights) -> Service:
        """Certify a service with these rights and start its events. Raises `MeshError`.

        For one that is open the rights are exchanged; everything else goes on.
        """
        identity = await self._connection.trust.identity(
            name, publish=rights.publish, subscribe=rights.subscribe
        )
        service = self._open.get(name)
        if service is None:
            service = self._open[name] = await self._begin(name, identity)
        return service

    async def open_operator(self) -> Service:
        """The service that may list and replay dead letters: without it nobody could read them."""
        rights = operator_rights(self._connection.configuration.site)
        return await self.open(OPERATOR, Rights(publish=rights.publish, subscribe=rights.subscribe))

    async def open_auditor(self) -> Service:
        """The service that may read access records: without it nobody could."""
        rights = auditor_rights(self._connection.configuration.site)
        return await self.open(AUDITOR, Rights(publish=rights.publish, subscribe=rights.subscribe))

    async def open_scheduler(self) -> Scheduler:
        """The service that publishes what is due; started by its owner."""
        site = self._connection.configuration.site
        rights = scheduler_rights(site)
        service = await self.open(
            SCHEDULER, Rights(publish=rights.publish, subscribe=rights.subscribe)
        )
        return Scheduler(
            site=site,
            events=service.events,
            schedules=self.schedules(service),
            clock=self._clock,
            counters=self._counters,
        )

    def schedules(self, service: Service) -> Schedules:
        """The schedules of one service that is open."""
        return Schedules(
            site=self._connection.configuration.site,
            transport=self._connection.transport,
            seals=service.seals,
            clock=self._clock,
            fits=self._catalogue.check if self._catalogue else None,
        )

    async def _begin(self, name: str, identity: ServiceIdentity) -> Service:
        seals = ServiceSeals(identity=identity, trust=self._connection.trust, clock=self._clock)
        folder = self._connection.configuration.settings.mesh.data / "consumers" / name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._bodies is None:
            codec = BodyCodec(policy=self._policy)
            self._bodies = Bodies(self._connection.transport, self._counters, codec)
        events = MeshEvents(
            site=self._connection.configuration.site,
            transport=self._connection.transport,
            seals=seals,
            clock=self._clock,
            chance=self._chance,
            counters=self._counters,
            folder=folder,
            stream_limits=self._limits,
            quota=self._quota,
            path=self._path,
            bodies=self._bodies,
            fits=self._catalogue.check if self._catalogue else None,
        )
        await events.start()
        return Service(name, identity, seals, events, self._catalogue)

    async def newcomers(self, names: Iterable[str]) -> frozenset[str]:
        """Which of these consumers have no place yet in a stream that holds events already.

        What was stored before they came was sealed for others: they can only begin behind it. Ask before `open`.
        """
        transport, stream = (
            self._connection.transport,
            event_stream(self._connection.configuration.site),
        )
        try:
            state = await transport.store.stream_state(stream)
            known = await transport.administration.consumers(stream)
        except NotFound:
            return frozenset()
        return frozenset(names) - known.keys() if state.messages else frozenset()

    async def keep_registered(self) -> None:
        """Keep certificates of remembered services alive: events are sealed for them while they are away, too."""
        for name in self.registry.names():
            rights = self.registry.read(name)
            if rights != self._registered.get(name) and name not in self._open:
                await self._connection.trust.identity(
                    name, publish=rights.publish, subscribe=rights.subscribe
                )
                self._registered[name] = rights

    async def keep_what_waits(self) -> None:
        """Tell trust since when messages wait, so that no key that could open one of them is destroyed."""
        store, site = self._connection.transport.store, self._connection.configuration.site
        state = await store.stream_state(event_stream(site))
        consumers = await self._connection.transport.administration.consumers(event_stream(site))
        needed = [_needed_from(one, state.last_seq) for one in consumers.values()]
        seq = max(state.first_seq, min(needed, default=state.last_seq + 1))
        oldest: list[int] = []
        try:
            if seq <= state.last_seq:
                oldest.append((await store.read(event_stream(site), seq)).stored_ms)
            held = await store.stream_state(schedule_stream(site))
            if held.messages:
                oldest.append((await store.read(schedule_stream(site), held.first_seq)).stored_ms)
        except NotFound:
            return  # deleted in between: the next round looks again, and what is kept until then does no harm
        self._connection.trust.keep_since(min(oldest, default=None))

    async def drain(self, *, timeout_s: float) -> bool:
        """Finish what is under way; False when something is left for the next start."""
        services = list(self._open.values())
        finished = await asyncio.gather(*(s.events.drain(timeout_s=timeout_s) for s in services))
        return all(finished)

    async def stop(self) -> None:
        """Stop every service's events."""
        services = list(self._open.values())
        self._open.clear()
        await asyncio.gather(*(service.events.stop() for service in services))
        if self._bodies is not None:
            await self._bodies.stop()
            self._bodies = None
        catalogue, self._catalogue = self._catalogue, None
        if catalogue is not None:
            await catalogue.stop()


def schemas_folder(configuration: Configuration) -> Path:
    """Where a machine keeps what it knew last of the schema registry."""
    return configuration.settings.mesh.data / "schemas"


def binding_verifier(connection: Connected, clock: Clock) -> BindingVerifier:
    """Verifies bindings of the site against its root of trust."""
    trust = connection.trust
    return BindingVerifier(
        trust.root, trust.directory, site=connection.configuration.site, clock=clock
    )


def _needed_from(consumer: ConsumerState, last_seq: int) -> int:
    if not consumer.pending and not consumer.unacknowledged:
        return last_seq + 1
    return consumer.ack_floor + 1


__all__ = [
    "AUDITOR",
    "OPERATOR",
    "Connected",
    "Service",
    "Services",
    "binding_verifier",
    "schemas_folder",
]
