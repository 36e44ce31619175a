"""What tests of transactions need: a mesh on paper that stores each message id once, and events for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bus.events.protocol import NewEvent, ReceivedEvent, StoredEvent
from schemas.errors import MeshError
from schemas.generated.medmesh.content.v1 import content_pb2 as content_pb


@dataclass
class PaperMesh:
    """Stores events in a list; a test can make it refuse, hang or forget to answer."""

    stored: list[NewEvent] = field(default_factory=list)
    refuse: Callable[[NewEvent], Exception | None] = lambda event: None
    lose_answer: Callable[[NewEvent], MeshError | None] = lambda event: None
    """The event is stored, but the publisher is told otherwise."""
    calls: int = 0
    under_way: int = 0
    most_under_way: int = 0
    gate: asyncio.Event | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    called: asyncio.Event = field(default_factory=asyncio.Event)

    async def publish(self, event: NewEvent, *, timeout_s: float = 30.0) -> StoredEvent:
        self.calls += 1
        self.called.set()
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            if self.gate is not None:
                await self.gate.wait()
            await asyncio.sleep(0)
            return self._store(event)
        finally:
            self.under_way -= 1
            self.changed.set()

    def _store(self, event: NewEvent) -> StoredEvent:
        refusal = self.refuse(event)
        if refusal is not None:
            raise refusal
        duplicate = any(one.message_id == event.message_id for one in self.stored)
        if not duplicate:
            self.stored.append(event)
        lost = self.lose_answer(event)
        if lost is not None:
            raise lost
        return StoredEvent(
            message_id=event.message_id,
            stream="evt-north",
            seq=len(self.stored),
            duplicate=duplicate,
        )

    async def until(self, condition: Callable[[], bool], *, within_s: float = 10.0) -> None:
        """Wait until a condition holds, looked at after each publish."""
        async with asyncio.timeout(within_s):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    @property
    def bodies(self) -> list[bytes]:
        return [one.body for one in self.stored]


def event(number: int, *, partition: int = 0, **more: Any) -> NewEvent:
    """A synthetic event whose body is its partition and number."""
    return NewEvent(
        subject=f"evt.north.order.placed.{partition}",
        type="text/plain",
        body=f"{partition}:{number}".encode(),
        **more,
    )


def received(number: int, *, partition: int = 0, message_id: bytes = b"") -> ReceivedEvent:
    """The event as a consumer gets it."""
    return ReceivedEvent(
        subject=f"evt.north.order.placed.{partition}",
        message_id=message_id or number.to_bytes(16, "big"),
        type="text/plain",
        body=f"{partition}:{number}".encode(),
        index=content_pb.Index(),
        source="registration",
        received_ms=1,
        stored_ms=2,
        seq=number,
        partition=partition,
        attempt=1,
        replayed=False,
    )
