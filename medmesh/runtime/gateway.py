"""The composition root of the gateway: its service, its rights, its parts, its listeners."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial

from adapters.contract import Condition, Health, Rights
from bus.events.following import MeshFeed
from bus.flow.priority import Priority
from bus.services.caller import Caller
from bus.services.protocol import Request, Response
from bus.telemetry.counters import Counters
from bus.transport.protocol import LinkState
from gateway.access.access import GatewayAccess
from gateway.access.agreement import check_site_key
from gateway.access.build import open_access
from gateway.access.rights import GATEWAY, mesh_rights
from gateway.contract import GatewayRuntime, Operations
from gateway.http import HttpFront
from gateway.part import Part, PartKind
from medmesh.config import Configuration
from medmesh.runtime.calls import Calls
from medmesh.runtime.descriptions import Descriptions
from medmesh.runtime.gateway_parts import kinds_for
from medmesh.runtime.services import Connected, Services
from schemas.clock import Clock
from schemas.errors import MeshError
from schemas.gateway import GatewaySection
from schemas.subjects import SiteId


class RunningGateway:
    """The gateway of a running site: `start`, `health`, `drain`, `stop`."""

    def __init__(
        self,
        configuration: Configuration,
        section: GatewaySection,
        *,
        connection: Connected,
        services: Services,
        calls: Calls,
        health: Callable[[], Mapping[str, Health]],
        counters: Counters,
        clock: Clock,
        chance: random.Random,
        kinds: Sequence[PartKind] | None = None,
    ) -> None:
        self._configuration = configuration
        self._section = section
        self._connection = connection
        self._services = services
        self._calls = calls
        self._health = health
        self._counters = counters
        self._clock = clock
        self._chance = chance
        self._kinds = tuple(kinds_for(section) if kinds is None else kinds)
        self._front: HttpFront | None = None
        self._access: GatewayAccess | None = None
        self._feed: MeshFeed | None = None

    async def start(self) -> None:
        """Certify the service, decide who may what, start the parts, listen. Raises `MeshError`."""
        site = self._configuration.site
        await self._services.open_auditor()  # access records are sealed for someone, or not at all
        service = await self._services.open(
            GATEWAY, gateway_rights(self._section, site, self._kinds)
        )
        caller = await self._calls.caller(service)
        registry = await self._calls.registry(service)
        transport = self._connection.transport
        await check_site_key(transport.key_value, site, self._services.site_key)
        folder = self._configuration.settings.mesh.data / "gateway"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._feed = feed = service.events.feed()
        runtime = GatewayRuntime(
            site=site,
            site_key=self._services.site_key,
            events=service.events,
            feed=feed,
            call=_Calling(caller),
            services=registry.services,
            catalogue=self._services.catalogue,
            health=self._health,
            is_connected=lambda: transport.link is LinkState.CONNECTED,
            counters=self._counters,
            clock=self._clock,
            random=self._chance,
            folder=folder,
            records=transport.key_value,
            describe=Descriptions(transport.messenger),
            serve=partial(self._calls.serve, service),
            operations=Operations(
                transport=transport,
                letters=service.events.dead_letters(),
                inspector=service.events.inspector(),
                adapters={one.config.name: one.config.kind for one in self._configuration.adapters},
            ),
        )
        self._access = access = await open_access(self._section, runtime)
        parts: list[Part] = [kind.build(self._section, runtime, access) for kind in self._kinds]
        self._front = HttpFront(
            self._section, runtime, access, parts, is_anonymous=access.is_anonymous
        )
        await self._front.start()

    @property
    def addresses(self) -> tuple[str, ...]:
        """Listeners as they are: with the port that the system chose where the configuration says 0."""
        front, mutual = self._front, self._section.access.mtls_listen
        found = [_actual(self._section.listen, front.bound_port if front else 0)]
        if mutual:
            found.append(_actual(mutual, front.mutual_port if front else 0))
        found += (one for kind in self._kinds for one in kind.addresses(self._section))
        return tuple(found)

    def health(self) -> Health:
        """Answer at once."""
        if self._front is None:
            return Health(condition=Condition.STARTING)
        return self._front.health()

    async def drain(self, *, timeout_s: float) -> None:
        """Take nothing new, finish and answer what is in hand."""
        if self._front is not None:
            await self._front.drain(timeout_s=timeout_s)
        if self._access is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._access.drain()

    async def stop(self) -> None:
        """Close everything."""
        front, self._front = self._front, None
        if front is not None:
            with suppress(MeshError):
                await front.stop()
        feed, self._feed = self._feed, None
        if feed is not None:
            await feed.close()
        access, self._access = self._access, None
        if access is not None:
            await access.stop()


class _Calling:
    """`gateway.contract.Call` in the gateway's name."""

    __slots__ = ("_caller",)

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def __call__(
        self,
        service: str,
        method: str,
        body: bytes,
        *,
        type: str,
        version: int = 1,
        timeout_s: float = 5.0,
        idempotent: bool = False,
        call_id: bytes = b"",
        priority: Priority = Priority.ROUTINE,
        traceparent: str = "",
    ) -> Response:
        request = Request(
            service=service,
            major=version,
            method=method,
            type=type,
            body=body,
            id=call_id,
            priority=priority,
            traceparent=traceparent,
        )
        return await self._caller.call(request, timeout_s=timeout_s, idempotent=idempotent)


def _actual(address: str, port: int) -> str:
    return f"{address.rpartition(':')[0]}:{port}" if port and address.endswith(":0") else address


def gateway_rights(section: GatewaySection, site: SiteId, kinds: Sequence[PartKind]) -> Rights:
    """What the gateway's certificate must allow: its clients' rights, and what its parts need."""
    own = mesh_rights(section, site)
    publish, subscribe = list(own.publish), list(own.subscribe)
    for kind in kinds:
        wanted = kind.rights(section, site)
        publish += wanted.publish
        subscribe += wanted.subscribe
    return Rights(publish=tuple(dict.fromkeys(publish)), subscribe=tuple(dict.fromkeys(subscribe)))


__all__ = ["RunningGateway", "gateway_rights"]
