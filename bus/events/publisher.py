"""Publish: sealed, signed and stored before it returns; concurrent calls share one signature and one commit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

from bus.envelope.seals import Seals
from bus.envelope.types import EpochId, Plain, SealedEnvelope
from bus.events.commits import CommitLimits, Commits
from bus.events.content import MESSAGE_ID_BYTES, to_content
from bus.events.group import Entry
from bus.events.protocol import NewEvent, StoredEvent
from bus.events.sizes import check_event
from bus.events.streams import stream_for
from bus.telemetry.counters import Counters
from bus.transport.protocol import EventStore
from schemas import subjects
from schemas.clock import Clock
from schemas.errors import Closed, DeadlineExceeded, MeshError
from schemas.generated.medmesh.content.v1 import content_pb2 as content_pb
from schemas.subjects import SiteId

_SURELY_FITS_BYTES: Final = 64 * 1024
"""Below this nothing is counted: every carrier that is taken at all takes it."""


class Publisher:
    """Stores the events of one service into the streams of its site."""

    def __init__(
        self,
        *,
        site: SiteId,
        store: EventStore,
        seals: Seals,
        clock: Clock,
        counters: Counters,
        fresh_id: Callable[[], bytes],
        max_payload: Callable[[], int],
        limits: CommitLimits | None = None,
    ) -> None:
        self._site = site
        self._max_payload = max_payload
        self._store = store
        self._seals = seals
        self._clock = clock
        self._counters = counters
        self._fresh_id = fresh_id
        self._limits = limits or CommitLimits()
        self._commits: dict[str, Commits] = {}
        self._unpublished: dict[EpochId, bytes] = {}
        self._packages = asyncio.Lock()
        self._closed = False

    async def publish(self, event: NewEvent, *, timeout_s: float) -> StoredEvent:
        """Seal and store one event of this site; returns when it is durable.

        Raises `SubjectError`, `ContentTooLarge`, `StreamFull`, `DeadlineExceeded`, `Unavailable`, `PermissionRefused`,
        `Closed`.
        """
        if self._closed:
            raise Closed("this publisher was stopped")
        stream = _stream_of(event.subject, self._site)
        message_id = event.message_id or self._fresh_id()
        if len(message_id) != MESSAGE_ID_BYTES:
            raise ValueError(f"a message id has {MESSAGE_ID_BYTES} bytes, not {len(message_id)}")
        if len(event.body) > _SURELY_FITS_BYTES and event.subject.startswith("evt."):
            # dead letters and orders hold what passed here already
            check_event(self._content(event, message_id).ByteSize(), self._max_payload())
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        entry = Entry(event, message_id, deadline_s, loop.create_future())
        timer = loop.call_at(deadline_s, self._expire, entry, stream, timeout_s)
        try:
            await self._into(stream).add(entry)
            return await entry.result
        finally:
            timer.cancel()
            _abandon(entry)

    def _expire(self, entry: Entry, stream: str, timeout_s: float) -> None:
        if entry.gone:
            return
        self._counters.add("publish_failed", who=stream, reason=DeadlineExceeded.code)
        entry.result.set_exception(
            DeadlineExceeded(
                f"not known to be stored within {timeout_s} s; sending it again with the same message id is safe"
            )
        )

    def _into(self, stream: str) -> Commits:
        commits = self._commits.get(stream)
        if commits is None:
            commits = self._commits[stream] = Commits(
                stream=stream,
                store=self._store,
                seal=self._seal,
                plain=self._plain,
                counters=self._counters,
                limits=self._limits,
            )
        return commits

    def _plain(self, entry: Entry) -> Plain:
        content = self._content(entry.event, entry.message_id)
        return Plain(subject=entry.event.subject, content=content)

    def _content(self, event: NewEvent, message_id: bytes) -> content_pb.Content:
        return to_content(
            event,
            message_id=message_id,
            source=self._seals.service,
            now_ms=self._clock.now_ms(),
        )

    async def _seal(self, plains: Sequence[Plain]) -> Sequence[SealedEnvelope | MeshError]:
        try:
            sealed: Sequence[SealedEnvelope | MeshError] = self._sealed(plains)
        except MeshError as error:
            # one that may not be sealed must not refuse its neighbours
            sealed = [error] if len(plains) == 1 else [self._sealed_alone(p) for p in plains]
        await self._publish_packages()
        return sealed

    def _sealed(self, plains: Sequence[Plain]) -> tuple[SealedEnvelope, ...]:
        batch = self._seals.seal(plains)
        self._unpublished.update(batch.key_packages)
        return batch.envelopes

    def _sealed_alone(self, plain: Plain) -> SealedEnvelope | MeshError:
        try:
            return self._sealed([plain])[0]
        except MeshError as error:
            return error

    async def _publish_packages(self) -> None:
        """Have every key package where readers find it before an envelope that needs it leaves.

        Packages that could not be published stay here for the next commit: the sealer gives each only once. Commits
        into other streams may use the same epoch, so they wait here too.
        """
        if not self._unpublished and not self._packages.locked():
            return
        async with self._packages:
            for epoch, package in list(self._unpublished.items()):
                await self._seals.publish_package(epoch, package)
                del self._unpublished[epoch]

    async def drain(self) -> None:
        """Return when everything that was published has its answer."""
        for commits in tuple(self._commits.values()):
            await commits.settled()

    async def stop(self) -> None:
        """Take nothing more; callers that still wait get `Unavailable`."""
        self._closed = True
        for commits in self._commits.values():
            await commits.stop()


@lru_cache(maxsize=4096)
def _stream_of(subject: str, site: SiteId) -> str:
    return stream_for(subjects.subject(subject), site)


def _abandon(entry: Entry) -> None:
    """Its caller has left: what was not taken up yet is not sent for nobody."""
    if not entry.result.cancel() and not entry.result.cancelled():
        entry.result.exception()  # an answer that came too late has been seen


__all__ = ["Publisher"]
