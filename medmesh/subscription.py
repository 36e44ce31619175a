"""Durable events as an `async for`: each is acknowledged when the loop goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import ClassVar, Final

from bus.events.protocol import ConsumeSpec, Consumption, Handler, ReceivedEvent, Rejected
from schemas.errors import MeshError, Unavailable

_CLOSE_S: Final = 10.0

Begin = Callable[[ConsumeSpec, Handler], Awaitable[Consumption]]
"""Gets the rights that a consumer needs, and starts it."""


class AskedForRetry(MeshError):
    """The program asked for this event again: an attempt that counts."""

    code: ClassVar[str] = "asked_for_retry"
    retryable: ClassVar[bool] = True


class MeshEvent:
    """One event in the hands of the program. Going on to the next one accepts it, unless it said otherwise."""

    def __init__(self, received: ReceivedEvent) -> None:
        self._received = received
        self._outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def subject(self) -> str:
        """`evt.<site>.<domain>.<event>.<partition>`."""
        return self._received.subject

    @property
    def type(self) -> str:
        """What the body is, as its publisher said."""
        return self._received.type

    @property
    def schema_id(self) -> bytes:
        """SHA-256 of the schema that the body follows (`medmesh schema show`); empty where none was bound."""
        return self._received.schema_id

    @property
    def body(self) -> bytes:
        """The bytes as they were published."""
        return self._received.body

    @property
    def source(self) -> str:
        """The service that published it, from its certificate."""
        return self._received.source

    @property
    def on_behalf_of(self) -> str:
        """The service that asked for it, where `source` only published it (`scheduler`); else empty."""
        return self._received.on_behalf_of

    @property
    def message_id(self) -> bytes:
        """16 bytes: the same for a resend, for idempotent handlers."""
        return self._received.message_id

    @property
    def stored_ms(self) -> int:
        """When it became durable, milliseconds since 1970."""
        return self._received.stored_ms

    @property
    def partition(self) -> int:
        """0 to 63: events of one key are all in one partition, in order."""
        return self._received.partition

    @property
    def fence(self) -> int:
        """Of a shared subscription: grows with each new owner of the partition; refuse effects with a lower one."""
        return self._received.fence

    @property
    def attempt(self) -> int:
        """1 for the first time in this run of the program."""
        return self._received.attempt

    @property
    def replayed(self) -> bool:
        """Whether an operator ordered it again."""
        return self._received.replayed

    def accept(self) -> None:
        """Acknowledge now; needed only before leaving the loop."""
        if not self._outcome.done():
            self._outcome.set_result(None)

    def retry(self, reason: str = "") -> None:
        """Ask for it again later, with backoff; after `max_attempts` a dead letter. No patient data in `reason`."""
        self._fail(AskedForRetry(reason or "the program asked for it again"))

    def reject(self, reason: str = "") -> None:
        """Never ask for it again: it becomes a dead letter at once. No patient data in `reason`."""
        self._fail(Rejected(reason or "the program rejected it"))

    def leave(self) -> None:
        """The program went away without a word: the event comes again, and no attempt is counted."""
        self._fail(Unavailable("the program left the loop"))

    def _fail(self, error: MeshError) -> None:
        if not self._outcome.done():
            self._outcome.set_exception(error)

    async def outcome(self) -> None:
        """Wait for what the program says; raises what it asked for."""
        await self._outcome

    def __repr__(self) -> str:
        return f"MeshEvent({self.subject}, type={self.type}, {len(self.body)} bytes)"


class Subscription:
    """A durable place in the stream of events; iterate it with `async for`."""

    def __init__(self, begin: Begin, spec: ConsumeSpec) -> None:
        self._begin = begin
        self._spec = spec
        self._consumption: Consumption | None = None
        self._arrived: asyncio.Queue[MeshEvent | None] = asyncio.Queue()
        self._current: MeshEvent | None = None
        self._closed = False

    async def start(self) -> None:
        """Take up the place; iterating does it as well. What is published from now on is sealed for this service."""
        if self._consumption is None:
            self._consumption = await self._begin(self._spec, self._handle)

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> MeshEvent:
        await self.start()
        if self._current is not None:
            self._current.accept()
            self._current = None
        event = None if self._closed else await self._arrived.get()
        if event is None:
            raise StopAsyncIteration
        self._current = event
        return event

    async def close(self) -> None:
        """Leave: what was accepted stays accepted, everything else comes again to the next run."""
        self._closed = True
        waiting = [self._current]
        while not self._arrived.empty():
            waiting.append(self._arrived.get_nowait())
        for event in waiting:
            if event is not None:
                event.leave()
        self._arrived.put_nowait(None)
        if self._consumption is not None:
            await self._consumption.drain(timeout_s=_CLOSE_S)

    async def _handle(self, received: ReceivedEvent) -> None:
        event = MeshEvent(received)
        if self._closed:
            event.leave()
        else:
            self._arrived.put_nowait(event)
        await event.outcome()


__all__ = ["AskedForRetry", "Begin", "MeshEvent", "Subscription"]
