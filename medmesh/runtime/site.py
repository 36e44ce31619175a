"""A running site: the composition root. Server, transport, trust, streams, adapters; five verbs."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from adapters.contract import AdapterRuntime, Health
from bus.clock import SystemClock
from bus.events.retention import RetentionKeeper
from bus.events.sizes import max_content_bytes
from bus.events.streams import audit_stream, event_stream
from bus.telemetry.counters import Counters
from bus.transport.protocol import LinkState
from bus.transport.server_log import Notice
from medmesh.config import Configuration, ConfiguredAdapter
from medmesh.listeners import taken_words
from medmesh.runtime.calls import Calls
from medmesh.runtime.connection import SiteConnection
from medmesh.runtime.events import ReportEvent, RuntimeEvent
from medmesh.runtime.metered import MeteredEvents
from medmesh.runtime.running import RunningAdapter
from medmesh.runtime.services import Services
from medmesh.runtime.sizes import size_findings
from medmesh.runtime.stats import AdapterStats
from schemas.clock import Clock
from schemas.errors import ConfigurationError, MeshError, Unavailable

if TYPE_CHECKING:
    from medmesh.runtime.gateway import RunningGateway

GATEWAY: Final = "gateway"
"""The service in whose name the gateway works."""
_LOOK_S = 1.0
"""How often conditions are compared, so that a change is reported."""
_LEAVE_S = 2.0
"""For calls that are still in work when everything stops."""
_REGISTRY_S = 30.0
"""How often services that programs asked for are looked up."""


class MeshRuntime:
    """The site of one configuration."""

    def __init__(
        self,
        configuration: Configuration,
        *,
        report: ReportEvent = lambda event: None,
        clock: Clock | None = None,
        stats_s: float = 0.0,
    ) -> None:
        self.configuration = configuration
        self.clock = clock or SystemClock()
        self.counters = Counters()
        self._report_now = report
        self._held_back: list[RuntimeEvent] | None = []
        self._stats_s = stats_s
        self._chance = random.Random()
        self._connection = SiteConnection(
            configuration, name=f"medmesh@{configuration.site}", clock=self.clock,
            counters=self.counters, owns_server=True, on_notice=self._notice,
        )  # fmt: skip
        self._services: Services | None = None
        self._calls = Calls(
            self._connection, connection_name=self._connection.name, clock=self.clock,
            chance=self._chance, counters=self.counters,
        )  # fmt: skip
        self._adapters: list[RunningAdapter] = []
        self._gateway: RunningGateway | None = None
        self._keeper: RetentionKeeper | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._read_s = 0.0
        self._link = LinkState.CONNECTED

    # the five verbs

    async def start(self) -> None:
        """Bring everything up; returns when every listener accepts, after the event `ready`. Raises `MeshError`."""
        if not self.configuration.adapters and self.configuration.settings.gateway is None:
            raise ConfigurationError(
                f"{self.configuration.file or 'configuration'}: neither an [[adapter]] nor a [gateway] is configured, "
                "so there is nothing to do; `medmesh demo --print-config` shows an example"
            )
        await self._connection.start()
        for finding in size_findings(self.configuration, self._connection.transport.max_payload):
            self._report(RuntimeEvent(name="limit", fields={"text": finding}))
        self._services = services = Services(
            self._connection, clock=self.clock, counters=self.counters, chance=self._chance
        )
        await services.start()
        await services.open_operator()
        scheduler = await services.open_scheduler()
        await services.keep_registered()
        newcomers = await services.newcomers(
            one.config.name for one in self.configuration.adapters if one.rights.subscribe
        )
        for configured in self.configuration.adapters:
            is_newcomer = configured.config.name in newcomers
            self._adapters.append(await self._build(configured, services, is_newcomer=is_newcomer))
        # Readers first, listeners last: nothing is accepted before everyone who gets it is there.
        for running in sorted(self._adapters, key=lambda one: bool(one.configured.addresses)):
            await self._start_adapter(running)
        await scheduler.start()
        await self._start_gateway(services)
        self._keep_retention()
        self._read_s = self.clock.monotonic_s()
        for running in self._adapters:
            running.health = running.adapter.health()
        self._report_ready(RuntimeEvent(name="ready", fields=await self._ready_fields()))
        self._tasks = [
            asyncio.create_task(self._watch(), name="runtime-watch"),
            asyncio.create_task(self._follow_registry(services), name="runtime-registry"),
        ]
        if self._stats_s > 0:
            self._tasks.append(asyncio.create_task(self._print_stats(), name="runtime-stats"))

    def health(self) -> Mapping[str, Health]:
        """Every adapter's health by name; answers at once."""
        return {running.name: running.adapter.health() for running in self._adapters}

    async def drain(self, *, timeout_s: float) -> bool:
        """Close listeners, finish and answer what was accepted; False when something is left for the next start."""
        self._report(RuntimeEvent(name="draining", fields={"timeout_s": timeout_s}))
        await self._end_tasks()
        deadline_s = self.clock.monotonic_s() + timeout_s

        def left_s() -> float:
            return max(0.1, deadline_s - self.clock.monotonic_s())

        if self._gateway is not None:
            await self._gateway.drain(timeout_s=left_s())
        for has_listener in (True, False):
            group = [
                running
                for running in self._adapters
                if running.started and bool(running.configured.addresses) is has_listener
            ]
            await asyncio.gather(*(one.adapter.drain(timeout_s=left_s()) for one in group))
        await self._calls.stop(timeout_s=left_s())
        drained = self._services is None or await self._services.drain(timeout_s=left_s())
        waiting = {one.name: one.meter.read().in_flight for one in self._adapters}
        fields = {
            "complete": drained,
            "in_hand": {n: count for n, count in waiting.items() if count},
        }
        self._report(RuntimeEvent(name="drained", fields=fields))
        return drained

    async def stop(self) -> None:
        """Stop everything in the opposite order of `start`; stopping what never started is fine."""
        await self._end_tasks()
        if self._keeper is not None:
            await self._keeper.stop()
            self._keeper = None
        gateway, self._gateway = self._gateway, None
        if gateway is not None:
            await gateway.stop()
        for running in reversed(self._adapters):
            with contextlib.suppress(MeshError):
                await running.adapter.stop()
        self._adapters.clear()
        with contextlib.suppress(MeshError):
            await self._calls.stop(timeout_s=_LEAVE_S)
        if self._services is not None:
            await self._services.stop()
            self._services = None
        await self._connection.stop()
        self._report(RuntimeEvent(name="stopped"))

    # what tools of the same process ask

    @property
    def connection(self) -> SiteConnection:
        """Transport and trust of the site."""
        return self._connection

    @property
    def addresses(self) -> Mapping[str, tuple[str, ...]]:
        """Listeners by adapter, and those of the gateway."""
        found = {running.name: running.addresses for running in self._adapters}
        if self._gateway is not None:
            found[GATEWAY] = self._gateway.addresses
        return found

    def stats(self) -> list[AdapterStats]:
        """What each adapter has done since the last call."""
        now_s = self.clock.monotonic_s()
        seconds, self._read_s = now_s - self._read_s, now_s
        return [running.stats(seconds) for running in self._adapters]

    # inside

    async def _build(
        self, configured: ConfiguredAdapter, services: Services, *, is_newcomer: bool
    ) -> RunningAdapter:
        name = configured.config.name
        service = await services.open(name, configured.rights)
        meter = MeteredEvents(service.events, is_newcomer=is_newcomer)
        settings = self.configuration.settings
        folder = settings.mesh.data / "adapters" / name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        runtime = AdapterRuntime(
            site=self.configuration.site,
            site_key=services.site_key,
            events=meter,
            counters=self.counters,
            clock=self.clock,
            random=self._chance,
            folder=folder,
            records=self._connection.transport.key_value,
            replicated=settings.nats.replicas > 1,
            serve=functools.partial(self._calls.serve, service),
        )
        adapter = configured.kind.build(configured.config, runtime)
        return RunningAdapter(configured, service, meter, adapter)

    async def _start_adapter(self, running: RunningAdapter) -> None:
        try:
            await running.adapter.start()
        except Unavailable as error:
            words = "".join(taken_words(address) for address in running.configured.addresses)
            if not words:
                raise
            raise Unavailable(f"{error}{words}: stop that program or change `listen`") from error
        running.started = True

    async def _start_gateway(self, services: Services) -> None:
        section = self.configuration.settings.gateway
        if section is None:
            return
        from medmesh.runtime.gateway import RunningGateway  # noqa: PLC0415 - large, and not everywhere

        self._gateway = gateway = RunningGateway(
            self.configuration, section, connection=self._connection, services=services,
            calls=self._calls, health=self.health, counters=self.counters, clock=self.clock,
            chance=self._chance,
        )  # fmt: skip
        try:
            await gateway.start()
        except Unavailable as error:
            words = "".join(taken_words(address) for address in gateway.addresses)
            if not words:
                raise
            raise Unavailable(f"{error}{words}: stop that program or change `listen`") from error

    def _keep_retention(self) -> None:
        retention, site = self.configuration.settings.retention, self.configuration.site
        self._keeper = RetentionKeeper(
            transport=self._connection.transport,
            clock=self.clock,
            counters=self.counters,
            # access records go when the keys that open them do
            streams=(event_stream(site), audit_stream(site)),
            retention_s=retention.events_h * 3600,
            period_s=retention.check_s,
        )
        self._keeper.start()

    def _report(self, event: RuntimeEvent) -> None:
        """Report at once; what happens before `ready` comes after it."""
        if self._held_back is None:
            self._report_now(event)
        else:
            self._held_back.append(event)

    def _report_ready(self, ready: RuntimeEvent) -> None:
        earlier, self._held_back = self._held_back or [], None
        for event in (ready, *earlier):
            self._report_now(event)

    def _notice(self, notice: Notice) -> None:
        fields = {"notice": notice.kind.value, "text": notice.text}
        self._report(RuntimeEvent(name="server", fields=fields))

    async def _end_tasks(self) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            self._look()

    def _look(self) -> None:
        """Report what has changed since the last look."""
        link = self._connection.transport.link
        if link is not self._link:
            self._link = link
            self._report(RuntimeEvent(name="link", fields={"state": link.value}))
        for running in self._adapters:
            health = running.adapter.health()
            if health.condition is not running.health.condition:
                fields = {
                    "name": running.name,
                    "condition": health.condition.value,
                    "detail": health.detail,
                }
                self._report(RuntimeEvent(name="adapter", fields=fields))
            running.health = health

    async def _follow_registry(self, services: Services) -> None:
        while True:
            await asyncio.sleep(_REGISTRY_S)
            with contextlib.suppress(MeshError):
                await services.keep_registered()
                await services.keep_what_waits()

    async def _print_stats(self) -> None:
        while True:
            await asyncio.sleep(self._stats_s)
            fields = {
                "link": self._connection.transport.link.value,
                "adapters": [one.fields() for one in self.stats()],
            }
            self._report(RuntimeEvent(name="stats", fields=fields))

    async def _durability(self) -> str:
        state = await self._connection.transport.store.stream_state(
            event_stream(self.configuration.site)
        )
        return {True: "synced", False: "not synced", None: "not known"}[state.sync_always]

    def _schema_fields(self) -> Mapping[str, object]:
        """What publishers are held to, and whether the registry says so now or said so last."""
        catalogue = self._services.catalogue if self._services is not None else None
        if catalogue is None:
            return {"check": "off"}
        state = catalogue.state()
        return {
            "check": state.mode.value,
            "bindings": state.bindings,
            "live": state.is_live,
            "incomplete": list(state.incomplete),
        }

    async def _ready_fields(self) -> Mapping[str, object]:
        settings = self.configuration.settings
        return {
            "mesh": settings.mesh.name,
            "site": settings.mesh.site,
            "pid": os.getpid(),
            "server": self._connection.server,
            "embedded": self._connection.is_embedded,
            "durability": await self._durability(),
            "replicas": settings.nats.replicas,
            "schemas": self._schema_fields(),
            "max_event_bytes": max_content_bytes(self._connection.transport.max_payload),
            "adapters": [running.fields() for running in self._adapters],
            "gateway": list(self._gateway.addresses) if self._gateway is not None else [],
        }


__all__ = ["MeshRuntime"]
