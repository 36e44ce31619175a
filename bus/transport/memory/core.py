"""What the connections of one in-memory broker share."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from bus.transport.memory.faults import Faults
from bus.transport.memory.link import MemoryLink
from bus.transport.memory.places import Place
from bus.transport.memory.streams import MemoryStream
from bus.transport.protocol import ConsumerSpec, Incoming, NotFound
from schemas.clock import Clock
from schemas.subjects import matches


@dataclass(eq=False, slots=True)
class Listener:
    """One core subscription."""

    link: MemoryLink
    pattern: str
    queue: str
    handler: Callable[[Incoming], None]
    active: bool = True


@dataclass(eq=False, slots=True)
class Core:
    """Streams, durable places, subscriptions and faults of a broker."""

    clock: Clock
    timers: bool
    """Whether the event loop's timers drive redelivery and expiry; a test with its own clock calls `tick`."""
    max_payload: int
    faults: Faults = field(default_factory=Faults)
    streams: dict[str, MemoryStream] = field(default_factory=dict)
    places: dict[tuple[str, str], Place] = field(default_factory=dict)
    listeners: list[Listener] = field(default_factory=list)
    turns: dict[tuple[str, str], itertools.count[int]] = field(default_factory=dict)
    ticks: list[Callable[[], None]] = field(default_factory=list)

    def stream(self, name: str) -> MemoryStream:
        """A stream by name, with what is too old dropped. Raises `NotFound`."""
        stream = self.streams.get(name)
        if stream is None:
            raise NotFound(f"there is no stream {name}")
        stream.expire(self.clock.now_ms())
        return stream

    def place(self, spec: ConsumerSpec) -> Place:
        """The durable place of a consumer in the stream of that name as it is now. Raises `NotFound`."""
        stream, key = self.stream(spec.stream), (spec.stream, spec.name)
        place = self.places.get(key)
        if place is None or place.stream is not stream:
            place = self.places[key] = Place(stream, spec)
        return place

    def forget_place(self, place: Place) -> None:
        """Nobody reads there any more."""
        self.places.pop((place.spec.stream, place.spec.name), None)
        place.leave()

    def stream_for(self, subject: str) -> MemoryStream | None:
        """The stream that takes a subject."""
        return next((s for s in self.streams.values() if s.covers(subject)), None)

    def wake_for(self, stream: MemoryStream) -> None:
        """Release what is due in a stream, now and, where timers run, at the moment when the next one is due."""
        stream.release(self.clock.now_ms())
        due_ms = stream.next_due_ms()
        if due_ms is not None and self.timers:
            left_s = max(0.0, (due_ms - self.clock.now_ms()) / 1000)
            asyncio.get_running_loop().call_later(left_s, self.wake_for, stream)

    def send(self, message: Incoming) -> int:
        """Hand a message to each plain listener and to one of each queue group; return to how many it went."""
        plain: list[Listener] = []
        groups: dict[tuple[str, str], list[Listener]] = {}
        for listener in self.listeners:
            if not listener.link.connected or not matches(listener.pattern, message.subject):
                continue
            if listener.queue:
                groups.setdefault((listener.queue, listener.pattern), []).append(listener)
            else:
                plain.append(listener)
        for key, members in groups.items():
            turn = next(self.turns.setdefault(key, itertools.count()))
            plain.append(members[turn % len(members)])
        loop = asyncio.get_running_loop()
        for listener in plain:
            loop.call_soon(listener.handler, message)
        return len(plain)


__all__ = ["Core", "Listener"]
