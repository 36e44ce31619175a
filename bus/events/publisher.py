"""Publish: sealed, signed and stored before it returns; concurrent calls share one signature and one commit."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

from bus.bodies import BodyCodec
from bus.envelope.seals import Seals
from bus.envelope.types import EpochId, Plain, SealedEnvelope
from bus.events.commits import CommitLimits, Commits
from bus.events.content import MESSAGE_ID_BYTES, to_content
from bus.events.group import Entry
from bus.events.path import StorePath
from bus.events.protocol import Fits, NewEvent, StoredEvent
from bus.events.sizes import check_event
from bus.events.streams import stream_for
from bus.flow import Priority, Quota, QuotaLimits
from bus.telemetry.counters import Counters
from bus.transport.protocol import EventStore, NotFound
from schemas import subjects
from schemas.clock import Clock
from schemas.errors import Closed, DeadlineExceeded, MeshError, ResourceExhausted
from schemas.generated.medmesh.content.v1 import content_pb2 as content_pb
from schemas.subjects import SiteId

_SURELY_FITS_BYTES: Final = 64 * 1024
"""Below this nothing is counted: every carrier that is taken at all takes it."""

_QUESTIONS: Final = 3


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
        codec: BodyCodec | None = None,
        limits: CommitLimits | None = None,
        quota: QuotaLimits | None = None,
        path: StorePath | None = None,
        fits: Fits | None = None,
    ) -> None:
        self._site = site
        self._max_payload = max_payload
        self._store = store
        self._seals = seals
        self._clock = clock
        self._counters = counters
        self._fresh_id = fresh_id
        self._codec = codec
        self._fits = fits
        self._limits = limits or CommitLimits()
        self._quota_limits = quota or QuotaLimits()
        self._quota = Quota(self._quota_limits)
        self._held_back: Counter[str] = Counter()
        """Events that wait for the quota, by subject: none of theirs passes them."""
        self._path = path or StorePath(clock)
        self._probe: asyncio.Task[None] | None = None
        self._commits: dict[str, Commits] = {}
        self._unpublished: dict[EpochId, bytes] = {}
        self._packages = asyncio.Lock()
        self._closed = False

    async def publish(self, event: NewEvent, *, timeout_s: float) -> StoredEvent:
        """Seal and store one event of this site; returns when it is durable.

        Raises `SubjectError`, `ContentTooLarge`, `StreamFull`, `ResourceExhausted`, `DeadlineExceeded`, `Unavailable`,
        `PermissionRefused`, `SchemaRefused`, `Closed`.
        """
        if self._closed:
            raise Closed("this publisher was stopped")
        stream = _stream_of(event.subject, self._site)
        message_id = event.message_id or self._fresh_id()
        if len(message_id) != MESSAGE_ID_BYTES:
            raise ValueError(f"a message id has {MESSAGE_ID_BYTES} bytes, not {len(message_id)}")
        # dead letters and orders hold what passed here already
        is_new = event.subject.startswith("evt.")
        schema_id = b""
        if is_new and self._fits is not None:
            schema_id = self._fits(event.subject, event.type, event.body)
        if is_new and len(event.body) > _SURELY_FITS_BYTES:
            # as it is: whether an event is accepted must not depend on how well it compresses
            check_event(
                self._content(event, message_id, None, schema_id).ByteSize(), self._max_payload()
            )
        self._look(stream)
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        if is_new and not self._quota_limits.is_unlimited:
            await self._keep_quota(event, stream, timeout_s)
        entry = Entry(event, message_id, deadline_s, loop.create_future(), schema_id)
        timer = loop.call_at(deadline_s, self._expire, entry, stream, timeout_s)
        try:
            self._into(stream).add(entry)
            return await entry.result
        finally:
            timer.cancel()
            _abandon(entry)

    async def _keep_quota(self, event: NewEvent, stream: str, timeout_s: float) -> None:
        subject, now_s = event.subject, self._clock.monotonic_s()
        # where events of the same subject are held back, nothing passes them
        priority = Priority.ROUTINE if self._held_back[subject] else event.priority
        verdict = self._quota.ask(len(event.body), priority, now_s, timeout_s)
        if verdict.exceeded:
            self._counters.add("publish_refused", who=stream, reason=verdict.exceeded)
            allowed = getattr(self._quota_limits, verdict.exceeded)
            raise ResourceExhausted(
                f"{self._seals.service} publishes more than limits.{verdict.exceeded} = {allowed:g} allows and would "
                f"have to wait {verdict.wait_s:.1f} s; refused beyond limits.rate_wait_s = "
                f"{self._quota_limits.wait_s:g}, or the call's own deadline"
            )
        if verdict.wait_s > 0.0:
            self._counters.add("publish_waited", who=stream, reason="quota")
            self._held_back[subject] += 1
            try:
                await asyncio.sleep(verdict.wait_s)
            finally:
                self._held_back[subject] -= 1
                if not self._held_back[subject]:
                    del self._held_back[subject]
            if self._closed:
                raise Closed("this publisher was stopped")

    def _look(self, stream: str) -> None:
        """Now and then measure how far the store is, while nothing of ours is before the probe."""
        if self._path.in_flight or self._closed or not self._path.probe_begins():
            return
        self._probe = asyncio.create_task(self._measure(stream), name="publish-probe")

    async def _measure(self, stream: str) -> None:
        """The shortest of a few: one alone may have met a reconnect or a pause."""
        shortest_s = math.inf
        for _ in range(_QUESTIONS):
            began_s = self._clock.monotonic_s()
            try:
                await self._store.stream_state(stream)
            except NotFound:
                pass  # an answer all the same
            except MeshError:
                continue
            shortest_s = min(shortest_s, self._clock.monotonic_s() - began_s)
        if shortest_s < math.inf:
            self._path.probed(shortest_s)

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
                path=self._path,
            )
        return commits

    def _plain(self, entry: Entry) -> Plain:
        content = self._content(entry.event, entry.message_id, self._codec, entry.schema_id)
        return Plain(subject=entry.event.subject, content=content)

    def _content(
        self, event: NewEvent, message_id: bytes, codec: BodyCodec | None, schema_id: bytes
    ) -> content_pb.Content:
        return to_content(
            event,
            message_id=message_id,
            source=self._seals.service,
            now_ms=self._clock.now_ms(),
            codec=codec,
            schema_id=schema_id,
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
        if self._probe is not None:
            self._probe.cancel()
            await asyncio.wait([self._probe])
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
