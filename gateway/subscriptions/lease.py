"""One gateway of a site delivers: the one that holds the lease. One that says nothing loses it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import Final

from bus.telemetry.failures import failure_fields
from bus.telemetry.log import logger
from bus.transport.protocol import KeyValue, NotFound, WrongRevision
from gateway.contract import GatewayRuntime
from schemas.errors import MeshError

BUCKET: Final = "gateway-subscription-lease"
_KEY: Final = "deliverer"
_log = logger(__name__)
Work = Callable[[], Awaitable[None]]


class Lease:
    """Runs `work` while this gateway holds the lease, and cancels it when it does not."""

    def __init__(self, runtime: GatewayRuntime, *, lease_s: float) -> None:
        self._runtime = runtime
        self._lease_s = lease_s
        self._name = secrets.token_hex(8).encode()
        self._bucket: KeyValue | None = None
        self._revision = 0
        self._held_until_s = 0.0

    async def run(self, work: Work) -> None:
        """For ever; cancelling it gives the lease back."""
        self._bucket = await self._runtime.records(BUCKET, max_age_s=self._lease_s)
        working: asyncio.Task[None] | None = None
        try:
            while True:
                holds = await self._hold()
                if holds and (working is None or working.done()):
                    working = asyncio.create_task(self._run(work))
                elif not holds and working is not None:
                    self._runtime.counters.add("subscription_lease_lost", who="subscriptions")
                    await _end(working)
                    working = None
                await asyncio.sleep(self._lease_s / 4)
        finally:
            if working is not None:
                await _end(working)
            await self._give_back()

    async def _run(self, work: Work) -> None:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - the task's outermost edge: it begins anew
            self._runtime.counters.add(
                "subscription_failed", who="subscriptions", reason=type(error).__name__
            )
            _log.error("subscription_failed", component="subscriptions", **failure_fields(error))

    async def _hold(self) -> bool:
        """Take or renew it; whether it is held now."""
        assert self._bucket is not None  # noqa: S101 - `run` has opened it
        asked_s = self._runtime.clock.monotonic_s()
        try:
            async with asyncio.timeout(self._lease_s / 4):
                self._revision = await self._bucket.swap(_KEY, self._name, revision=self._revision)
        except WrongRevision:
            self._revision, self._held_until_s = 0, 0.0
        except (MeshError, TimeoutError):
            # whether it was renewed is unknown: it is held as long as the last answer says, and then it is not
            await self._look()
        else:
            self._held_until_s = asked_s + self._lease_s * 3 / 4
        return self._runtime.clock.monotonic_s() < self._held_until_s

    async def _look(self) -> None:
        assert self._bucket is not None  # noqa: S101 - `run` has opened it
        try:
            async with asyncio.timeout(self._lease_s / 4):
                entry = await self._bucket.get(_KEY)
        except NotFound:
            self._revision = 0
        except (MeshError, TimeoutError):
            return
        else:
            self._revision = entry.revision if entry.value == self._name else 0

    async def _give_back(self) -> None:
        if self._bucket is None or not self._held_until_s:
            return
        try:
            async with asyncio.timeout(1.0):
                await self._bucket.delete(_KEY)
        except (MeshError, TimeoutError):
            return  # it runs out by itself


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


__all__ = ["Lease"]
