"""One partition in work: an ordinary consumption at the partition's own place, while its lease is held."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from bus.envelope.seals import Opening
from bus.events.consumption import MeshConsumption
from bus.events.ledger import Ledger
from bus.events.opening import EnvelopeReader
from bus.events.partitions.narrowing import narrowed
from bus.events.partitions.places import place_name
from bus.events.partitions.records import PartitionRecord
from bus.events.protocol import ConsumptionStats
from bus.events.streams import incarnation_of
from bus.events.work import Workshop
from bus.transport.protocol import ConsumerSpec, NotFound, Transport
from schemas.errors import ConfigurationError

_ACK_PENDING = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Supplies:
    """What working partitions needs."""

    stream: str
    transport: Transport
    shop: Workshop
    """As for an ordinary consumer of the group's name."""
    fresh_opener: Callable[[], Opening]
    reader_of: Callable[[Opening], EnvelopeReader]
    folder: Path


class OnePartition:
    """`bus.events.partitions.member.PartitionWork`."""

    def __init__(
        self,
        supplies: Supplies,
        shop: Workshop,
        record: PartitionRecord,
        ended: Callable[[ConsumptionStats], None],
    ) -> None:
        self._supplies = supplies
        self._shop = shop
        self._record = record
        self._ended = ended
        self._partition = shop.partition or 0
        self._name = place_name(shop.spec.name, self._partition)
        self._consumption: MeshConsumption | None = None

    @property
    def floor(self) -> int:
        """Every sequence of the partition up to this one is finished."""
        return self._consumption.floor if self._consumption else self._record.floor

    def stats(self) -> ConsumptionStats | None:
        """What was done and what waits; None before the start."""
        return self._consumption.stats() if self._consumption else None

    async def start(self, *, rebuild: bool) -> None:
        """Take up the place where it was left. Raises `MeshError`.

        A reader that was not heard of any more may still have requests standing, which would swallow messages of the
        place: with `rebuild` it is deleted with them, and made again from the record's floor.
        """
        supplies = self._supplies
        state = await supplies.transport.store.stream_state(supplies.stream)
        incarnation = incarnation_of(state)
        if rebuild:
            with contextlib.suppress(NotFound):
                await supplies.transport.administration.delete_consumer(supplies.stream, self._name)
        path = supplies.folder / f"{self._name}.ledger"
        try:
            await self._begin(Ledger(path, incarnation.encode()), incarnation)
        except ConfigurationError:
            # another process of this machine was stopped with it in its hands: what it knows, the server knows mostly
            self._shop.counters.add("ledger_locked", who=self._shop.spec.name)
            await self._begin(Ledger(None, incarnation.encode()), incarnation)

    async def _begin(self, ledger: Ledger, incarnation: str) -> None:
        supplies, spec = self._supplies, self._shop.spec
        opener = supplies.fresh_opener()
        patterns = narrowed(spec.patterns, self._partition)
        consumption = MeshConsumption(
            place=ConsumerSpec(
                stream=supplies.stream,
                name=self._name,
                patterns=(*patterns, self._shop.replay_subject),
                max_ack_pending=_ACK_PENDING,
            ),
            shop=replace(self._shop, reader=supplies.reader_of(opener)),
            opener=opener,
            ledger=ledger,
            start_after=self._record.floor if self._record.stream == incarnation else 0,
        )
        await consumption.start(supplies.transport.store)
        self._consumption = consumption

    async def finish(self, *, timeout_s: float) -> None:
        """Take nothing new, finish what is in hand, flush acknowledgements."""
        if self._consumption is not None:
            await self._consumption.drain(timeout_s=timeout_s, started_only=True)
            self._report()

    async def abandon(self) -> None:
        """Stop at once, handlers included."""
        if self._consumption is not None:
            await self._consumption.stop()
            self._report()

    def _report(self) -> None:
        stats = self.stats()
        if stats is not None:
            self._ended(stats)


__all__ = ["OnePartition", "Supplies"]
