"""A feed of the site's events: many followers share one reader, and each goes at its own pace.

What was read last is kept in a ring. A follower whose next event is not in it any more reads the stream itself until
it is there again: slowness costs nobody else anything, and nothing is dropped while the stream still has it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import ClassVar, Final, Protocol

from bus.events.following.ring import Followed, Ring
from bus.events.following.upstream import Source, Upstream
from bus.events.streams import incarnation_of
from bus.telemetry.failures import failure_fields
from bus.telemetry.log import logger
from bus.transport.protocol import NotFound
from schemas.errors import Closed, MeshError

_log = logger(__name__)
_LOOKS_S: Final = 10.0
"""How often a follower without events is told how far the stream was looked through."""
_CATCHING_UP: Final = 8
"""Followers that read the stream themselves at a time, each so many events or bytes in one go."""
_BATCH: Final = 256
_BATCH_BYTES: Final = 1 << 20


class PositionLost(MeshError, LookupError):
    """Events behind the asked position are not in the stream any more: retention took them."""

    code: ClassVar[str] = "position_lost"

    def __init__(self, asked: int, first: int) -> None:
        super().__init__(
            f"events behind position {asked} are gone: the first that is left is {first}; go on behind {first - 1}"
        )
        self.first = first
        """The lowest sequence that there is."""


class Feed(Protocol):
    """Follows events in the order in which they were stored. Whoever follows slowly holds nobody else up."""

    def follow(
        self, patterns: tuple[str, ...], *, after_seq: int | None
    ) -> AsyncGenerator[Followed, None]:
        """Events of the patterns behind a sequence number; None: what comes from now on. Closing it ends it.

        Gives a step without event from time to time. Raises `PositionLost`, `MeshError`.
        """
        ...

    async def incarnation(self) -> str:
        """Which stream it is: positions of one that was made anew mean nothing. Raises `MeshError`."""
        ...

    async def position_before(self, at_ms: int) -> int:
        """The position before the first event that was stored at that time or later. Raises `MeshError`."""
        ...


@dataclass(slots=True)
class _Tail:
    """The end of the stream for one set of patterns."""

    ring: Ring
    task: asyncio.Task[None]
    followers: int = 0


class MeshFeed:
    """`Feed` over the event stream; one for all followers of a process."""

    def __init__(
        self, source: Source, *, max_events: int = 1_024, max_bytes: int = 8 << 20
    ) -> None:
        self._source = source
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._tails: dict[tuple[str, ...], _Tail] = {}
        self._catching_up = asyncio.Semaphore(_CATCHING_UP)
        self._beginning = asyncio.Lock()
        self._is_closed = False

    async def follow(
        self, patterns: tuple[str, ...], *, after_seq: int | None
    ) -> AsyncGenerator[Followed, None]:
        """See `Feed.follow`."""
        tail = await self._join(tuple(sorted(set(patterns))))
        try:
            async with aclosing(self._follow(patterns, tail.ring, after_seq)) as steps:
                async for step in steps:
                    yield step
        finally:
            await self._leave(tail)

    @property
    def followers(self) -> int:
        """How many there are now."""
        return sum(tail.followers for tail in self._tails.values())

    async def incarnation(self) -> str:
        """See `Feed.incarnation`."""
        return incarnation_of(await self._source.store.stream_state(self._source.stream))

    async def position_before(self, at_ms: int) -> int:
        """See `Feed.position_before`."""
        store, stream = self._source.store, self._source.stream
        state = await store.stream_state(stream)
        low, high = state.first_seq, state.last_seq + 1
        while low < high:
            middle = (low + high) // 2
            seq = middle
            stored_ms: int | None = None
            while seq < high and stored_ms is None:
                with contextlib.suppress(NotFound):
                    stored_ms = (await store.read(stream, seq)).stored_ms
                seq += 1
            if stored_ms is None or stored_ms >= at_ms:
                high = middle
            else:
                low = seq
        return low - 1

    async def close(self) -> None:
        """End every follower."""
        self._is_closed = True
        for tail in tuple(self._tails.values()):
            tail.ring.fail(Closed("the feed is closed"))
            await self._end(tail)

    # the shared end

    async def _join(self, patterns: tuple[str, ...]) -> _Tail:
        async with self._beginning:
            if self._is_closed:
                raise Closed("the feed is closed")
            tail = self._tails.get(patterns)
            if tail is None or tail.ring.failure is not None:
                tail = self._tails[patterns] = await self._begin(patterns)
            tail.followers += 1
            return tail

    async def _begin(self, patterns: tuple[str, ...]) -> _Tail:
        state = await self._source.store.stream_state(self._source.stream)
        upstream = Upstream(self._source, patterns, after_seq=state.last_seq)
        await upstream.open()
        ring = Ring(state.last_seq, max_events=self._max_events, max_bytes=self._max_bytes)
        task = asyncio.create_task(self._run(upstream, ring), name="feed")
        return _Tail(ring, task)

    async def _leave(self, tail: _Tail) -> None:
        tail.followers -= 1
        if not tail.followers:
            for patterns, one in tuple(self._tails.items()):
                if one is tail:
                    del self._tails[patterns]
            await self._end(tail)

    @staticmethod
    async def _end(tail: _Tail) -> None:
        tail.task.cancel()
        await asyncio.gather(tail.task, return_exceptions=True)

    async def _run(self, upstream: Upstream, ring: Ring) -> None:
        looking = asyncio.create_task(self._look(upstream, ring), name="feed-looks")
        try:
            async with aclosing(upstream.read()) as reads:
                async for read in reads:
                    ring.add(read.step)
        except MeshError as error:
            ring.fail(error)
        except Exception as error:  # noqa: BLE001 - a task's outermost edge: its followers are told, and it is logged
            _log.error("feed_failed", **failure_fields(error))
            ring.fail(Closed("the feed failed, which is logged"))
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
            await upstream.close()

    async def _look(self, upstream: Upstream, ring: Ring) -> None:
        """Where nothing matches, the position goes on with the stream: else it would grow old."""
        store, stream = self._source.store, self._source.stream
        while True:
            await asyncio.sleep(_LOOKS_S)
            with contextlib.suppress(MeshError):
                last = (await store.stream_state(stream)).last_seq
                if await upstream.is_idle():
                    ring.cover(last)

    # one follower

    async def _follow(
        self, patterns: tuple[str, ...], ring: Ring, after_seq: int | None
    ) -> AsyncGenerator[Followed, None]:
        position = ring.covered if after_seq is None else after_seq
        while True:
            if position < ring.floor:
                for step in await self._caught_up(patterns, ring, position):
                    position = step.seq
                    yield step
            elif (found := ring.after(position)) is not None:
                position = found.seq
                yield found
            elif ring.failure is not None:
                raise ring.failure
            elif ring.covered > position:
                position = ring.covered
                yield Followed(position)
            else:
                await ring.changed()

    async def _caught_up(
        self, patterns: tuple[str, ...], ring: Ring, position: int
    ) -> list[Followed]:
        """Some of the events between a position and where the ring begins, read from the stream.

        The last step stands at the end of what was read; where that was all, at the ring's beginning or behind.
        """
        async with self._catching_up:
            target = ring.floor
            state = await self._source.store.stream_state(self._source.stream)
            if position + 1 < state.first_seq:
                raise PositionLost(position, state.first_seq)
            upstream = Upstream(self._source, patterns, after_seq=position)
            await upstream.open()
            try:
                if await upstream.is_idle():
                    return [Followed(target)]
                return await self._some(upstream, target)
            finally:
                await upstream.close()

    async def _some(self, upstream: Upstream, target: int) -> list[Followed]:
        found: list[Followed] = []
        size = 0
        async with aclosing(upstream.read()) as reads:
            async for read in reads:
                found.append(read.step)
                size += len(read.step.event.body) if read.step.event is not None else 0
                if not read.pending and read.step.seq < target:
                    found.append(Followed(target))
                if found[-1].seq >= target or len(found) >= _BATCH or size >= _BATCH_BYTES:
                    break
        return found


__all__ = ["Feed", "Followed", "MeshFeed", "PositionLost"]
