"""Every subscription of a site, kept in the mesh and followed by each gateway: what one writes, all of them see."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace as _replace
from typing import Final

import msgspec

from bus.transport.protocol import Entry, KeyValue, NotFound, Subscription, WrongRevision
from gateway.contract import GatewayRuntime
from gateway.subscriptions.model import PAGE, Happening, Head, Page, Record, Sent
from gateway.subscriptions.sealing import BadSeal, Safe
from schemas.errors import Closed, Unavailable

BUCKET: Final = "gateway-subscriptions"
LOG: Final = "gateway-subscription-log"
_RECORD: Final = "s"
_HEAD: Final = "h"
_SENT: Final = "d"
_MARK: Final = "mark"
_SEEN_S: Final = 10.0
_TRIES: Final = 20


class Changed(Exception):
    """Somebody else wrote meanwhile: read again."""


class Book:
    """Reads and writes subscriptions and their queues; `start`, `stop`."""

    def __init__(self, runtime: GatewayRuntime, *, keep_events: int) -> None:
        self._runtime = runtime
        self._safe = Safe(runtime.site, runtime.site_key)
        self._keep_pages = max(2, keep_events // PAGE)
        self._bucket: KeyValue | None = None
        self._log: KeyValue | None = None
        self._watch: Subscription | None = None
        self._entries: dict[str, Entry] = {}
        self._opened: dict[str, Record | Head | Sent] = {}
        self._records: list[Record] | None = None
        self._locks: dict[str, asyncio.Lock] = {}
        self._revision = 0
        self._change = asyncio.Event()
        self._asking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open the buckets and follow them. Raises `MeshError`."""
        self._bucket = await self._runtime.records(BUCKET)
        self._log = await self._runtime.records(LOG)
        self._watch = await self._bucket.watch(">", self._saw)
        await self.catch_up()

    async def stop(self) -> None:
        """Follow no more."""
        watch, self._watch = self._watch, None
        if watch is not None:
            await watch.close()

    # what is known

    def _saw(self, entry: Entry) -> None:
        self._revision = max(self._revision, entry.revision)
        known = self._entries.get(entry.key)
        if known is None or known.revision < entry.revision:
            self._entries[entry.key] = entry
            self._opened.pop(entry.key, None)
            if entry.value is None and entry.key.startswith(f"{_RECORD}."):
                self._locks.pop(entry.key.partition(".")[2], None)
        self._wake(entry.key)

    def _wake(self, place: str) -> None:
        if place.startswith(f"{_RECORD}."):
            self._records = None
        self._change.set()
        self._change = asyncio.Event()

    @property
    def changed(self) -> asyncio.Event:
        """Set at the next change of anything."""
        return self._change

    def _value(self, place: str, kind: type[Record] | type[Head] | type[Sent]) -> object:
        entry = self._entries.get(place)
        if entry is None or entry.value is None:
            return None
        found = self._opened.get(place)
        if found is None:
            try:
                found = self._opened[place] = self._safe.open(place, entry.value, kind)
            except BadSeal:
                self._runtime.counters.add(
                    "subscription_unreadable", who="subscriptions", reason="bad_seal"
                )
                return None
        return found

    def record(self, id_: str) -> Record | None:
        """A subscription as it was seen last."""
        found = self._value(f"{_RECORD}.{id_}", Record)
        return found if isinstance(found, Record) else None

    def records(self) -> list[Record]:
        """All of them, by id."""
        if self._records is None:
            self._records = self._read_records()
        return self._records

    def _read_records(self) -> list[Record]:
        ids = sorted(
            key.partition(".")[2]
            for key, entry in self._entries.items()
            if key.startswith(f"{_RECORD}.") and entry.value is not None
        )
        return [one for id_ in ids if (one := self.record(id_)) is not None]

    def head(self, id_: str) -> Head:
        """The end of its queue."""
        found = self._value(f"{_HEAD}.{id_}", Head)
        return found if isinstance(found, Head) else Head()

    def sent(self, id_: str) -> int:
        """The newest number that was sent."""
        found = self._value(f"{_SENT}.{id_}", Sent)
        return found.number if isinstance(found, Sent) else 0

    async def catch_up(self) -> None:
        """Wait until everything is known that was written before this call. Calls share one question.

        Raises `Unavailable`.
        """
        asking = self._asking
        if asking is not None and not asking.done():
            # it may have asked before what this caller must see was written: wait for it, and ask once more
            await asyncio.wait([asking])
            asking = self._asking
        if asking is None or asking.done():
            asking = self._asking = asyncio.create_task(self._catch_up())
        await asyncio.shield(asking)

    async def _catch_up(self) -> None:
        try:
            wanted = (await self._kv.get(_MARK)).revision
        except NotFound:
            return
        try:
            async with asyncio.timeout(_SEEN_S):
                while self._revision < wanted:
                    await self._change.wait()
        except TimeoutError:
            raise Unavailable("the subscriptions of the site are not known here yet") from None

    @property
    def _kv(self) -> KeyValue:
        if self._bucket is None:
            raise Closed("the subscriptions were not opened")
        return self._bucket

    @property
    def _pages(self) -> KeyValue:
        if self._log is None:
            raise Closed("the subscriptions were not opened")
        return self._log

    # writing

    async def _swap(self, place: str, value: Record | Head | Sent) -> None:
        known = self._entries.get(place)
        revision = known.revision if known is not None and known.value is not None else 0
        sealed = self._safe.seal(place, value)
        try:
            written = await self._kv.swap(place, sealed, revision=revision)
        except WrongRevision:
            await self._reread(place)
            raise Changed from None
        self._note(place, sealed, written, value)

    def _note(self, place: str, sealed: bytes, revision: int, value: Record | Head | Sent) -> None:
        known = self._entries.get(place)
        if known is None or known.revision <= revision:
            self._entries[place] = Entry(key=place, value=sealed, revision=revision)
            self._opened[place] = value
        self._wake(place)

    async def _reread(self, place: str) -> None:
        try:
            entry = await self._kv.get(place)
        except NotFound:
            entry = None
        known = self._entries.get(place)
        if entry is not None and (known is None or known.revision < entry.revision):
            self._entries[place] = entry
            self._opened.pop(place, None)
            self._wake(place)
        elif entry is None and known is not None and known.value is not None:
            self._entries[place] = _replace(known, value=None)
            self._opened.pop(place, None)
            self._wake(place)

    async def put(self, record: Record, *, replaces: int) -> None:
        """Write a subscription whose known version is `replaces` (0: none), and let every gateway know.

        Raises `Changed`.
        """
        known = self.record(record.id)
        if (known.version if known is not None else 0) != replaces:
            raise Changed
        await self._swap(f"{_RECORD}.{record.id}", record)
        await self._kv.put(_MARK, b"")

    async def delete(self, id_: str) -> None:
        """Forget a subscription and its queue."""
        newest = self.head(id_).number // PAGE
        for place in (f"{_RECORD}.{id_}", f"{_HEAD}.{id_}", f"{_SENT}.{id_}"):
            await self._forget(self._kv, place)
            self._opened.pop(place, None)
            known = self._entries.get(place)
            if known is not None:
                self._entries[place] = _replace(known, value=None)
        await self._kv.put(_MARK, b"")
        for page in range(max(0, newest - self._keep_pages - 1), newest + 1):
            await self._forget(self._pages, f"{id_}.{page}")
        self._wake(f"{_RECORD}.{id_}")

    async def _forget(self, bucket: KeyValue, place: str) -> None:
        try:
            await bucket.delete(place)
        except NotFound:
            return

    # queues

    async def append(
        self, id_: str, event: Happening, *, partition: int, seq: int, fence: int
    ) -> int:
        """Give the event its number and keep it; 0 when it is there already. Raises `Unavailable`.

        One write makes it durable, so that neither two gateways nor a second delivery give one event two numbers.
        """
        async with self._locks.setdefault(id_, asyncio.Lock()):
            for _ in range(_TRIES):
                head = self.head(id_)
                place, holder = head.places.get(partition, (0, 0))
                if fence < holder:
                    raise Unavailable("the partition has another owner")
                if seq <= place:
                    return 0
                numbered = msgspec.structs.replace(event, number=head.number + 1)
                try:
                    await self._extend(id_, head, numbered, {partition: (seq, fence)})
                except Changed:
                    continue
                return numbered.number
        raise Unavailable("too many gateways write to one queue at a time")

    async def _extend(
        self, id_: str, head: Head, event: Happening, place: dict[int, tuple[int, int]]
    ) -> None:
        kept = head.open
        if len(kept) >= PAGE:
            await self._turn(id_, kept)
            kept = ()
        after = Head(number=event.number, places=head.places | place, open=(*kept, event))
        await self._swap(f"{_HEAD}.{id_}", after)

    async def _turn(self, id_: str, full: Sequence[Happening]) -> None:
        """Lay a full page aside. Whoever does it writes the same."""
        page = (full[0].number - 1) // PAGE
        place = f"{id_}.{page}"
        await self._pages.put(place, self._safe.seal(place, Page(tuple(full))))
        if page >= self._keep_pages:
            await self._forget(self._pages, f"{id_}.{page - self._keep_pages}")

    async def events(self, id_: str, first: int, last: int) -> list[Happening]:
        """The events numbered first to last (inclusive) that are still kept."""
        head = self.head(id_)
        last = min(last, head.number)
        first = max(first, 1, head.number - (self._keep_pages + 1) * PAGE)
        if first > last:
            return []
        start = head.open[0].number if head.open else head.number + 1
        found: list[Happening] = []
        for page in range((first - 1) // PAGE, (min(last, start - 1) - 1) // PAGE + 1):
            found += await self._page(f"{id_}.{page}")
        return [one for one in (*found, *head.open) if first <= one.number <= last]

    async def _page(self, place: str) -> tuple[Happening, ...]:
        try:
            entry = await self._pages.get(place)
        except NotFound:
            return ()
        return self._safe.open(place, entry.value or b"", Page).events

    async def mark_sent(self, id_: str, number: int) -> None:
        """Everything up to this number was sent. Raises `Changed` where another gateway has said so meanwhile."""
        if number > self.sent(id_):
            await self._swap(f"{_SENT}.{id_}", Sent(number=number))


__all__ = ["BUCKET", "LOG", "Book", "Changed"]
