"""Streams of the in-memory broker: `EventStore` and `StreamAdministration` on one connection."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from bus.transport.memory.consumers import MemoryConsumer
from bus.transport.memory.core import Core
from bus.transport.memory.link import MemoryLink
from bus.transport.memory.messenger import check_size
from bus.transport.memory.streams import MemoryStream
from bus.transport.protocol import (
    ConsumerEvents,
    ConsumerSpec,
    ConsumerState,
    Delivery,
    DurableConsumer,
    NotFound,
    Outgoing,
    Stored,
    StreamSpec,
    StreamState,
)
from schemas.errors import DeadlineExceeded, MeshError

_WAIT_S = 10.0


class MemoryStore:
    """`EventStore` and `StreamAdministration`."""

    def __init__(self, core: Core, link: MemoryLink) -> None:
        self._core = core
        self._link = link

    async def ensure_stream(self, spec: StreamSpec) -> StreamState:
        """Create the stream, or bring its limits to `spec`."""
        await self._link.ready(_WAIT_S)
        stream = self._core.streams.get(spec.name)
        if stream is None:
            stream = self._core.streams[spec.name] = MemoryStream(
                spec, created_ms=self._core.clock.now_ms()
            )
        stream.spec = spec
        return stream.state()

    async def store(
        self,
        batch: Sequence[Outgoing],
        *,
        timeout_s: float,
        settled: Callable[[int, Stored | MeshError], None] | None = None,
    ) -> list[Stored | MeshError]:
        """Store messages in their order; one result each. While cut, waits until the deadline."""
        try:
            await self._link.ready(timeout_s)
        except MeshError as error:
            results: list[Stored | MeshError] = [error] * len(batch)
        else:
            results = [self._store(message) for message in batch]
        if settled is not None:
            for place, result in enumerate(results):
                settled(place, result)
        return results

    def _store(self, message: Outgoing) -> Stored | MeshError:
        try:
            self._link.check_publish(message.subject)
            check_size(message.payload, self._core.max_payload)
            stream = self._core.stream_for(message.subject)
            if stream is None:
                raise NotFound(f"no stream takes {message.subject}")
            refusal = self._core.faults.refusal()
            if refusal is not None:
                return refusal
            stored = stream.append(message, self._core.clock.now_ms())
            self._core.wake_for(stream)
        except MeshError as error:
            return error
        if self._core.faults.answer_is_lost():
            return DeadlineExceeded("the store did not answer in time; the message may be stored")
        return stored

    async def read(self, stream: str, seq: int) -> Delivery:
        """Read one stored message."""
        return (await self._stream(stream)).get(seq).delivery()

    async def delete(self, stream: str, seq: int) -> None:
        """Delete one message."""
        (await self._stream(stream)).remove(seq)

    async def stream_state(self, stream: str) -> StreamState:
        """What the stream holds."""
        return (await self._stream(stream)).state()

    async def consume(self, spec: ConsumerSpec, events: ConsumerEvents) -> DurableConsumer:
        """Create or take up a durable consumer."""
        await self._link.ready(_WAIT_S)
        place = self._core.place(spec)
        place.spec = spec
        return MemoryConsumer(self._core, self._link, place, events)

    async def streams(self) -> list[StreamState]:
        """All streams."""
        await self._link.ready(_WAIT_S)
        return [self._core.stream(name).state() for name in self._core.streams]

    async def consumers(self, stream: str) -> dict[str, ConsumerState]:
        """All durable consumers of a stream."""
        await self._stream(stream)
        return {
            name: place.state()
            for (of, name), place in self._core.places.items()
            if of == stream and not place.spec.passing_s
        }

    async def delete_consumer(self, stream: str, name: str) -> None:
        """Forget a durable consumer and its place."""
        await self._stream(stream)
        if self._core.places.pop((stream, name), None) is None:
            raise NotFound(f"stream {stream} has no consumer {name}")

    async def purge(self, stream: str, *, up_to_seq: int) -> int:
        """Drop everything below `up_to_seq` and return how many messages went."""
        return (await self._stream(stream)).purge(up_to_seq)

    async def last_for_subject(self, stream: str, subject: str) -> Delivery:
        """The newest stored message of one subject."""
        return (await self._stream(stream)).last(subject).delivery()

    async def next_for_subject(self, stream: str, pattern: str, *, from_seq: int) -> Delivery:
        """The oldest stored message at or behind a sequence that a pattern covers."""
        return (await self._stream(stream)).next(pattern, from_seq).delivery()

    async def subject_counts(self, stream: str, pattern: str) -> Mapping[str, int]:
        """How many messages are stored on each subject that a pattern covers."""
        return (await self._stream(stream)).counts(pattern)

    async def _stream(self, name: str) -> MemoryStream:
        await self._link.ready(_WAIT_S)
        return self._core.stream(name)


__all__ = ["MemoryStore"]
