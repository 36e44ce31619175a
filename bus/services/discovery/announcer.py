"""One instance tells the mesh that it runs: a signed record under a lease, and heartbeats with its load."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final

from bus.services.discovery.heartbeats import heartbeat_of
from bus.services.discovery.records import PROTOCOL, RecordSeals, record_of
from bus.services.discovery.settings import BUCKET, DiscoverySettings
from bus.services.protocol import Load, Offer
from bus.telemetry.counters import Counters
from bus.telemetry.log import logger
from bus.transport.protocol import KeyValue, LinkState, Transport
from schemas import subjects
from schemas.clock import Clock
from schemas.errors import MeshError, Unavailable
from schemas.subjects import SiteId

_log: Final = logger("discovery")


class Announcer:
    """Announces one instance of an offer: `start`, `announce`, `draining`, `stop`."""

    def __init__(
        self,
        transport: Transport,
        seals: RecordSeals,
        *,
        offer: Offer,
        site: SiteId,
        instance: str,
        connection: str,
        load: Callable[[], Load],
        clock: Clock,
        rng: random.Random,
        settings: DiscoverySettings | None = None,
        counters: Counters | None = None,
        protocols: tuple[str, ...] = (PROTOCOL,),
    ) -> None:
        """`instance`: the id of the certificate's instance, or that, a dash and more, where a process runs several.

        `connection`: the name under which `transport` is connected, and nothing else: when it ends, so does the
        instance. Raises `RecordRefused` for an offer that nobody would believe.
        """
        self._transport = transport
        self._seals = seals
        self._load = load
        self._clock = clock
        self._rng = rng
        self._settings = settings or DiscoverySettings()
        self._counters = counters or Counters()
        self._key = (offer.name, instance)
        self._subject = subjects.heartbeat(site, offer.name, instance)
        self._record = record_of(
            offer,
            site=site,
            instance=instance,
            connection=connection,
            started_ms=clock.now_ms(),
            protocols=protocols,
        )
        self._signed = (b"", b"")
        self._bucket: KeyValue | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._is_draining = False
        self._is_announced = False

    @property
    def is_announced(self) -> bool:
        """Whether the last renewal arrived."""
        return self._is_announced

    async def start(self) -> None:
        """Announce, and go on to until `stop`. While the carrier is away it goes on to try."""
        if self._tasks:
            return
        await self._try("lease", self.announce)
        await self._try("heartbeat", self._beat)
        settings = self._settings
        self._tasks = [
            asyncio.create_task(self._repeat(settings.renew_s, "lease", self.announce)),
            asyncio.create_task(self._repeat(settings.heartbeat_s, "heartbeat", self._beat)),
        ]

    async def announce(self) -> None:
        """Write the record under the lease, now. Raises `MeshError`."""
        self._is_announced = False
        signer = self._seals.signer
        if self._signed[0] != signer:
            self._signed = (signer, self._seals.seal(self._record))
        if self._bucket is None:
            self._bucket = await self._transport.key_value(
                BUCKET, max_age_s=self._settings.lease_s, in_memory=True
            )
        await self._bucket.put(".".join(self._key), self._signed[1])
        self._is_announced = True

    async def draining(self) -> None:
        """Say that nothing new is taken; said again with each heartbeat until `stop`."""
        self._is_draining = True
        await self._try("heartbeat", self._beat)

    async def stop(self) -> None:
        """Leave: the lease is given back at once. Raises nothing: without the carrier the lease ends by itself."""
        if not self._tasks:
            return
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        self._is_draining = True
        if self._transport.link is LinkState.CONNECTED:
            await self._try("heartbeat", self._beat)
            await self._try("lease", self._give_back)

    async def _give_back(self) -> None:
        self._is_announced = False
        if self._bucket is not None:
            await self._bucket.delete(".".join(self._key))

    async def _beat(self) -> None:
        payload = heartbeat_of(
            self._key,
            self._load(),
            at_ms=self._clock.now_ms(),
            is_draining=self._is_draining,
        )
        await self._transport.messenger.publish(self._subject, payload)

    async def _repeat(self, every_s: float, what: str, do: Callable[[], Awaitable[None]]) -> None:
        jitter = self._settings.jitter
        while True:
            await asyncio.sleep(every_s * self._rng.uniform(1 - jitter, 1 + jitter))
            await self._try(what, do)

    async def _try(self, what: str, do: Callable[[], Awaitable[None]]) -> None:
        """Once, with a deadline. What waits for a lost connection is sent as soon as that is back."""
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                await do()
        except TimeoutError:
            self._failed(what, Unavailable.code)
        except MeshError as error:
            self._failed(what, error.code)

    def _failed(self, what: str, reason: str) -> None:
        self._counters.add(f"{what}_failed", who=self._key[0], reason=reason)
        _log.warning(f"{what}_failed", service=self._key[0], instance=self._key[1], reason=reason)


__all__ = ["Announcer"]
