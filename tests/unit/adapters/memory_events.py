"""`bus.events.protocol.Events` in memory: retries, lanes, receipts and dead letters, without sealing or a broker."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from bus.events.protocol import (
    ConsumeSpec,
    ConsumptionStats,
    Handler,
    NewEvent,
    Outcome,
    Receipt,
    ReceivedEvent,
    Rejected,
    StoredEvent,
)
from schemas import subjects
from schemas.errors import DeadlineExceeded, MeshError
from schemas.generated.medmesh.content.v1 import content_pb2 as content_pb


@dataclass
class MemoryEvents:
    """A stream, its consumers and their receipts."""

    service: str = "test"
    failure: MeshError | None = None
    """Raised by every publish while it is set."""
    stored_anyway: bool = False
    """With `failure`: the event is stored although the publisher is told otherwise."""
    gate: asyncio.Event | None = None
    """Publishes wait for it when it is set to one."""
    events: list[ReceivedEvent] = field(default_factory=list)
    receipts: dict[tuple[bytes, str], Receipt] = field(default_factory=dict)
    dead_letters: list[tuple[str, ReceivedEvent, str]] = field(default_factory=list)
    consumptions: list[MemoryConsumption] = field(default_factory=list)
    publishing: int = 0
    published: int = 0
    _ids: dict[bytes, int] = field(default_factory=dict)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def publish(self, event: NewEvent, *, timeout_s: float = 30.0) -> StoredEvent:
        """Store once for each message id."""
        subjects.subject(event.subject)
        self.publishing += 1
        await self.notify()
        try:
            if self.gate is not None:
                async with asyncio.timeout(timeout_s):
                    await self.gate.wait()
        except TimeoutError:
            raise DeadlineExceeded("not stored in time") from None
        finally:
            self.publishing -= 1
        if self.failure is not None and not self.stored_anyway:
            raise self.failure
        stored = await self._store(event)
        if self.failure is not None:
            raise self.failure
        return stored

    async def _store(self, event: NewEvent) -> StoredEvent:
        message_id = event.message_id or secrets.token_bytes(16)
        self.published += 1
        seq = self._ids.get(message_id)
        if seq is not None:
            await self.notify()
            return StoredEvent(message_id=message_id, stream="EVT", seq=seq, duplicate=True)
        seq = self._ids[message_id] = len(self.events) + 1
        received = ReceivedEvent(
            subject=event.subject,
            message_id=message_id,
            type=event.type,
            body=event.body,
            index=event.index or content_pb.Index(),
            source=self.service,
            received_ms=event.received_ms,
            stored_ms=event.received_ms,
            seq=seq,
            partition=subjects.partition_of(event.subject),
            attempt=1,
            replayed=False,
        )
        self.events.append(received)
        await self.notify()
        for consumption in self.consumptions:
            consumption.offer(received)
        return StoredEvent(message_id=message_id, stream="EVT", seq=seq, duplicate=False)

    async def consume(self, spec: ConsumeSpec, handler: Handler) -> MemoryConsumption:
        """Begin with the oldest event."""
        consumption = MemoryConsumption(self, spec, handler)
        self.consumptions.append(consumption)
        for event in self.events:
            consumption.offer(event)
        return consumption

    async def await_receipt(self, message_id: bytes, consumer: str, *, timeout_s: float) -> Receipt:
        """Wait for what a destination did, now or before."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.until(lambda: (message_id, consumer) in self.receipts)
        except TimeoutError:
            raise DeadlineExceeded(f"no receipt of {consumer} within {timeout_s} s") from None
        return self.receipts[message_id, consumer]

    async def give(self, receipt: Receipt) -> None:
        """Record a receipt and tell who waits."""
        self.receipts[receipt.message_id, receipt.consumer] = receipt
        await self.notify()

    async def notify(self) -> None:
        """Wake everyone who waits on `until`."""
        async with self._changed:
            self._changed.notify_all()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return when the condition holds."""
        async with self._changed:
            await self._changed.wait_for(condition)

    def bodies(self) -> list[bytes]:
        """What is stored, in order."""
        return [event.body for event in self.events]


class MemoryConsumption:
    """Lanes by partition; retries at once after a turn of the loop, or after the policy's first delay."""

    def __init__(self, events: MemoryEvents, spec: ConsumeSpec, handler: Handler) -> None:
        self._events = events
        self.spec = spec
        self._handler = handler
        self._lanes: list[deque[ReceivedEvent]] = [deque() for _ in range(spec.lanes)]
        self._wake = [asyncio.Event() for _ in range(spec.lanes)]
        self._idle = asyncio.Event()
        self._draining = False
        self.away = 0
        self.delivered = self.filtered = self.retried = self.dead = self.in_flight = 0
        self._tasks = [asyncio.create_task(self._run(lane)) for lane in range(spec.lanes)]

    def offer(self, event: ReceivedEvent) -> None:
        if any(subjects.matches(pattern, event.subject) for pattern in self.spec.patterns):
            lane = event.partition % self.spec.lanes
            self._lanes[lane].append(event)
            self._wake[lane].set()

    def stats(self) -> ConsumptionStats:
        return ConsumptionStats(
            delivered=self.delivered,
            filtered=self.filtered,
            retried=self.retried,
            dead_lettered=self.dead,
            refused_envelopes=0,
            sender_contradictions=0,
            in_flight=self.in_flight,
            pending=sum(map(len, self._lanes)),
            oldest_wait_s=0.0,
        )

    async def drain(self, *, timeout_s: float) -> bool:
        self._draining = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._events.until(lambda: not self.in_flight)
        return not self.in_flight

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self in self._events.consumptions:
            self._events.consumptions.remove(self)

    async def _run(self, lane: int) -> None:
        queue = self._lanes[lane]
        while True:
            while queue and not self._draining:
                await self._work(queue[0])
                queue.popleft()
            self._wake[lane].clear()
            await self._wake[lane].wait()

    async def _work(self, event: ReceivedEvent) -> None:
        if self.spec.accept is not None and not self.spec.accept(event):
            self.filtered += 1
            return
        failures = 0
        self.in_flight += 1
        try:
            while not await self._attempt(event, failures):
                failures += 1
        finally:
            self.in_flight -= 1
            await self._events.notify()

    async def _attempt(self, event: ReceivedEvent, failures: int) -> bool:
        """Whether the event is done with."""
        while True:
            try:
                receipt = await self._handler(event)
            except MeshError as error:
                if error.retryable and error.code == "unavailable":
                    self.away += 1
                    await self._events.notify()
                    await self._backoff()
                    continue
                last = self.spec.retry.max_attempts and failures + 1 >= self.spec.retry.max_attempts
                if isinstance(error, Rejected) or last:
                    await self._give_up(event, error)
                    return True
                self.retried += 1
                await self._events.notify()
                await self._backoff()
                return False
            self.delivered += 1
            if receipt is not None:
                await self._events.give(receipt)
            await self._events.notify()
            return True

    async def _backoff(self) -> None:
        done = asyncio.get_running_loop().create_future()
        handle = asyncio.get_running_loop().call_later(
            self.spec.retry.first_delay_s, done.set_result, None
        )
        try:
            await done
        finally:
            handle.cancel()

    async def _give_up(self, event: ReceivedEvent, error: MeshError) -> None:
        self.dead += 1
        self._events.dead_letters.append((self.spec.name, event, error.code))
        await self._events.give(
            Receipt(
                message_id=event.message_id,
                consumer=self.spec.name,
                outcome=Outcome.REFUSED,
                answer=getattr(error, "answer", b""),
                reason=error.code,
            )
        )
