"""A running consumption: the reader, the lanes, the ledger and the work, put together."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from bus.envelope.seals import Opening
from bus.envelope.types import SealedEnvelope
from bus.events.items import Item
from bus.events.ledger import Ledger
from bus.events.protocol import ConsumptionStats
from bus.events.reader import Reader
from bus.events.streams import incarnation_of
from bus.events.tracking import Tracker
from bus.events.work import Again, Elsewhere, Work, Workshop
from bus.flow import Lanes, Step, lane_of
from bus.telemetry.failures import failure_fields
from bus.telemetry.log import logger
from bus.transport.protocol import ConsumerSpec, Delivery, EventStore
from schemas.errors import Closed, MeshError
from schemas.subjects import partition_of

_HOUSEKEEPING_S: Final = 5.0
_MANY_DONE: Final = 4096
_EXTENDS_PER_WAIT: Final = 3
_BROKEN_S: Final = 5.0
_CLOSE_S: Final = 5.0
_WORKS_OFF: Final = 2 / 3
"""Share of a drain's time in which lanes still take up what they hold."""
_log = logger(__name__)


class MeshConsumption:
    """`bus.events.protocol.Consumption` of one durable consumer."""

    def __init__(
        self,
        *,
        place: ConsumerSpec,
        shop: Workshop,
        opener: Opening,
        ledger: Ledger,
        start_after: int = 0,
    ) -> None:
        spec = shop.spec
        self._place = place
        self._shop = shop
        self._opener = opener
        self._ledger = ledger
        self._start_after = start_after
        self._work = Work(shop)
        self._lanes: Lanes[Item] = Lanes(spec.lanes)
        self._wakes = [asyncio.Event() for _ in range(spec.lanes)]
        self._away: set[int] = set()
        self._items: dict[int, Item] = {}
        self._counts = {
            "delivered": 0,
            "filtered": 0,
            "dead_lettered": 0,
            "refused": 0,
            "elsewhere": 0,
        }
        self._retried = 0
        self._contradictions = 0
        self._rate_per_s = 0.0
        self._attention = asyncio.Event()
        self._takes_up = True
        """Whether lanes take up messages; without it each ends with the one that it works."""
        self._moved = asyncio.Event()
        """Set whenever a lane is done with a message, for now or for good."""
        self._tracker = Tracker(ledger, start=1)
        self._reader: Reader | None = None
        self._store: EventStore | None = None
        self._hands_free = asyncio.Event()
        self._lane_tasks: list[asyncio.Task[None]] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, store: EventStore) -> None:
        """Take up the durable place where it was left. Raises `MeshError`."""
        self._ledger.open()
        try:
            await self._begin(store)
        except BaseException:
            self._ledger.close()
            raise
        name = self._shop.spec.name
        self._lane_tasks = [
            asyncio.create_task(self._run_lane(lane), name=f"{name} lane {lane}")
            for lane in range(self._shop.spec.lanes)
        ]
        self._tasks = [
            asyncio.create_task(self._the_reader.keep_order(), name=f"{name} order"),
            asyncio.create_task(self._keep_house(), name=f"{name} housekeeping"),
        ]

    async def _begin(self, store: EventStore) -> None:
        ledger, spec = self._ledger, self._shop.spec
        self._store = store
        stream = await store.stream_state(self._place.stream)
        if ledger.floor > stream.last_seq:
            # it speaks of sequences that this stream does not have yet
            ledger.forget(ledger.identity)
        if ledger.reset:
            self._report_reset()
        ledger.raise_floor(min(self._start_after, stream.last_seq))
        self._restore_window()
        knows = bool(ledger.floor or ledger.done)
        self._reader = reader = Reader(
            name=spec.name,
            tracker=self._tracker,
            limit=spec.max_in_flight,
            takes=self,
            chance=self._shop.chance,
            counters=self._shop.counters,
        )
        consumer = await store.consume(self._place, reader)
        try:
            state = await consumer.state()
        except BaseException:
            await consumer.close()
            raise
        ledger.raise_floor(min(state.ack_floor, stream.last_seq))
        self._tracker.rewound(ledger.floor + 1)
        reader.pending = state.pending
        reader.begin(consumer, rewind=knows or state.unacknowledged > 0)

    def _report_reset(self) -> None:
        self._shop.counters.add("ledger_reset", who=self._shop.spec.name)
        _log.warning("ledger_reset", consumer=self._shop.spec.name, stream=self._place.stream)

    def _restore_window(self) -> None:
        try:
            self._opener.restore(self._ledger.window, self._ledger.marks)
        except MeshError as error:
            self._shop.counters.add("replay_window_lost", who=self._shop.spec.name)
            _log.error("replay_window_lost", consumer=self._shop.spec.name, **failure_fields(error))

    @property
    def _the_reader(self) -> Reader:
        if self._reader is None:
            raise RuntimeError("the consumption was not started")
        return self._reader

    # ── what the reader gives ─────────────────────────────────────────────────────────────────────────────────────

    def take(self, delivery: Delivery) -> None:
        """Put a new message into its lane."""
        lane = lane_of(partition_of(delivery.subject), self._shop.spec.lanes)
        item = Item(delivery, lane, delivery.subject, SealedEnvelope(delivery.payload))
        self._items[delivery.seq] = item
        self._lanes.put(lane, item)
        self._wakes[lane].set()

    def renew(self, delivery: Delivery) -> None:
        """Remember the newest delivery of a held message: it is the one to acknowledge."""
        self._items[delivery.seq].delivery = delivery

    async def is_same_stream(self) -> bool:
        """Compare the stream with the one of the ledger. In a new one nothing is finished, whatever its sequence.

        What is in hand is worked first: nobody else has it any more.
        """
        if self._store is None:
            raise Closed("the consumption was not started")
        if not self._shop.is_held():
            raise Closed("the partition is not held any more")
        incarnation = incarnation_of(await self._store.stream_state(self._place.stream))
        if incarnation.encode() == self._ledger.identity:
            return True
        while self._items:
            self._hands_free.clear()
            await self._hands_free.wait()
        self._ledger.forget(incarnation.encode())
        self._shop.dead_letters.incarnation = incarnation
        self._tracker.rewound(1)
        self._report_reset()
        return False

    # ── the lanes ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def _run_lane(self, lane: int) -> None:
        while self._takes_up:
            item = self._lanes.take(lane, self._now_s())
            if item is None:
                await self._until_ready(lane)
                continue
            try:
                pause = await self._work.forward(item)
            except Exception as error:  # noqa: BLE001 - the lane's outermost edge: a fault of ours must not end it
                self._shop.counters.add("lane_broke", who=self._shop.spec.name)
                _log.error("lane_broke", consumer=self._shop.spec.name, **failure_fields(error))
                pause = Again(_BROKEN_S, away=False)
            self._proceed(lane, item, pause)

    def _proceed(self, lane: int, item: Item, pause: Again | Elsewhere | None) -> None:
        self._moved.set()
        match pause:
            case None:
                self._lanes.done(lane)
                self._away.discard(lane)
                self._finish(item)
                self._hasten_others()
            case Again(delay_s=delay_s, away=away):
                self._retried += 1
                self._lanes.wait(lane, self._now_s() + delay_s)
                (self._away.add if away else self._away.discard)(lane)
            case Elsewhere(lane=to):
                item.lane = to
                self._lanes.move(lane, to)
                self._wakes[to].set()

    async def _until_ready(self, lane: int) -> None:
        wake = self._wakes[lane]
        wake.clear()
        delay_s = None
        if self._lanes.step(lane) is Step.WAITING:
            delay_s = max(0.0, self._lanes.due_s(lane) - self._now_s())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await wake.wait()

    def _hasten_others(self) -> None:
        """One lane got through: what the others wait for is probably back."""
        for lane in self._away:
            if self._lanes.hasten(lane, self._now_s()):
                self._wakes[lane].set()
        self._away.clear()

    def _now_s(self) -> float:
        return self._shop.clock.monotonic_s()

    def _finish(self, item: Item) -> None:
        """Remember first, then acknowledge: a death between the two costs a redelivery, and no duplicate."""
        seq, name = item.delivery.seq, self._shop.spec.name
        marks = [self._opener.mark(e) for e in (item.order, item.envelope) if e is not None]
        self._report_contradictions()
        try:
            for mark in marks or [b""]:
                self._ledger.finish(seq, mark)
        except OSError as error:
            self._shop.counters.add("ledger_write_failed", who=name)
            _log.error("ledger_write_failed", consumer=name, **failure_fields(error))
        if self._shop.is_held():
            self._the_reader.consumer.acknowledge(item.delivery)
        self._tracker.finish(seq)
        del self._items[seq]
        if not self._items:
            self._hands_free.set()
        self._counts[item.outcome] += 1
        self._shop.counters.add("event_finished", who=name, reason=item.outcome)
        if len(self._ledger.done) > _MANY_DONE:
            self._attention.set()
        self._the_reader.let_go()

    def _report_contradictions(self) -> None:
        new = self._opener.chain_breaks - self._contradictions
        if new:
            self._contradictions += new
            self._shop.counters.add("sender_contradiction", who=self._shop.spec.name, count=new)
            _log.error("sender_contradiction", consumer=self._shop.spec.name)

    # ── housekeeping ──────────────────────────────────────────────────────────────────────────────────────────────

    async def _keep_house(self) -> None:
        extended_s = looked_s = self._now_s()
        finished = 0
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_HOUSEKEEPING_S):
                    await self._attention.wait()
            self._attention.clear()
            now_s = self._now_s()
            if now_s - extended_s >= self._place.ack_wait_s / _EXTENDS_PER_WAIT:
                self._extend()
                extended_s = now_s
            total = sum(self._counts.values())
            if total != finished or self._items:
                self._rate_per_s = (total - finished) / max(now_s - looked_s, 0.001)
                await self._settle()
            finished, looked_s = total, now_s

    def _extend(self) -> None:
        if not self._shop.is_held():
            return
        for item in self._items.values():
            self._the_reader.consumer.extend(item.delivery)

    async def _settle(self) -> None:
        """Let the ledger forget what the server knows too."""
        try:
            async with asyncio.timeout(_HOUSEKEEPING_S):
                state = await self._the_reader.consumer.state()
            self._the_reader.pending = state.pending
            self._ledger.raise_floor(min(state.ack_floor, self._tracker.lowest_unfinished() - 1))
            if self._ledger.wants_compaction:
                self._ledger.compact(self._opener.snapshot())
        except (MeshError, TimeoutError) as error:
            self._shop.counters.add("settling_failed", who=self._shop.spec.name)
            _log.debug("settling_failed", consumer=self._shop.spec.name, **failure_fields(error))
        except OSError as error:
            self._shop.counters.add("ledger_write_failed", who=self._shop.spec.name)
            _log.error(
                "ledger_write_failed", consumer=self._shop.spec.name, **failure_fields(error)
            )

    @property
    def floor(self) -> int:
        """Every sequence of the place up to this one is finished."""
        return self._tracker.lowest_unfinished() - 1

    # ── the verbs ─────────────────────────────────────────────────────────────────────────────────────────────────

    def stats(self) -> ConsumptionStats:
        """Counters since the start, and what waits now."""
        oldest = next(iter(self._items.values()), None)
        waits_s = 0.0
        if oldest is not None:
            waits_s = max(0, self._shop.clock.now_ms() - oldest.delivery.stored_ms) / 1000
        pending = self._reader.pending if self._reader else 0
        waiting = pending + len(self._items)
        moving = waiting and self._rate_per_s > 0
        return ConsumptionStats(
            delivered=self._counts["delivered"],
            filtered=self._counts["filtered"],
            retried=self._retried,
            dead_lettered=self._counts["dead_lettered"],
            refused_envelopes=self._counts["refused"],
            sender_contradictions=self._opener.chain_breaks,
            in_flight=len(self._items),
            pending=pending,
            oldest_wait_s=waits_s,
            seconds_to_drain=waiting / self._rate_per_s if moving else None,
        )

    async def drain(self, *, timeout_s: float, started_only: bool = False) -> bool:
        """Take nothing new from the stream and work what was taken; False when messages are left for the next start.

        The last third of the time belongs to what handlers have begun by then: to break it off could make it happen
        twice. What waits for a peer that is away is left where it is safe. With `started_only` everything that no
        handler has begun is left, for a successor that waits for it.
        """
        if self._reader is None:  # drained or stopped before
            return not self._items
        self._reader.close()
        deadline_s = self._now_s() + timeout_s
        if not started_only:
            await self._work_off(timeout_s * _WORKS_OFF)
        self._takes_up = False
        for wake in self._wakes:
            wake.set()
        if self._lane_tasks:
            await asyncio.wait(self._lane_tasks, timeout=max(0.0, deadline_s - self._now_s()))
        left = len(self._items)
        await self.stop()
        return not left

    async def _work_off(self, timeout_s: float) -> None:
        """Wait while lanes get through what they hold."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while any(self._gets_on(lane) for lane in range(self._shop.spec.lanes)):
                    self._moved.clear()
                    await self._moved.wait()

    def _gets_on(self, lane: int) -> bool:
        step = self._lanes.step(lane)
        return step is not Step.EMPTY and not (step is Step.WAITING and lane in self._away)

    async def stop(self) -> None:
        """Stop at once; what was not acknowledged comes again."""
        if self._reader is not None:
            self._reader.close()
        tasks, self._tasks, self._lane_tasks = [*self._lane_tasks, *self._tasks], [], []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._reader is None:
            return
        try:
            async with asyncio.timeout(_CLOSE_S):
                await self._reader.consumer.close()
        except (MeshError, TimeoutError) as error:
            _log.warning("close_failed", consumer=self._shop.spec.name, **failure_fields(error))
        self._reader = None
        self._ledger.close()


__all__ = ["MeshConsumption"]
