"""Delivers queues to endpoints: handshake, events in order, heartbeats, patience while a subscriber is away."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import msgspec

from bus.flow.backoff import backoff_s
from bus.telemetry.failures import failure_fields
from bus.telemetry.log import logger
from gateway.access.protocol import Access, AccessRecord, Client, Deed, Proof
from gateway.contract import GatewayRuntime
from gateway.subscriptions.book import Book, Changed
from gateway.subscriptions.bundles import Purpose
from gateway.subscriptions.catalogue import Topics
from gateway.subscriptions.contents import Contents
from gateway.subscriptions.hook import Hook
from gateway.subscriptions.model import REST_HOOK, Happening, Record
from gateway.subscriptions.permits import WITHDRAWN, Permits
from schemas.errors import MeshError
from schemas.gateway.subscriptions import SubscriptionsSection

_log = logger(__name__)
_LOOK_S: Final = 60.0
"""At least so often it is looked whether a subscription has ended."""
_TRIES: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What deliveries by whatever channel need."""

    runtime: GatewayRuntime
    access: Access
    section: SubscriptionsSection
    book: Book
    topics: Topics
    permits: Permits
    contents: Contents

    def may(self, record: Record) -> bool:
        """Whether its client may still see what the topic is about."""
        topic = self.topics.get(record.wish.topic)
        return topic is not None and self.permits.may_see(record, topic.types)

    def batch(self, record: Record) -> int:
        """How many events one notification holds at most."""
        most = self.section.max_events
        return min(record.wish.max_count or most, most)

    async def change(self, id_: str, status: str, trouble: str = "") -> None:
        """Write a status. Raises `MeshError`."""
        for _ in range(_TRIES):
            record = self.book.record(id_)
            if record is None or (record.status, record.trouble) == (status, trouble):
                return
            if record.status == "off":
                return
            after = msgspec.structs.replace(
                record,
                status=status,
                trouble=trouble,
                version=record.version + 1,
                updated_ms=self.runtime.clock.now_ms(),
            )
            with suppress(Changed):
                await self.book.put(after, replaces=record.version)
                self.count("subscription_status", status)
                return

    async def note(
        self, record: Record, events: list[Happening], channel: str, *, client: str = ""
    ) -> None:
        """Keep who is told what, before it leaves. Raises `MeshError`."""
        told = ",".join(dict.fromkeys(one.focus for one in events))
        numbers = f"{events[0].number}-{events[-1].number}"
        told_to = Client(
            name=client or record.client,
            proof=Proof.NOTHING,
            user=record.user,
            purpose=record.purpose,
            scopes=record.scopes,
        )
        await self.access.record(
            AccessRecord(
                client=told_to,
                deed=Deed.SUBSCRIBE,
                what=told,
                details={
                    "subscription": record.id,
                    "events": numbers,
                    "content": record.wish.content,
                    "channel": channel,
                },
            )
        )

    def count(self, name: str, reason: str) -> None:
        """Count for operators."""
        self.runtime.counters.add(name, who="subscriptions", reason=reason)


class Deliverer:
    """Delivers every rest-hook of a site, one task each, while this gateway holds the lease."""

    def __init__(self, desk: Desk, hook: Hook) -> None:
        self._desk = desk
        self._hook = hook

    async def run(self) -> None:
        """For ever."""
        running: dict[str, asyncio.Task[None]] = {}
        book = self._desk.book
        try:
            while True:
                changed = book.changed
                wanted = {
                    one.id
                    for one in book.records()
                    if one.wish.channel == REST_HOOK and one.status != "off"
                }
                for id_ in running.keys() - wanted:
                    running.pop(id_).cancel()
                for id_ in wanted:
                    if id_ not in running or running[id_].done():
                        running[id_] = asyncio.create_task(self._deliver(id_))
                await changed.wait()
        finally:
            for task in running.values():
                task.cancel()
            if running:
                await asyncio.wait(running.values())

    async def _deliver(self, id_: str) -> None:
        try:
            await Runner(self._desk, self._hook, id_).run()
        except Exception as error:  # noqa: BLE001 - the task's outermost edge: the others go on, it begins anew
            self._desk.count("subscription_failed", type(error).__name__)
            _log.error("subscription_failed", component="subscriptions", **failure_fields(error))
            await asyncio.sleep(self._desk.section.longest_delay_s)


class Runner:
    """Delivers one queue."""

    def __init__(self, desk: Desk, hook: Hook, id_: str) -> None:
        self._desk = desk
        self._hook = hook
        self._id = id_
        self._failures = 0
        self._heard_s = desk.runtime.clock.monotonic_s()

    async def run(self) -> None:
        """Until the subscription is gone or off."""
        while (record := self._record()) is not None:
            changed = self._desk.book.changed
            try:
                wait_s = await self._step(record)
                self._failures = 0
            except Changed:
                continue
            except MeshError as error:
                wait_s = await self._failed(record, error)
            if wait_s:
                await self._wait(record, changed, wait_s)

    def _record(self) -> Record | None:
        record = self._desk.book.record(self._id)
        return None if record is None or record.status == "off" else record

    async def _wait(self, record: Record, changed: asyncio.Event, wait_s: float) -> None:
        """Until the time is over, or the subscription, or, where nothing failed, its queue is another one."""
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                while True:
                    await changed.wait()
                    changed = self._desk.book.changed
                    now = self._record()
                    is_renewed = now is not None and (
                        now.wish != record.wish
                        or (now.status == "requested" and now.version > record.version)
                    )
                    if now is None or is_renewed:
                        self._failures = 0
                        return
                    if not self._failures and self._desk.book.head(self._id).number > (
                        self._desk.book.sent(self._id)
                    ):
                        return

    async def _step(self, record: Record) -> float:
        """Do what is due; seconds until something may be due again, 0: at once. Raises `MeshError`, `Changed`."""
        desk, book = self._desk, self._desk.book
        end_ms = record.wish.end_ms
        if end_ms and desk.runtime.clock.now_ms() >= end_ms:
            await desk.change(self._id, "off", "its end has come")
            return 0.0
        if not desk.may(record):
            await desk.change(self._id, "error", WITHDRAWN)
            return _LOOK_S
        if record.status == "requested":
            await self._greet(record)
            return 0.0
        waiting = await self._waiting(record)
        if waiting:
            await self._send(record, waiting)
        elif record.status == "error":
            await self._greet(record)
        elif self._is_heartbeat_due(record):
            await self._post(record, Purpose.HEARTBEAT)
        if record.status == "error":
            await desk.change(self._id, "active")
            return 0.0
        if waiting or book.head(self._id).number > book.sent(self._id):
            return 0.0
        return self._until_heartbeat_s(record)

    async def _waiting(self, record: Record) -> list[Happening]:
        book = self._desk.book
        first = book.sent(self._id) + 1
        newest = book.head(self._id).number
        if first > newest:
            return []
        found = await book.events(self._id, first, first + self._desk.batch(record) - 1)
        if not found:
            found = (await book.events(self._id, first, newest))[: self._desk.batch(record)]
            lost = (found[0].number if found else newest + 1) - first
            self._desk.runtime.counters.add(
                "subscription_expired", who="subscriptions", reason="keep_events", count=lost
            )
            if not found:
                await book.mark_sent(self._id, newest)
        return found

    async def _send(self, record: Record, events: list[Happening]) -> None:
        desk = self._desk
        body, count = await desk.contents.bundle(record, Purpose.EVENT, events)
        events = events[:count]
        await desk.note(record, events, REST_HOOK)
        await self._hook.post(record.wish, body)
        self._heard()
        await desk.book.mark_sent(self._id, events[-1].number)
        desk.runtime.counters.add(
            "subscription_event", who="subscriptions", reason="sent", count=count
        )

    async def _greet(self, record: Record) -> None:
        await self._post(record, Purpose.HANDSHAKE)
        await self._desk.change(self._id, "active")

    async def _post(self, record: Record, purpose: Purpose) -> None:
        total = self._desk.book.head(self._id).number
        body, _ = await self._desk.contents.bundle(record, purpose, (), total=total)
        await self._hook.post(record.wish, body)
        self._desk.count("subscription_notification", purpose.value)
        self._heard()

    def _heard(self) -> None:
        self._heard_s = self._desk.runtime.clock.monotonic_s()

    def _is_heartbeat_due(self, record: Record) -> bool:
        period_s = record.wish.heartbeat_s
        return bool(period_s) and self._since_s() >= period_s

    def _since_s(self) -> float:
        return self._desk.runtime.clock.monotonic_s() - self._heard_s

    def _until_heartbeat_s(self, record: Record) -> float:
        period_s = record.wish.heartbeat_s
        left_s = max(0.05, period_s - self._since_s()) if period_s else _LOOK_S
        end_ms = record.wish.end_ms
        if end_ms:
            left_s = min(left_s, max(0.05, (end_ms - self._desk.runtime.clock.now_ms()) / 1000))
        return min(left_s, _LOOK_S)

    async def _failed(self, record: Record, error: MeshError) -> float:
        """Count it, tell it where it lasts, and say how long to wait."""
        self._failures += 1
        self._desk.count("subscription_failed", error.code)
        _log.warning("subscription_failed", component="subscriptions", reason=error.code)
        is_handshake = record.status == "requested"
        if is_handshake or self._failures >= self._desk.section.error_after:
            with suppress(MeshError):
                await self._desk.change(self._id, "error", f"{error.code}: {error}")
        section = self._desk.section
        return backoff_s(
            _Delays(section.longest_delay_s), self._failures, self._desk.runtime.random
        )


@dataclass(frozen=True, slots=True)
class _Delays:
    """How a subscriber that is away is tried again."""

    longest_delay_s: float
    first_delay_s: float = 0.5
    multiplier: float = 2.0
    jitter: float = 0.2


__all__ = ["Deliverer", "Desk", "Runner"]
