"""A shared consumption: one member of a group, with an ordinary consumption for each partition that it holds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from bus.events.partitions.actions import LeaseTimes
from bus.events.partitions.buckets import GroupBuckets
from bus.events.partitions.leases import Seat
from bus.events.partitions.member import Member
from bus.events.partitions.narrowing import partitions_in
from bus.events.partitions.places import Places, place_name
from bus.events.partitions.records import GroupRecord, PartitionRecord
from bus.events.partitions.totals import total
from bus.events.partitions.work import OnePartition, Supplies
from bus.events.protocol import (
    ConsumptionStats,
    Handler,
    PartitionView,
    Receipt,
    ReceivedEvent,
)
from bus.events.streams import incarnation_of
from bus.flow import Chance
from schemas.errors import SubjectError, Unavailable

_FINISH_S: Final = 10.0
_LEAST_IN_FLIGHT: Final = 4
_ID_BITS: Final = 48


class NotHeld(Unavailable):
    """The partition's lease ran out before the handler began: whoever has it then works the message."""


class SharedMeshConsumption:
    """`bus.events.protocol.SharedConsumption`."""

    def __init__(self, supplies: Supplies, *, chance: Chance, times: LeaseTimes) -> None:
        self._supplies = supplies
        self._spec = supplies.shop.spec
        self._chance = chance
        self._times = times
        self._partitions = partitions_in(self._spec.patterns)
        if not self._partitions:
            raise SubjectError(f"consumer {self._spec.name}: no pattern, so nothing to share")
        for partition in self._partitions:
            place_name(self._spec.name, partition)
        self._slots = asyncio.Semaphore(self._spec.lanes)
        self._places = Places(supplies.transport, supplies.stream)
        self._incarnation = ""
        self._works: dict[int, OnePartition] = {}
        self._past: list[ConsumptionStats] = []
        self._member: Member | None = None

    async def start(self) -> None:
        """Join the group; partitions come within a second. Raises `MeshError`."""
        shop, transport = self._supplies.shop, self._supplies.transport
        stream = await transport.store.stream_state(self._supplies.stream)
        self._incarnation = incarnation_of(stream)
        buckets = await GroupBuckets.open(transport, self._spec.name, shop.counters)
        after = stream.last_seq if self._spec.deliver_new else 0
        group = await buckets.begin_group(GroupRecord(stream=self._incarnation, after=after))
        seat = Seat(
            group=self._spec.name,
            partitions=self._partitions,
            times=self._times,
            fresh_id=self._fresh_id,
            # grows even when the bucket is lost and begun anew
            first_fence=shop.clock.now_ms(),
            after=group.after,
        )
        self._member = Member(
            group=self._spec.name,
            seat=seat,
            buckets=buckets,
            work_on=self._work_on,
            complete=self._complete,
            clock=shop.clock,
            counters=shop.counters,
            finish_s=_FINISH_S,
        )
        await self._member.start()

    def _fresh_id(self) -> str:
        return f"{int(self._chance.random() * (1 << _ID_BITS)):012x}"

    @property
    def _joined(self) -> Member:
        if self._member is None:
            raise RuntimeError("the consumption was not started")
        return self._member

    # ── what the member asks for ──────────────────────────────────────────────────────────────────────────────────

    async def _complete(
        self, partition: int, record: PartitionRecord, measure: bool
    ) -> PartitionRecord:
        """The record with the floor as it is now: of this stream, not of an earlier one of its name."""
        floor = record.floor if record.stream in ("", self._incarnation) else 0
        if measure:
            state = await self._places.state(place_name(self._spec.name, partition))
            floor = max(floor, state.ack_floor if state else 0)
        now_ms = self._supplies.shop.clock.now_ms()
        return replace(record, floor=floor, stream=self._incarnation, moved_ms=now_ms)

    def _work_on(self, partition: int, record: PartitionRecord) -> OnePartition:
        seat, clock = self._joined.seat, self._supplies.shop.clock

        def is_held() -> bool:
            return seat.may_work(partition, record.fence, clock.monotonic_s())

        share = self._spec.max_in_flight // max(1, seat.planned_here())
        shop = replace(
            self._supplies.shop,
            spec=replace(self._spec, lanes=1, max_in_flight=max(_LEAST_IN_FLIGHT, share)),
            handler=self._bounded(is_held),
            is_held=is_held,
            partition=partition,
            fence=record.fence,
        )
        work = OnePartition(self._supplies, shop, record, self._remember)
        self._works[partition] = work
        return work

    def _bounded(self, is_held: Callable[[], bool]) -> Handler:
        """The handler, for as many at a time as the group's member may; the lease is looked at when its turn comes."""
        handler, slots = self._supplies.shop.handler, self._slots

        async def handle(event: ReceivedEvent) -> Receipt | None:
            async with slots:
                if not is_held():
                    raise NotHeld(f"partition {event.partition} is not held any more")
                return await handler(event)

        return handle

    def _remember(self, stats: ConsumptionStats) -> None:
        """What a partition's work has done is counted on after it has moved away; what waits there, elsewhere."""
        done = replace(stats, in_flight=0, pending=0, oldest_wait_s=0.0, seconds_to_drain=None)
        self._past = [total([*self._past, done])]

    # ── the verbs ─────────────────────────────────────────────────────────────────────────────────────────────────

    def stats(self) -> ConsumptionStats:
        """Counters of this member since the start, and what waits in the partitions that it holds."""
        running = (work.stats() for work in self._running().values())
        return total([*self._past, *(one for one in running if one is not None)])

    def _running(self) -> dict[int, OnePartition]:
        held = self._member.works if self._member else {}
        return {p: work for p, work in self._works.items() if held.get(p) is work}

    def partitions(self) -> tuple[PartitionView, ...]:
        """Every partition of the group, as this member sees it."""
        running = self._running()
        return tuple(
            self._view(partition, record, running.get(partition))
            for partition, record in self._joined.seat.records().items()
        )

    def _view(
        self, partition: int, record: PartitionRecord | None, work: OnePartition | None
    ) -> PartitionView:
        stats = work.stats() if work else None
        return PartitionView(
            partition=partition,
            owner=record.owner if record else "",
            is_here=stats is not None,
            fence=record.fence if record else 0,
            lag=stats.pending + stats.in_flight if stats else None,
            moved_ms=record.moved_ms if record else 0,
            reason=record.reason if record else "",
        )

    async def drain(self, *, timeout_s: float) -> bool:
        """Finish what is in hand, release every partition and leave; False when something was left in hand."""
        if self._member is None:
            return True
        left = await self._member.leave(timeout_s=timeout_s)
        await self._places.close()
        return left

    async def stop(self) -> None:
        """Stop at once; the other members take over when the lease has run out."""
        if self._member is not None:
            await self._member.stop()
        await self._places.close()


__all__ = ["NotHeld", "SharedMeshConsumption"]
