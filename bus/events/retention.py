"""Retention: what is old and had by everyone goes; what a durable consumer has not acknowledged stays, however old."""

from __future__ import annotations

import asyncio
from typing import Final

from bus.telemetry.counters import Counters
from bus.telemetry.failures import failure_fields
from bus.telemetry.log import logger
from bus.transport.protocol import ConsumerState, NotFound, Transport
from schemas.clock import Clock
from schemas.errors import MeshError

DEFAULT_RETENTION_S: Final = 7 * 86_400.0
_log = logger(__name__)


class RetentionKeeper:
    """Purges streams. One runs in a site; several do no harm."""

    def __init__(
        self,
        *,
        transport: Transport,
        clock: Clock,
        counters: Counters,
        streams: tuple[str, ...],
        retention_s: float = DEFAULT_RETENTION_S,
        period_s: float = 300.0,
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._counters = counters
        self._streams = streams
        self._retention_s = retention_s
        self._period_s = period_s
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look after the streams until `stop`."""
        self._task = asyncio.create_task(self._run(), name="retention")

    async def stop(self) -> None:
        """End."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            for stream in self._streams:
                try:
                    await self.keep(stream)
                except MeshError as error:
                    self._counters.add("retention_failed", who=stream, reason=error.code)
                    _log.warning("retention_failed", stream=stream, **failure_fields(error))
            await asyncio.sleep(self._period_s)

    async def keep(self, stream: str) -> int:
        """Drop what is older than the retention and acknowledged by every durable consumer; return how many went."""
        administration, store = self._transport.administration, self._transport.store
        # the stream first: what is stored after this look is above every bound taken from it
        state = await store.stream_state(stream)
        if not state.messages:
            return 0
        consumers = await administration.consumers(stream)
        end = state.last_seq + 1
        for consumer in consumers.values():
            end = min(end, _needed_from(consumer, state.last_seq))
        cutoff_ms = self._clock.now_ms() - round(self._retention_s * 1000)
        end = await self._first_younger(stream, state.first_seq, end, cutoff_ms)
        if end <= state.first_seq:
            return 0
        gone = await administration.purge(stream, up_to_seq=end)
        self._counters.add("message_retired", who=stream, count=gone)
        return gone

    async def _first_younger(self, stream: str, low: int, high: int, cutoff_ms: int) -> int:
        """The lowest sequence in [low, high] whose message is younger than the cutoff, or `high`."""
        while low < high:
            middle = (low + high) // 2
            at, stored_ms = await self._at_or_above(stream, middle, high)
            if stored_ms is None or stored_ms > cutoff_ms:
                high = middle
            else:
                low = at + 1
        return high

    async def _at_or_above(self, stream: str, seq: int, end: int) -> tuple[int, int | None]:
        """The first message at or above `seq` and below `end`: single ones may have been deleted."""
        for at in range(seq, end):
            try:
                return at, (await self._transport.store.read(stream, at)).stored_ms
            except NotFound:
                continue
        return end, None


def _needed_from(consumer: ConsumerState, last_seq: int) -> int:
    """The lowest sequence that a consumer may still need."""
    if not consumer.pending and not consumer.unacknowledged:
        return last_seq + 1
    return consumer.ack_floor + 1


__all__ = ["DEFAULT_RETENTION_S", "RetentionKeeper"]
