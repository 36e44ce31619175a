"""The durable place of a consumer in a stream of the in-memory broker. Pure: time is an argument."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bus.transport.memory.streams import MemoryStream, Record, covered
from bus.transport.protocol import ConsumerSpec, ConsumerState, Retention


@dataclass(slots=True)
class _Given:
    """A message that was delivered and is not acknowledged."""

    due_s: float
    """When it is delivered again, on the clock's monotonic reading."""
    deliveries: int = 1


class Place:
    """What was delivered, what is acknowledged, what comes next."""

    def __init__(self, stream: MemoryStream, spec: ConsumerSpec) -> None:
        self.spec = spec
        self.stream = stream
        self._given: dict[int, _Given] = {}
        self._next = stream.last_seq + 1 if spec.deliver_new else max(1, spec.start_seq)
        self._delivered = self._next - 1
        self._pending = 0
        self._earliest_s = math.inf
        """Nothing is due before this; what is due must be looked for after it."""
        self._count()
        stream.appended.append(self._appended)

    def leave(self) -> None:
        """Count nothing any more."""
        self.stream.appended.remove(self._appended)

    @property
    def unacknowledged(self) -> int:
        """How many messages are delivered and not acknowledged."""
        return len(self._given)

    @property
    def ack_floor(self) -> int:
        """Every stream sequence up to this one is acknowledged."""
        return next(iter(self._given)) - 1 if self._given else self._delivered

    def _count(self) -> None:
        self._pending = self.stream.count_matching(self._next, self.spec.patterns)

    def _appended(self, record: Record) -> None:
        self._pending += covered(record.subject, self.spec.patterns)

    def take(self, now_s: float) -> tuple[Record, int, int] | None:
        """The next message to deliver, how often that makes, and how many remain; None when nothing may go now."""
        return self._redelivery(now_s) or self._fresh(now_s)

    def _redelivery(self, now_s: float) -> tuple[Record, int, int] | None:
        if now_s < self._earliest_s:
            return None
        for seq, given in list(self._given.items()):
            if given.due_s > now_s:
                continue
            record = self.stream.records.get(seq)
            if record is None:
                del self._given[seq]
                continue
            given.due_s = now_s + self.spec.ack_wait_s
            given.deliveries += 1
            return record, given.deliveries, self._pending
        self._earliest_s = min((given.due_s for given in self._given.values()), default=math.inf)
        return None

    def _fresh(self, now_s: float) -> tuple[Record, int, int] | None:
        if len(self._given) >= self.spec.max_ack_pending:
            return None
        record = self.stream.next_matching(self._next, self.spec.patterns)
        if record is None:
            return None
        self._next = record.seq + 1
        self._delivered = record.seq
        self._pending = max(0, self._pending - 1)
        if not self.spec.passing_s:
            self._given[record.seq] = _Given(due_s=now_s + self.spec.ack_wait_s)
            self._earliest_s = min(self._earliest_s, now_s + self.spec.ack_wait_s)
        return record, 1, self._pending

    def next_due_s(self) -> float | None:
        """No unacknowledged message is delivered again before this; None when there is none."""
        return self._earliest_s if self._given else None

    def acknowledge(self, seq: int) -> None:
        """Mark one delivered message as done; a work queue drops it."""
        if self._given.pop(seq, None) is None:
            return
        if self.stream.spec.retention is Retention.WORKQUEUE and seq in self.stream.records:
            self.stream.remove(seq)

    def extend(self, seq: int, now_s: float) -> None:
        """Start the redelivery timer of one message again."""
        given = self._given.get(seq)
        if given is not None:
            given.due_s = now_s + self.spec.ack_wait_s

    def rewind(self, seq: int) -> None:
        """Deliver again from `seq` on."""
        self._given.clear()
        self._next = seq
        self._delivered = seq - 1
        self._count()

    def state(self) -> ConsumerState:
        """Where the consumer stands."""
        self._count()
        return ConsumerState(
            ack_floor=self.ack_floor,
            delivered=self._delivered,
            pending=self._pending,
            unacknowledged=len(self._given),
            patterns=self.spec.patterns,
        )


__all__ = ["Place"]
