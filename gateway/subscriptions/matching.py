"""From a change of a resource to the queues of the subscriptions that it concerns."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import orjson

from adapters.fhir.store.events import Change
from adapters.fhir.store.refusals import Refusal
from bus.events.protocol import ReceivedEvent, Rejected
from gateway.contract import GatewayRuntime
from gateway.subscriptions.book import Book
from gateway.subscriptions.catalogue import Topics
from gateway.subscriptions.filters import Looked, query_pairs
from gateway.subscriptions.model import Happening, Record
from gateway.subscriptions.permits import Permits
from gateway.subscriptions.topics import Topic, Trigger

Fetch = Callable[[str, str, str, str], Awaitable[bytes | None]]
"""(release, type, id, version) to a version's body; None where there is none. Raises `Unavailable`."""
Release = Callable[[str], str]
"""The release of FHIR that a service owns. Raises `Unavailable`."""


@dataclass(slots=True, kw_only=True)
class _Change:
    """One event, and what is looked up for it once."""

    change: Change
    type: str
    id: str
    version: str
    release: str
    body: dict[str, Any]
    now_ms: int
    previous: dict[str, Any] | None = None
    has_previous: bool = False


class Matcher:
    """Handles events of owners."""

    def __init__(
        self,
        runtime: GatewayRuntime,
        *,
        book: Book,
        topics: Topics,
        permits: Permits,
        fetch: Fetch,
        release: Release,
    ) -> None:
        self._runtime = runtime
        self._book = book
        self._topics = topics
        self._permits = permits
        self._fetch = fetch
        self._release = release

    async def handle(self, event: ReceivedEvent) -> None:
        """Queue one event. Raises `Rejected` for what is no change, `Unavailable` when it must come again."""
        seen = self._read(event)
        await self._book.catch_up()
        for record in self._book.records():
            topic = self._topics.get(record.wish.topic)
            if topic is None or record.release != seen.release or record.status == "off":
                continue
            if await self._is_for(seen, record, topic):
                await self._queue(record, seen, event)

    async def _is_for(self, seen: _Change, record: Record, topic: Topic) -> bool:
        """Whether it concerns a subscription; one whose filter cannot be evaluated holds nobody else up."""
        try:
            return await self._concerns(seen, record, topic)
        except Refusal:
            self._runtime.counters.add("subscription_event", who="subscriptions", reason="unclear")
            return False

    async def _queue(self, record: Record, seen: _Change, event: ReceivedEvent) -> None:
        happening = Happening(
            number=0,
            stored_ms=event.stored_ms,
            type=seen.type,
            id=seen.id,
            version=seen.version,
            change=seen.change.value,
        )
        number = await self._book.append(
            record.id, happening, partition=event.partition, seq=event.seq, fence=event.fence
        )
        self._runtime.counters.add(
            "subscription_event", who="subscriptions", reason="queued" if number else "known"
        )

    def _read(self, event: ReceivedEvent) -> _Change:
        name, _, change = event.subject.split(".")[3].rpartition("_")
        try:
            body = orjson.loads(event.body)
            type_, id_ = str(body["resourceType"]), str(body["id"])
            version = str(body.get("meta", {}).get("versionId", ""))
            found = Change(change)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise _no_change() from None
        if type_.lower() != name:
            raise _no_change()
        return _Change(
            change=found,
            type=type_,
            id=id_,
            version=version,
            release=self._release(event.source),
            body=body,
            now_ms=self._runtime.clock.now_ms(),
        )

    async def _concerns(self, seen: _Change, record: Record, topic: Topic) -> bool:
        triggers = [
            one for one in topic.triggers if one.type == seen.type and seen.change in one.changes
        ]
        if not triggers or not self._permits.may_see(record, (seen.type,)):
            return False
        for trigger in triggers:
            if await self._sets_off(seen, trigger, record):
                return await self._fits_filters(seen, record)
        return False

    async def _sets_off(self, seen: _Change, trigger: Trigger, record: Record) -> bool:
        """The query criteria of a trigger (FHIR R5, SubscriptionTopic.resourceTrigger.queryCriteria)."""
        told: list[bool] = []
        if trigger.previous:
            if seen.change is Change.CREATED:
                told.append(trigger.for_create)
            else:
                before = await self._before(seen)
                told.append(
                    before is not None and self._fits(before, trigger.previous, seen, record)
                )
        if trigger.current:
            if seen.change is Change.DELETED:
                told.append(trigger.for_delete)
            else:
                told.append(self._fits(seen.body, trigger.current, seen, record))
        if not told:
            return True
        return all(told) if trigger.needs_both else any(told)

    async def _fits_filters(self, seen: _Change, record: Record) -> bool:
        pairs = [
            (one.name, one.value)
            for one in record.wish.filters
            if one.resource_type in ("", seen.type)
        ]
        if not pairs:
            return True
        # what is deleted has no content any more: its last version is what a filter was about
        about = await self._before(seen) if seen.change is Change.DELETED else seen.body
        if about is None:
            return False
        return self._look(about, seen, record).fits(pairs, now_ms=seen.now_ms)

    def _fits(self, body: dict[str, Any], query: str, seen: _Change, record: Record) -> bool:
        return self._look(body, seen, record).fits(query_pairs(query), now_ms=seen.now_ms)

    def _look(self, body: dict[str, Any], seen: _Change, record: Record) -> Looked:
        return self._topics.judge(seen.release).look(body, base=record.base)

    async def _before(self, seen: _Change) -> dict[str, Any] | None:
        """The version before; looked up once for an event."""
        if not seen.has_previous:
            seen.has_previous = True
            if seen.version.isdigit() and int(seen.version) > 1:
                wanted = str(int(seen.version) - 1)
                body = await self._fetch(seen.release, seen.type, seen.id, wanted)
                seen.previous = orjson.loads(body) if body else None
        return seen.previous


def _no_change() -> Rejected:
    return Rejected("the event is no change of the resource that its subject names")


__all__ = ["Fetch", "Matcher", "Release"]
