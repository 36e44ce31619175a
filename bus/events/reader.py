"""The reading side of a consumer: credits, what is new, and going back after an interruption. Runs no handler."""

from __future__ import annotations

import asyncio
from typing import Protocol

from bus.events.protocol import RetryPolicy
from bus.events.tracking import Arrival, Tracker
from bus.flow import Chance, Credits, backoff_s
from bus.telemetry.counters import Counters
from bus.telemetry.log import logger
from bus.transport.protocol import Delivery, DurableConsumer
from schemas.errors import Closed, MeshError

_REWIND = RetryPolicy(first_delay_s=0.1, longest_delay_s=5.0)
_log = logger(__name__)


class Takes(Protocol):
    """Who gets the deliveries."""

    def take(self, delivery: Delivery) -> None:
        """A new message, in stream order."""
        ...

    def renew(self, delivery: Delivery) -> None:
        """A message that is still held came again: acknowledge this delivery of it."""
        ...

    async def is_same_stream(self) -> bool:
        """Whether the stream is still the one that was read. If not, its reader returns when all is set to begin anew.

        Raises `MeshError`.
        """
        ...


class Reader:
    """`ConsumerEvents` of one durable consumer."""

    def __init__(
        self,
        *,
        name: str,
        tracker: Tracker,
        limit: int,
        takes: Takes,
        chance: Chance,
        counters: Counters,
    ) -> None:
        self._name = name
        self._tracker = tracker
        self._credits = Credits(limit)
        self._takes = takes
        self._chance = chance
        self._counters = counters
        self._consumer: DurableConsumer | None = None
        self._lost = asyncio.Event()
        self._deaf = False
        self._closing = False
        self.pending = 0
        """Messages that the server has not delivered yet, as it last said."""

    @property
    def consumer(self) -> DurableConsumer:
        """The durable consumer that is read. Raises `Closed` before `begin`."""
        if self._consumer is None:
            raise Closed(f"consumer {self._name} is not attached")
        return self._consumer

    def begin(self, consumer: DurableConsumer, *, rewind: bool) -> None:
        """Start to read; with `rewind` only after going back to the lowest unfinished message."""
        self._consumer = consumer
        if rewind or self._deaf:
            self._deaf = True
            self._lost.set()
        else:
            self._give()

    def close(self) -> None:
        """Take nothing new; what arrives from now on comes again to the next reader."""
        self._closing = True

    def delivered(self, delivery: Delivery) -> None:
        """Take one message, or drop it when it is known or its place in the order is in doubt."""
        self._credits.arrived()
        self.pending = delivery.pending
        if self._deaf or self._closing:
            self._credits.let_go()
            return
        match self._tracker.arrive(delivery.seq):
            case Arrival.NEW:
                self._takes.take(delivery)
                return
            case Arrival.HELD:
                self._counters.add("delivery_dropped", who=self._name, reason="held")
                self._takes.renew(delivery)
            case Arrival.FINISHED:
                self._counters.add("delivery_dropped", who=self._name, reason="finished")
                self.consumer.acknowledge(delivery)
            case Arrival.BEHIND:
                self.interrupted("gap")
        self.let_go()

    def interrupted(self, reason: str) -> None:
        """Deliveries may be missing: nothing is taken until reading has begun again at the right place."""
        self._counters.add("delivery_interrupted", who=self._name, reason=reason)
        self._deaf = True
        self._lost.set()

    def let_go(self) -> None:
        """A message needs no more room."""
        self._credits.let_go()
        self._give()

    def _give(self) -> None:
        if self._deaf or self._closing or self._consumer is None:
            return
        credit = self._credits.due()
        if credit:
            self._consumer.credit(credit)

    async def keep_order(self) -> None:
        """Answer each interruption by going back. Runs until it is cancelled or the consumer is closed."""
        failures = 0
        while True:
            await self._lost.wait()
            self._lost.clear()
            try:
                # asked first: from the rewind on, what is given must be taken without another wait
                await self._takes.is_same_stream()
                seq = self._tracker.lowest_unfinished()
                await self.consumer.rewind(seq)
            except Closed:
                return
            except MeshError as error:
                failures += 1
                self._counters.add("rewind_failed", who=self._name, reason=error.code)
                await asyncio.sleep(backoff_s(_REWIND, failures, self._chance))
                self._lost.set()
                continue
            failures = 0
            if not self._lost.is_set():
                self._tracker.rewound(seq)
                self._deaf = False
                self._give()
                _log.info("reading_resumed", consumer=self._name, seq=seq)


__all__ = ["Reader", "Takes"]
