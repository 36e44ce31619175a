"""`Registry` on the carrier: leases, heartbeats, departures and sweeps brought to the table, and changes told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from bus.services.discovery.entries import Key
from bus.services.discovery.heartbeats import HeartbeatReader
from bus.services.discovery.leases import LeaseReader
from bus.services.discovery.records import RecordSeals
from bus.services.discovery.settings import BUCKET, DiscoverySettings
from bus.services.discovery.sweep import Stock, Sweep
from bus.services.discovery.table import Changes, Table
from bus.services.protocol import Health, Instance, Load, Seen
from bus.telemetry.counters import Counters
from bus.telemetry.failures import error_code, failure_fields
from bus.telemetry.log import logger
from bus.transport.protocol import Incoming, KeyValue, LinkState, Subscription, Transport
from schemas import subjects
from schemas.clock import Clock
from schemas.errors import MeshError, Unavailable
from schemas.subjects import SiteId

_log: Final = logger("discovery")
_LEASES: Final = "leases"
_HEARTBEATS: Final = "heartbeats"
_DEPARTURES: Final = "departures"
_COUNTED: Final = {
    Health.GONE: "instance_gone",
    Health.SUSPECT: "instance_suspected",
    Health.EJECTED: "instance_ejected",
    Health.DRAINING: "instance_draining",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoveryHealth:
    """What the registry hears now."""

    leases: bool
    heartbeats: bool
    departures: bool
    """Whether it may hear of ended connections; the carrier may still not tell."""
    is_linked: bool
    """Whether the carrier can be reached: without, the table stays as it was."""
    instances: int


class MeshRegistry:
    """Who runs at one site. Implements `bus.services.protocol.Registry`; belongs to the event loop."""

    def __init__(
        self,
        transport: Transport,
        seals: RecordSeals,
        *,
        site: SiteId,
        clock: Clock,
        settings: DiscoverySettings | None = None,
        counters: Counters | None = None,
    ) -> None:
        self._transport = transport
        self._site = site
        self._clock = clock
        self._settings = settings = settings or DiscoverySettings()
        self._counters = counters = counters or Counters()
        self._table = Table(settings)
        self._stock = Stock(settings, site=site)
        self._leases = LeaseReader(
            self._table,
            seals,
            site=site,
            clock=clock,
            settings=settings,
            counters=counters,
            report=self._report,
        )
        self._heartbeats = HeartbeatReader(self._table, counters)
        self._bucket: KeyValue | None = None
        self._attached: dict[str, Subscription] = {}
        self._tried = asyncio.Event()
        self._health: dict[Key, Health] = {}
        self._listeners: list[Callable[[Seen], None]] = []
        self._work: asyncio.Task[None] | None = None

    # -- lifecycle -----------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to listen, and take in who runs. Where the carrier is away, that comes as soon as it is back."""
        if self._work is None:
            self._work = asyncio.create_task(self._run(), name="discovery")
            self._work.add_done_callback(self._ended)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.timeout_s):
                    await self._tried.wait()
                    await self._settle()

    async def health(self) -> DiscoveryHealth:
        """Answer at once."""
        return DiscoveryHealth(
            leases=_LEASES in self._attached,
            heartbeats=_HEARTBEATS in self._attached,
            departures=_DEPARTURES in self._attached,
            is_linked=self._transport.link is LinkState.CONNECTED,
            instances=len(self._table),
        )

    async def stop(self) -> None:
        """Stop to listen. The table stays as it was."""
        work, self._work = self._work, None
        if work is None:
            return
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        attached, self._attached = tuple(self._attached.values()), {}
        for subscription in attached:
            with suppress(MeshError, TimeoutError):
                async with asyncio.timeout(self._settings.timeout_s):
                    await subscription.close()

    # -- Registry ------------------------------------------------------------------------------

    def instances(self, service: str, major: int) -> Sequence[Seen]:
        """See `Registry.instances`: those with a signed record, each of which has a subject of its own."""
        return self._table.instances(service, major)

    def services(self) -> Mapping[str, Sequence[Seen]]:
        """See `Registry.services`: stock services, known by `$SRV.PING` alone, included."""
        found: dict[str, tuple[Seen, ...]] = dict(self._table.services())
        for seen in self._stock.all():
            service = seen.instance.service
            if (service, seen.instance.id) not in self._table:
                found[service] = (*found.get(service, ()), seen)
        return found

    def missing(self, instance: Instance) -> None:
        """See `Registry.missing`."""
        self._report(self._table.missing((instance.service, instance.id), self._now()))

    def heard(self, service: str, instance: str, load: Load) -> None:
        """See `Registry.heard`."""
        self._report(self._table.heard((service, instance), load, self._now()))

    def on_change(self, changed: Callable[[Seen], None]) -> Callable[[], None]:
        """See `Registry.on_change`. Called in the loop's next turn, so it may ask and call back freely."""
        self._listeners.append(changed)

        def stop() -> None:
            if changed in self._listeners:
                self._listeners.remove(changed)

        return stop

    # -- listening -----------------------------------------------------------------------------

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._leases.work())
            group.create_task(self._tick())
            first = [
                group.create_task(self._attach(name, make))
                for name, make in (
                    (_HEARTBEATS, self._hear_heartbeats),
                    (_DEPARTURES, self._hear_departures),
                    (_LEASES, self._hear_leases),
                )
            ]
            await asyncio.wait(first, timeout=self._settings.timeout_s)
            self._tried.set()
            if self._settings.sweep_s > 0:
                group.create_task(self._sweep())

    def _ended(self, work: asyncio.Task[None]) -> None:
        """A fault of ours: operators must know that the table is no longer kept."""
        error = None if work.cancelled() else work.exception()
        if error is not None:
            self._counters.add("discovery_failed", reason=error_code(error))
            _log.error("discovery_failed", **failure_fields(error))

    async def _attach(self, name: str, make: Callable[[], Awaitable[Subscription]]) -> None:
        """Subscribe, as soon as that is possible; what was refused is tried again less and less often."""
        wait_s = self._settings.retry_s
        while True:
            try:
                async with asyncio.timeout(self._settings.timeout_s):
                    self._attached[name] = await make()
            except TimeoutError:
                self._degraded(name, Unavailable.code)
            except MeshError as error:
                self._degraded(name, error.code)
                wait_s = min(2 * wait_s, 60 * self._settings.retry_s)
            else:
                return
            await asyncio.sleep(wait_s)

    def _degraded(self, name: str, reason: str) -> None:
        self._counters.add("discovery_degraded", who=name, reason=reason)
        _log.warning("discovery_degraded", kind=name, reason=reason)

    async def _hear_leases(self) -> Subscription:
        self._bucket = await self._transport.key_value(
            BUCKET, max_age_s=self._settings.lease_s, in_memory=True
        )
        return await self._bucket.watch(">", self._leases.changed)

    async def _hear_heartbeats(self) -> Subscription:
        pattern = subjects.heartbeats_of(self._site)
        heard = await self._transport.messenger.subscribe(pattern, self._beat)
        self._table.hears_heartbeats = True
        return heard

    async def _hear_departures(self) -> Subscription:
        return await self._transport.departures(self._departed)

    async def _settle(self) -> None:
        """Wait until every lease that exists now is judged: whoever starts to call knows whom."""
        if self._bucket is None:
            return
        with suppress(MeshError):
            keys = await self._bucket.keys()
            await self._leases.seen(keys)

    def _beat(self, message: Incoming) -> None:
        self._report(self._heartbeats.read(message, self._now()))

    def _departed(self, connection: str) -> None:
        self._report(self._table.departed(connection, self._now()))

    async def _tick(self) -> None:
        while True:
            now_s = self._now()
            self._table.linked(self._transport.link is LinkState.CONNECTED, now_s)
            self._report(self._table.tick(now_s))
            self._report(self._stock.tick(now_s))
            await asyncio.sleep(self._settings.tick_s)

    async def _sweep(self) -> None:
        while True:
            sweep = Sweep(self._transport.messenger, site=self._site)
            try:
                async with asyncio.timeout(self._settings.timeout_s):
                    await sweep.ask(self._answered)
                await asyncio.sleep(self._settings.sweep_wait_s)
            except TimeoutError:
                self._degraded("sweep", Unavailable.code)
            except MeshError as error:
                self._degraded("sweep", error.code)
            finally:
                with suppress(MeshError):
                    await sweep.close()
            await asyncio.sleep(self._settings.sweep_s)

    def _answered(self, payload: bytes) -> None:
        self._report(self._stock.answered(payload, self._now(), self._table))

    def _now(self) -> float:
        return self._clock.monotonic_s()

    # -- telling -------------------------------------------------------------------------------

    def _report(self, changes: Changes) -> None:
        for seen in changes:
            self._count(seen)
            loop = asyncio.get_running_loop()
            for listener in self._listeners:
                loop.call_soon(listener, seen)

    def _count(self, seen: Seen) -> None:
        instance = seen.instance
        key = (instance.service, instance.id)
        before = self._health.get(key)
        event = _COUNTED.get(seen.health) or (
            "instance_appeared" if before is None else "instance_recovered"
        )
        if seen.health is Health.GONE:
            self._health.pop(key, None)
        else:
            self._health[key] = seen.health
        if before is seen.health and seen.health is Health.HEALTHY:
            event = "instance_changed"
        self._counters.add(event, who=instance.service, reason=seen.reason)
        _log.info(event, service=instance.service, instance=instance.id, reason=seen.reason)


__all__ = ["DiscoveryHealth", "MeshRegistry"]
