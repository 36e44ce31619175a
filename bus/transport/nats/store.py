"""`EventStore` and `StreamAdministration` on JetStream."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from bus.transport.nats.api import JetStream
from bus.transport.nats.consumer import open_consumer
from bus.transport.nats.errors import ATOMIC_DISABLED
from bus.transport.nats.monitor import Monitor
from bus.transport.nats.storing import MAX_ATOMIC, Batch, Doubt, Result
from bus.transport.nats.streams import Streams
from bus.transport.nats.turns import Turn, Turns
from bus.transport.protocol import (
    ConsumerEvents,
    ConsumerSpec,
    ConsumerState,
    Delivery,
    DurableConsumer,
    NoResponders,
    NotFound,
    Outgoing,
    StreamFull,
    StreamSpec,
    StreamState,
)
from schemas.errors import Closed, DeadlineExceeded, MeshError, Unavailable

_EXPLAIN_S: Final = 1.0
_WRITE_ERRORS: Final = ("no space left", "write error", "disk quota", "read-only file system")


class NatsStore:
    """`EventStore` and `StreamAdministration`."""

    def __init__(self, jetstream: JetStream, monitor: Monitor | None) -> None:
        self._jetstream = jetstream
        self._connection = jetstream.connection
        self._monitor = monitor
        self._streams = Streams(jetstream, monitor)
        self._turns = Turns()
        self._single: set[str] = set()
        """First two tokens of subjects whose stream takes no atomic batch."""

    async def ensure_stream(self, spec: StreamSpec) -> StreamState:
        """Create the stream, or bring its limits to `spec`."""
        self._single.clear()
        return await self._streams.ensure(spec)

    async def store(
        self,
        batch: Sequence[Outgoing],
        *,
        timeout_s: float,
        settled: Callable[[int, Result], None] | None = None,
    ) -> list[Result]:
        """Store messages of one stream in their order; one truthful result each."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_s
        turn = self._turns.take()

        work = Batch(
            self._connection,
            self._jetstream.requests,
            batch,
            end,
            self._explain,
            settled,
            functools.partial(self._turns.stored, turn),
        )
        late = "not sent: the deadline passed while an earlier one was in doubt"
        try:
            if self._connection.wire is None or not self._turns.may_send(
                turn, self._connection.generation
            ):
                async with asyncio.timeout_at(end):
                    await self._connection.ready(timeout_s)
                    await self._turns.to_send(turn, lambda: self._connection.generation)
            work.refuse_oversized()
            await self._store(work, batch, turn)
        except (Closed, Unavailable) as gone:
            work.fail(gone)
        except TimeoutError as error:
            work.fail(error if isinstance(error, MeshError) else DeadlineExceeded(late))
        finally:
            self._turns.leave(turn)
        work.fail(DeadlineExceeded(late))
        return work.results()

    async def _store(self, work: Batch, batch: Sequence[Outgoing], turn: Turn) -> None:
        todo = work.open()
        if len(todo) < self._connection.options.atomic_threshold or self._takes_single(batch):
            generation = self._connection.generation
            await work.pipeline(todo, functools.partial(self._turns.sent, turn, generation))
            if work.left:
                await self._mend(work, todo, turn)
            return
        for start in range(0, len(todo), MAX_ATOMIC):
            part = todo[start : start + MAX_ATOMIC]
            try:
                # A refused batch is sent again one by one, so nothing may follow before its answer.
                refused = await work.atomic(part) if len(part) > 1 else {}
            except Doubt:
                self._connection.counters.add("store_in_doubt", who=self._connection.name)
                refused = {}
            if refused is not None:
                self._learn(refused.get("err_code"), batch)
                await self._mend(work, part, turn)
            if work.stuck:
                return

    async def _mend(self, work: Batch, indexes: list[int], turn: Turn) -> None:
        """Send again what is in doubt, where that keeps the order of the calls."""
        if not work.left or not set(indexes) & set(work.open()):
            return
        async with asyncio.timeout_at(work.end):
            if await self._turns.to_mend(turn):
                await work.one_by_one(indexes)
            else:
                work.fail(DeadlineExceeded("the store answered a later call but not this one"))

    def _takes_single(self, batch: Sequence[Outgoing]) -> bool:
        return bool(batch) and _family(batch[0].subject) in self._single

    def _learn(self, code: object, batch: Sequence[Outgoing]) -> None:
        if code == ATOMIC_DISABLED:
            self._single.add(_family(batch[0].subject))

    async def _explain(self, subject: str, cause: MeshError) -> MeshError | None:
        """Why the store keeps silent, where that can be found out: no such stream, or a disk that is full."""
        try:
            if isinstance(cause, NoResponders):
                answer = await self._jetstream.ask(
                    "STREAM.NAMES", {"subject": subject}, timeout_s=_EXPLAIN_S
                )
                return None if answer.get("streams") else NotFound(f"no stream takes {subject}")
            if isinstance(cause, DeadlineExceeded) and self._monitor is not None:
                trouble = await self._monitor.trouble()
                if any(sign in trouble.lower() for sign in _WRITE_ERRORS):
                    return StreamFull(f"the server cannot write to its disk: {trouble}")
        except MeshError:
            return None
        return None

    async def read(self, stream: str, seq: int) -> Delivery:
        """Read one stored message by its sequence. Raises `NotFound`."""
        return await self._streams.read(stream, seq)

    async def delete(self, stream: str, seq: int) -> None:
        """Delete one message. Raises `NotFound`."""
        await self._streams.delete(stream, seq)

    async def stream_state(self, stream: str) -> StreamState:
        """Ask what the stream holds. Raises `NotFound`."""
        return await self._streams.state(stream)

    async def consume(self, spec: ConsumerSpec, events: ConsumerEvents) -> DurableConsumer:
        """Create or take up a durable consumer."""
        return await open_consumer(self._jetstream, spec, events)

    async def streams(self) -> list[StreamState]:
        """All streams of the account."""
        return await self._streams.all()

    async def consumers(self, stream: str) -> dict[str, ConsumerState]:
        """All durable consumers of a stream by name. Raises `NotFound`."""
        return await self._streams.consumers(stream)

    async def delete_consumer(self, stream: str, name: str) -> None:
        """Forget a durable consumer and its place. Raises `NotFound`."""
        await self._streams.delete_consumer(stream, name)

    async def purge(self, stream: str, *, up_to_seq: int) -> int:
        """Drop everything below `up_to_seq` and return how many messages went."""
        return await self._streams.purge(stream, up_to_seq)

    async def last_for_subject(self, stream: str, subject: str) -> Delivery:
        """The newest stored message of one subject. Raises `NotFound`."""
        return await self._streams.last(stream, subject)

    async def next_for_subject(self, stream: str, pattern: str, *, from_seq: int) -> Delivery:
        """The oldest stored message at or behind a sequence that a pattern covers. Raises `NotFound`."""
        return await self._streams.next(stream, pattern, from_seq)

    async def subject_counts(self, stream: str, pattern: str) -> Mapping[str, int]:
        """How many messages are stored on each subject that a pattern covers. Raises `NotFound`."""
        return await self._streams.counts(stream, pattern)


def _family(subject: str) -> str:
    return ".".join(subject.split(".", 2)[:2])


__all__ = ["NatsStore"]
