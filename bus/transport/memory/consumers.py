"""A running reader at a durable place of the in-memory broker."""

from __future__ import annotations

import asyncio

from bus.transport.memory.core import Core
from bus.transport.memory.link import MemoryLink
from bus.transport.memory.places import Place
from bus.transport.protocol import ConsumerEvents, ConsumerState, Delivery, LinkState
from schemas.errors import Closed

_WAIT_S = 3600.0


class MemoryConsumer:
    """Delivers while there is credit, in order, and asks for a rewind after the connection was cut."""

    def __init__(self, core: Core, link: MemoryLink, place: Place, events: ConsumerEvents) -> None:
        self._core = core
        self._link = link
        self._place = place
        self._events = events
        self._credit = 0
        self._round = 0
        self._holding = False
        self._closed = False
        self._pump_planned = False
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._attend(place)
        core.ticks.append(self._wake)
        link.on_restored(self._interrupt)
        if place.unacknowledged:
            place.rewind(place.ack_floor + 1)

    def credit(self, messages: int) -> None:
        """Allow so many more deliveries."""
        self._credit += messages
        self._wake()

    def acknowledge(self, delivery: Delivery) -> None:
        """Mark as done; lost while the connection is cut, as in real life."""
        if not self._stands(delivery) or self._core.faults.acknowledgement_is_lost():
            return
        self._place.acknowledge(delivery.seq)
        self._wake()

    def extend(self, delivery: Delivery) -> None:
        """Start the redelivery timer again."""
        if self._stands(delivery):
            self._place.extend(delivery.seq, self._core.clock.monotonic_s())

    def _stands(self, delivery: Delivery) -> bool:
        current = delivery.reply == self._token()
        return current and self._link.connected and not self._closed

    def _token(self) -> str:
        return f"memory.{self._round}"

    def _attend(self, place: Place) -> None:
        place.stream.appended.append(self._wake)
        place.stream.deleted.append(self._gone)

    def _leave(self, place: Place) -> None:
        place.stream.appended.remove(self._wake)
        place.stream.deleted.remove(self._gone)

    def _gone(self) -> None:
        self.interrupt("consumer_missing")

    async def rewind(self, seq: int) -> None:
        """Deliver again from `seq` on, once the connection is there; in a new stream if the old one was deleted."""
        self._holding = True
        await self._link.ready(_WAIT_S)
        if self._closed:
            raise Closed(f"consumer {self._place.spec.name} is closed")
        self._round += 1
        place = self._core.place(self._place.spec)
        if place is not self._place:
            self._leave(self._place)
            self._place = place
            self._attend(place)
        place.rewind(seq)
        self._holding = False
        self._wake()

    async def state(self) -> ConsumerState:
        """Where the consumer stands."""
        await self._link.ready(_WAIT_S)
        return self._place.state()

    async def close(self) -> None:
        """Stop deliveries; the place stays."""
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._leave(self._place)
        self._core.ticks.remove(self._wake)
        self._link.forget(self._interrupt)
        if self._place.spec.passing_s:
            self._core.forget_place(self._place)

    def interrupt(self, reason: str) -> None:
        """Lose deliveries, as a gap would: the reader must rewind."""
        if not self._closed and not self._holding:
            self._holding = True
            self._events.interrupted(reason)

    def _interrupt(self) -> None:
        self.interrupt("reconnected")

    def _wake(self, _: object = None) -> None:
        if not self._pump_planned and not self._closed:
            self._pump_planned = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._pump_planned = False
        now_s = self._core.clock.monotonic_s()
        self._place.stream.expire(self._core.clock.now_ms())
        while self._may_deliver():
            taken = self._place.take(now_s)
            if taken is None:
                break
            record, deliveries, pending = taken
            self._credit -= 1
            self._events.delivered(
                record.delivery(deliveries=deliveries, pending=pending, reply=self._token())
            )
        self._plan_redelivery(now_s)

    def _may_deliver(self) -> bool:
        free = not self._closed and not self._holding
        return free and self._credit > 0 and self._link.state is LinkState.CONNECTED

    def _plan_redelivery(self, now_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due_s = self._place.next_due_s()
        if self._core.timers and due_s is not None and self._may_deliver():
            self._timer = self._loop.call_later(max(0.0, due_s - now_s), self._wake)


__all__ = ["MemoryConsumer"]
