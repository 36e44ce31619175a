"""From the bucket of leases to the table: each record is verified once, however often it is renewed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from bus.envelope.types import Reason, Refused
from bus.services.discovery.entries import Key
from bus.services.discovery.records import RecordRefused, RecordSeals, instance_of
from bus.services.discovery.settings import DiscoverySettings
from bus.services.discovery.table import Changes, Table, TableFull
from bus.telemetry.counters import Counters
from bus.telemetry.log import logger
from bus.transport.protocol import Entry
from schemas.clock import Clock
from schemas.errors import MeshError

_log: Final = logger("discovery")
_PASSING = (Reason.UNKNOWN_SIGNER, Reason.DIRECTORY_STALE)
"""Refusals that may end by themselves: the next renewal is looked at again."""


@dataclass(frozen=True, slots=True)
class _Judged:
    raw: bytes = field(repr=False)
    at_s: float
    is_believed: bool


class LeaseReader:
    """Takes in what the bucket reports. `changed` never waits; `work` verifies, one record a turn of the loop."""

    def __init__(
        self,
        table: Table,
        seals: RecordSeals,
        *,
        site: str,
        clock: Clock,
        settings: DiscoverySettings,
        counters: Counters,
        report: Callable[[Changes], None],
    ) -> None:
        self._table = table
        self._seals = seals
        self._site = site
        self._clock = clock
        self._settings = settings
        self._counters = counters
        self._report = report
        self._judged: dict[Key, _Judged] = {}
        self._waiting: dict[Key, bytes] = {}
        self._arrived = asyncio.Event()
        self._news = asyncio.Event()
        self._reported: set[str] = set()
        self._awaited: set[str] = set()

    def changed(self, entry: Entry) -> None:
        """The bucket reports a key."""
        service, dot, instance = entry.key.partition(".")
        if not dot or "." in instance:
            self._refuse("", "wrong_key")
            return
        key, now_s = (service, instance), self._clock.monotonic_s()
        self._note(entry)
        if entry.value is None:
            self._waiting.pop(key, None)
            self._report(self._table.unleased(key, now_s))
            return
        judged = self._judged.get(key)
        is_same = judged is not None and judged.raw == entry.value
        if is_same and self._table.knows(key):
            self._report(self._table.renewed(key, now_s))
        if not (is_same and judged is not None and self._holds(judged, key, now_s)):
            self._queue(key, entry.value)

    def _note(self, entry: Entry) -> None:
        self._awaited.discard(entry.key)
        if entry.value is None:
            self._reported.discard(entry.key)
        elif len(self._reported) < 2 * self._settings.max_instances:
            self._reported.add(entry.key)
        self._news.set()

    def _holds(self, judged: _Judged, key: Key, now_s: float) -> bool:
        is_recent = now_s - judged.at_s < self._settings.verify_again_s
        return is_recent and (not judged.is_believed or self._table.knows(key))

    def _queue(self, key: Key, raw: bytes) -> None:
        if len(self._waiting) >= self._settings.max_instances:
            self._refuse(key[0], "too_many_waiting")  # its next renewal is looked at again
            return
        self._waiting[key] = raw
        self._arrived.set()

    async def seen(self, keys: Iterable[str]) -> None:
        """Wait until the bucket has reported these keys, and each is judged."""
        self._awaited = set(keys) - self._reported
        while self._awaited or self._waiting:
            self._news.clear()
            await self._news.wait()

    async def work(self) -> None:
        """Verify what comes, for ever."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                key = next(iter(self._waiting))
                await self._take(key, self._waiting.pop(key))
                await asyncio.sleep(
                    0
                )  # hundreds may come at once, and each costs a tenth of a millisecond
            self._news.set()

    async def _take(self, key: Key, raw: bytes) -> None:
        try:
            self._believe(key, raw)
        except Refused as refusal:
            try:
                if refusal.reason in _PASSING and await self._seals.fetch(refusal, raw):
                    self._believe(key, raw)
                    return
            except Refused as again:
                refusal = again
            except MeshError as error:
                self._refuse(key[0], error.code)
                return
            self._disbelieve(key, raw, refusal.reason.value, passing=refusal.reason in _PASSING)
        except RecordRefused as error:
            self._disbelieve(key, raw, error.reason)
        except TableFull as error:
            self._refuse(key[0], error.code)

    def _believe(self, key: Key, raw: bytes) -> None:
        signed = self._seals.open(raw, max_bytes=self._settings.max_record_bytes)
        instance = instance_of(signed, key=key, site=self._site)
        if instance.started_ms < self._table.started_ms(key):
            raise RecordRefused("stale_record", "one that was started later is listed")
        now_s = self._clock.monotonic_s()
        changes = self._table.announced(instance, now_s)
        self._remember(key, _Judged(raw, now_s, is_believed=True))
        self._report(changes)

    def _disbelieve(self, key: Key, raw: bytes, reason: str, *, passing: bool = False) -> None:
        self._refuse(key[0], reason)
        if passing:
            return
        now_s = self._clock.monotonic_s()
        judged = self._judged.get(key)
        if judged is not None and judged.is_believed and judged.raw == raw:
            self._report(self._table.refused(key, now_s))
        if reason != "stale_record":
            self._remember(key, _Judged(raw, now_s, is_believed=False))

    def _remember(self, key: Key, judged: _Judged) -> None:
        self._judged.pop(key, None)
        self._judged[key] = judged
        if len(self._judged) > 2 * self._settings.max_instances:
            del self._judged[next(iter(self._judged))]

    def _refuse(self, service: str, reason: str) -> None:
        # the name is whatever somebody wrote: it goes into the log, not into counters, which are kept for ever
        self._counters.add("record_refused", who="discovery", reason=reason)
        _log.warning("record_refused", service=service, reason=reason)


__all__ = ["LeaseReader"]
