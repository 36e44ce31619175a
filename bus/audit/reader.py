"""The auditors' side: read what was recorded, newest or oldest first, without a place of its own in the stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from bus.audit.records import RECORDS_TYPE, AccessEntry, decode
from bus.envelope.types import Refused
from bus.events.content import UnreadableContent, body_of, service_name
from bus.events.items import Tries
from bus.events.opening import EnvelopeReader, NotNow
from bus.events.streams import audit_stream
from bus.transport.protocol import Delivery, EventStore, NotFound
from schemas import subjects
from schemas.errors import Unavailable
from schemas.subjects import SiteId

_READ_AHEAD: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEntry:
    """One record and who vouches for it."""

    entry: AccessEntry
    recorded_by: str
    """The service whose certificate signed it."""
    stored_ms: int
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadableEntries:
    """A message in the audit stream that cannot be opened here, or must not be believed."""

    seq: int
    stored_ms: int
    reason: str


class AccessReader:
    """Reads access records; `inspector` is that of a service with `auditor_rights` (`MeshEvents.inspector`)."""

    def __init__(self, *, site: SiteId, store: EventStore, inspector: EnvelopeReader) -> None:
        self._site = site
        self._store = store
        self._stream = audit_stream(site)
        self._reader = inspector

    async def entries(self, *, since_ms: int = 0) -> AsyncIterator[StoredEntry | UnreadableEntries]:
        """Records stored since then, oldest first. Raises `MeshError`."""
        state = await self._store.stream_state(self._stream)
        first = await self._first_since(since_ms, state.first_seq, state.last_seq)
        seqs = range(first, state.last_seq + 1) if state.messages else range(0)
        for start in range(0, len(seqs), _READ_AHEAD):
            part = seqs[start : start + _READ_AHEAD]
            for delivery in await asyncio.gather(*(self._read(seq) for seq in part)):
                if delivery is not None and delivery.stored_ms >= since_ms:
                    for one in await self._opened(delivery):
                        yield one

    async def _first_since(self, since_ms: int, first: int, last: int) -> int:
        """The first sequence that may have been stored since then: nothing is ever deleted in between."""
        low, high = first, last + 1
        while since_ms and low < high:
            middle = (low + high) // 2
            delivery = await self._read(middle)
            if delivery is not None and delivery.stored_ms < since_ms:
                low = middle + 1
            else:
                high = middle
        return low

    async def _read(self, seq: int) -> Delivery | None:
        try:
            return await self._store.read(self._stream, seq)
        except NotFound:
            return None

    async def _opened(self, delivery: Delivery) -> list[StoredEntry | UnreadableEntries]:
        try:
            entries, recorder = await self._entries(delivery)
        except (Refused, UnreadableContent) as error:
            reason = error.reason.value if isinstance(error, Refused) else error.code
            return [
                UnreadableEntries(seq=delivery.seq, stored_ms=delivery.stored_ms, reason=reason)
            ]
        return [
            StoredEntry(
                entry=entry, recorded_by=recorder, stored_ms=delivery.stored_ms, seq=delivery.seq
            )
            for entry in entries
        ]

    async def _entries(self, delivery: Delivery) -> tuple[tuple[AccessEntry, ...], str]:
        tries = Tries()
        opened = await self._reader.open(tries, delivery.subject, delivery.payload)
        if isinstance(opened, NotNow):
            raise Unavailable(f"an access record cannot be opened now: {opened.reason}")
        if delivery.subject != subjects.access_records(self._site):
            raise UnreadableContent("the message lies on another subject than access records")
        if opened.content.type != RECORDS_TYPE:
            raise UnreadableContent(f"message {delivery.seq} is not of type {RECORDS_TYPE}")
        waits = await self._reader.restore(tries, opened)
        if waits is not None:
            raise Unavailable(f"an access record cannot be read now: {waits.reason}")
        return decode(body_of(opened.content)), service_name(opened.sender.service)


__all__ = ["AccessReader", "StoredEntry", "UnreadableEntries"]
