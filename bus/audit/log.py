"""The writing side: a record is durable when `record` returns; what comes meanwhile shares the next message."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from bus.audit.records import RECORDS_TYPE, AccessEntry, bounded, encode
from bus.events.protocol import Events, NewEvent
from bus.telemetry.counters import Counters
from schemas import subjects
from schemas.errors import Closed, MeshError, ResourceExhausted
from schemas.subjects import SiteId

_IN_MESSAGE: Final = 128
_UNDER_WAY: Final = 4
_WAITING: Final = 20_000


class AccessLog:
    """Writes the access records of one service. No task runs while nothing is written."""

    def __init__(
        self, *, site: SiteId, events: Events, counters: Counters, timeout_s: float = 10.0
    ) -> None:
        self._subject = subjects.access_records(site)
        self._events = events
        self._counters = counters
        self._timeout_s = timeout_s
        self._waiting: deque[tuple[AccessEntry, asyncio.Future[None]]] = deque()
        self._writers: set[asyncio.Task[None]] = set()
        self._closed = False

    async def record(self, entry: AccessEntry) -> None:
        """Return when it is durable. Raises `MeshError` where that is not known.

        A caller that leaves does not take its record back.
        """
        await self.begin(entry)

    def begin(self, entry: AccessEntry) -> asyncio.Future[None]:
        """Take a record; the future tells when it is durable. Whether anybody waits for it changes nothing.

        Raises `Closed`, `ResourceExhausted`: then it was not taken.
        """
        if self._closed:
            raise Closed("the access log was stopped")
        if len(self._waiting) >= _WAITING:
            self._counters.add("access_record_failed", reason=ResourceExhausted.code)
            raise ResourceExhausted(
                f"{_WAITING} access records wait to be stored: the store is too slow or away"
            )
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((bounded(entry), stored))
        self._begin()
        return stored

    def _begin(self) -> None:
        if self._waiting and not self._closed and len(self._writers) < _UNDER_WAY:
            writer = asyncio.create_task(self._write(), name="access-log")
            self._writers.add(writer)
            writer.add_done_callback(self._ended)

    def _ended(self, writer: asyncio.Task[None]) -> None:
        """Were it ended by a bug, what waits must not wait for the next record."""
        self._writers.discard(writer)
        self._begin()

    async def _write(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), _IN_MESSAGE))]
            await self._store(batch)

    async def _store(self, batch: list[tuple[AccessEntry, asyncio.Future[None]]]) -> None:
        failure: MeshError | None = Closed(
            "the access log was stopped before the record was known to be stored"
        )
        try:
            await self._events.publish(
                NewEvent(
                    subject=self._subject,
                    type=RECORDS_TYPE,
                    body=encode([entry for entry, _ in batch]),
                ),
                timeout_s=self._timeout_s,
            )
            failure = None
        except MeshError as error:
            failure = error
        finally:
            self._answer(batch, failure)

    def _answer(
        self, batch: list[tuple[AccessEntry, asyncio.Future[None]]], failure: MeshError | None
    ) -> None:
        if failure is None:
            self._counters.add("access_recorded", count=len(batch))
        else:
            self._counters.add("access_record_failed", reason=failure.code, count=len(batch))
        for _, stored in batch:
            if stored.done():
                continue  # its caller has left
            if failure is None:
                stored.set_result(None)
            else:
                _fail(stored, failure)

    async def drain(self) -> None:
        """Return when everything has its answer."""
        while self._writers:
            await asyncio.wait(self._writers)

    async def stop(self) -> None:
        """Take nothing more; what is under way is given up and its callers are told."""
        self._closed = True
        writers = tuple(self._writers)
        for writer in writers:
            writer.cancel()
        await asyncio.gather(*writers, return_exceptions=True)
        while self._waiting:
            _, stored = self._waiting.popleft()
            if not stored.done():
                _fail(stored, Closed("the access log was stopped"))


def _fail(stored: asyncio.Future[None], error: MeshError) -> None:
    """Tell who waits. Where nobody does it is counted all the same, and asyncio has nothing to complain of."""
    stored.set_exception(error)
    stored.exception()


__all__ = ["AccessLog"]
