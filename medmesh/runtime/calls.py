"""Calls and services of one process: who runs, one caller for each service in whose name it calls, what it serves."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, replace
from typing import Final

from bus.services.balancing import AdaptiveAdmission
from bus.services.caller import Caller
from bus.services.channel import SealedChannel
from bus.services.discovery import Announcer, MeshRegistry
from bus.services.protocol import Instance, Offer
from bus.services.server import Drained, Server
from bus.telemetry.counters import Counters
from bus.transport.protocol import Messenger, Transport
from bus.trust.records import InstanceSeals
from medmesh.runtime.services import Connected, Service
from schemas.clock import Clock
from schemas.errors import ConfigurationError

DRAIN_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Served:
    """One instance of a service that this process runs."""

    server: Server
    announcer: Announcer

    @property
    def instance(self) -> Instance:
        """The instance as discovery knows it."""
        return self.server.instance

    async def drain(self, *, timeout_s: float = DRAIN_S) -> Drained:
        """Take nothing new, finish what is in hand, leave. What is left after `timeout_s` is cut short."""
        await self.announcer.draining()
        report = await self.server.drain(timeout_s=timeout_s)
        await self.announcer.stop()
        await self.server.stop()
        return report


class Calls:
    """Serves and calls on a connection that was started; nothing runs before it is asked for."""

    def __init__(
        self,
        connection: Connected,
        *,
        connection_name: str,
        clock: Clock,
        counters: Counters,
        chance: random.Random,
    ) -> None:
        self._connection = connection
        self._connection_name = connection_name
        self._clock = clock
        self._counters = counters
        self._chance = chance
        self._registry: MeshRegistry | None = None
        self._callers: dict[str, Caller] = {}
        self._channels: dict[str, SealedChannel] = {}
        self._served: dict[str, Served] = {}
        self._starting = asyncio.Lock()

    @property
    def messenger(self) -> Messenger:
        """Messages that are not stored."""
        return self._connection.transport.messenger

    @property
    def transport(self) -> Transport:
        """The connection to the carrier."""
        return self._connection.transport

    async def registry(self, service: Service) -> MeshRegistry:
        """Who runs at this site; begins to listen at the first call, in the name of `service`."""
        async with self._starting:
            if self._registry is None:
                registry = MeshRegistry(
                    self._connection.transport,
                    self._seals(service),
                    site=self._connection.configuration.site,
                    clock=self._clock,
                    counters=self._counters,
                )
                await registry.start()
                self._registry = registry
        return self._registry

    async def caller(self, service: Service) -> Caller:
        """Calls in the name of `service`."""
        found = self._callers.get(service.name)
        if found is not None:
            return found
        registry = await self.registry(service)
        if service.name not in self._callers:
            configuration = self._connection.configuration
            self._callers[service.name] = Caller(
                self.channel(service),
                registry,
                site=configuration.site,
                zone=configuration.settings.mesh.zone,
                clock=self._clock,
                chance=self._chance,
                counters=self._counters,
                agreement=service.agreement,
            )
        return self._callers[service.name]

    def channel(self, service: Service) -> SealedChannel:
        """Single requests in the name of `service`, at an instance that is named, without any policy."""
        if service.name not in self._channels:
            self._channels[service.name] = SealedChannel(
                site=self._connection.configuration.site,
                transport=self._connection.transport,
                seals=service.seals,
                clock=self._clock,
                counters=self._counters,
            )
        return self._channels[service.name]

    async def serve(self, service: Service, offer: Offer) -> Served:
        """Run one instance of `offer`, whose name is that of `service`, and announce it.

        Raises `ConfigurationError` when it runs here already, `PermissionRefused`, `Unavailable`.
        """
        if offer.name in self._served:
            raise ConfigurationError(f"service {offer.name} runs in this process already")
        configuration = self._connection.configuration
        offer = replace(offer, zone=offer.zone or configuration.settings.mesh.zone)
        admission = AdaptiveAdmission(clock=self._clock, counters=self._counters, who=offer.name)
        server = Server(
            offer,
            instance=service.identity.instance,
            site=configuration.site,
            transport=self._connection.transport,
            seals=service.seals,
            admission=admission,
            clock=self._clock,
            counters=self._counters,
            connection=self._connection_name,
        )
        announcer = Announcer(
            self._connection.transport,
            self._seals(service),
            offer=offer,
            site=configuration.site,
            instance=service.identity.instance,
            connection=self._connection_name,
            load=server.load,
            clock=self._clock,
            rng=self._chance,
            counters=self._counters,
        )
        await server.start()
        try:
            await announcer.start()
        except BaseException:
            await server.stop()
            raise
        self._served[offer.name] = served = Served(server, announcer)
        return served

    async def stop_serving(self, name: str, *, timeout_s: float = DRAIN_S) -> Drained:
        """Drain one service that this process runs. Raises `ConfigurationError` when it does not."""
        served = self._served.pop(name, None)
        if served is None:
            raise ConfigurationError(f"service {name} does not run in this process")
        return await served.drain(timeout_s=timeout_s)

    async def stop(self, *, timeout_s: float = DRAIN_S) -> None:
        """Drain what is served, then leave."""
        served = list(self._served.values())
        self._served.clear()
        await asyncio.gather(*(one.drain(timeout_s=timeout_s) for one in served))
        for caller in self._callers.values():
            caller.close()
        self._callers.clear()
        for channel in self._channels.values():
            await channel.stop()
        self._channels.clear()
        if self._registry is not None:
            await self._registry.stop()
            self._registry = None

    def _seals(self, service: Service) -> InstanceSeals:
        return InstanceSeals(service.identity, self._connection.trust, self._clock)


__all__ = ["DRAIN_S", "Calls", "Served"]
