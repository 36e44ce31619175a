"""A stream held in memory: limits, duplicates and age as JetStream applies them. Pure: time is an argument."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from bus.transport.protocol import (
    SCHEDULE_HEADER,
    SCHEDULE_TARGET_HEADER,
    Delivery,
    NotFound,
    Outgoing,
    Stored,
    StreamFull,
    StreamSpec,
    StreamState,
)
from schemas.subjects import matches


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One stored message."""

    seq: int
    subject: str
    payload: bytes
    headers: Mapping[str, str] | None
    stored_ms: int

    @property
    def size(self) -> int:
        """What the message counts against `max_bytes`."""
        return len(self.subject) + len(self.payload)

    def delivery(self, *, deliveries: int = 1, pending: int = 0, reply: str = "") -> Delivery:
        """The message as a reader gets it."""
        return Delivery(
            subject=self.subject,
            payload=self.payload,
            seq=self.seq,
            deliveries=deliveries,
            stored_ms=self.stored_ms,
            pending=pending,
            reply=reply,
            headers=self.headers,
        )


class MemoryStream:
    """Messages in order, with the limits of a `StreamSpec`."""

    def __init__(self, spec: StreamSpec, *, created_ms: int = 0) -> None:
        self.spec = spec
        self.created_ms = created_ms
        self.records: dict[int, Record] = {}
        self.last_seq = 0
        self._bytes = 0
        self._first = 1
        self._seen: OrderedDict[str, tuple[int, int]] = OrderedDict()
        self._by_subject: dict[str, dict[int, None]] = {}
        self._scheduled: dict[int, int] = {}
        self.appended: list[Callable[[Record], None]] = []
        """Called after each new message: the consumers of the stream."""
        self.deleted: list[Callable[[], None]] = []
        """Called when the stream is deleted: its running readers."""

    @property
    def first_seq(self) -> int:
        """The oldest sequence still held; one above the newest when the stream is empty."""
        while self._first <= self.last_seq and self._first not in self.records:
            self._first += 1
        return self._first

    def covers(self, subject: str) -> bool:
        """Whether a message on `subject` belongs here."""
        return any(matches(pattern, subject) for pattern in self.spec.subjects)

    def append(self, message: Outgoing, now_ms: int) -> Stored:
        """Store one message, or answer with the place it has already. Raises `StreamFull`."""
        self.expire(now_ms)
        seen = self._seen.get(message.message_id) if message.message_id else None
        if seen is not None:
            return Stored(stream=self.spec.name, seq=seen[0], duplicate=True)
        due = _due_ms(message) if self.spec.allow_schedules else None
        if due is not None:
            self._forget_scheduled(message.subject)
        self._make_room(message)
        self.last_seq += 1
        record = Record(
            seq=self.last_seq,
            subject=message.subject,
            payload=bytes(message.payload),
            headers=dict(message.headers) if message.headers else None,
            stored_ms=now_ms,
        )
        self.records[record.seq] = record
        self._bytes += record.size
        self._by_subject.setdefault(record.subject, {})[record.seq] = None
        if message.message_id:
            self._seen[message.message_id] = (record.seq, now_ms)
        if due is not None:
            self._scheduled[record.seq] = due
        for call in tuple(self.appended):
            call(record)
        return Stored(stream=self.spec.name, seq=record.seq)

    def _forget_scheduled(self, subject: str) -> None:
        for seq in tuple(self._by_subject.get(subject, ())):
            self.remove(seq)

    def next_due_ms(self) -> int | None:
        """When the next scheduled message is due; None when there is none."""
        return min(self._scheduled.values(), default=None)

    def release(self, now_ms: int) -> None:
        """Store what is due on its target, and drop what was held back for it."""
        for seq, due_ms in sorted(self._scheduled.items(), key=lambda item: (item[1], item[0])):
            if due_ms > now_ms:
                return
            record = self.records[seq]
            self.remove(seq)
            target = (record.headers or {})[SCHEDULE_TARGET_HEADER]
            headers = {"Nats-Scheduler": record.subject, "Nats-Schedule-Next": "purge"}
            self.append(
                Outgoing(subject=target, payload=record.payload, message_id="", headers=headers),
                now_ms,
            )

    def _make_room(self, message: Outgoing) -> None:
        spec, held = self.spec, self._by_subject.get(message.subject, {})
        if 0 < spec.max_messages_per_subject <= len(held):
            if not spec.discard_old_per_subject:
                raise StreamFull(
                    f"stream {spec.name}: a subject is at its limit of {spec.max_messages_per_subject} messages"
                )
            while len(held) >= spec.max_messages_per_subject:
                self.remove(next(iter(held)))
        if 0 < spec.max_messages <= len(self.records):
            raise StreamFull(
                f"stream {spec.name} is at its limit of {spec.max_messages} messages (max_messages)"
            )
        size = len(message.subject) + len(message.payload)
        if spec.max_bytes > 0 and self._bytes + size > spec.max_bytes:
            raise StreamFull(
                f"stream {spec.name} is at its limit of {spec.max_bytes} bytes (max_bytes)"
            )

    def remove(self, seq: int) -> None:
        """Drop one message. Raises `NotFound`."""
        record = self.records.pop(seq, None)
        if record is None:
            raise NotFound(f"stream {self.spec.name} has no message {seq}")
        self._bytes -= record.size
        self._scheduled.pop(seq, None)
        held = self._by_subject[record.subject]
        del held[seq]
        if not held:
            del self._by_subject[record.subject]

    def get(self, seq: int) -> Record:
        """One message. Raises `NotFound`."""
        try:
            return self.records[seq]
        except KeyError:
            raise NotFound(f"stream {self.spec.name} has no message {seq}") from None

    def last(self, subject: str) -> Record:
        """The newest message of a subject. Raises `NotFound`."""
        held = self._by_subject.get(subject)
        if not held:
            raise NotFound(f"stream {self.spec.name} has no message on {subject}")
        return self.records[next(reversed(held))]

    def next(self, pattern: str, from_seq: int) -> Record:
        """The oldest message at or behind a sequence that a pattern covers. Raises `NotFound`."""
        record = self.next_matching(from_seq, (pattern,))
        if record is None:
            raise NotFound(f"stream {self.spec.name} has no such message on {pattern}")
        return record

    def counts(self, pattern: str) -> dict[str, int]:
        """Messages by subject."""
        return {
            subject: len(held)
            for subject, held in self._by_subject.items()
            if held and matches(pattern, subject)
        }

    def next_matching(self, seq: int, patterns: tuple[str, ...]) -> Record | None:
        """The first message at or above `seq` that a pattern covers."""
        for at in range(max(seq, self.first_seq), self.last_seq + 1):
            record = self.records.get(at)
            if record is not None and covered(record.subject, patterns):
                return record
        return None

    def count_matching(self, seq: int, patterns: tuple[str, ...]) -> int:
        """How many messages at or above `seq` a pattern covers."""
        return sum(r.seq >= seq and covered(r.subject, patterns) for r in self.records.values())

    def purge(self, up_to_seq: int) -> int:
        """Drop everything below `up_to_seq` and return how many messages went."""
        going = [seq for seq in self.records if seq < up_to_seq]
        for seq in going:
            self.remove(seq)
        return len(going)

    def expire(self, now_ms: int) -> None:
        """Forget what is too old: messages by `max_age_s`, ids by `duplicate_window_s`."""
        if self.spec.max_age_s > 0:
            oldest = now_ms - self.spec.max_age_s * 1000
            for record in list(self.records.values()):
                if record.stored_ms > oldest:
                    break
                self.remove(record.seq)
        window = now_ms - self.spec.duplicate_window_s * 1000
        while self._seen:
            _, at_ms = next(iter(self._seen.values()))
            if at_ms > window:
                break
            self._seen.popitem(last=False)

    def state(self) -> StreamState:
        """What the stream holds. Memory is never synced: `sync_always` is False."""
        return StreamState(
            name=self.spec.name,
            messages=len(self.records),
            bytes=self._bytes,
            first_seq=self.first_seq,
            last_seq=self.last_seq,
            replicas=self.spec.replicas,
            sync_always=False,
            created_ms=self.created_ms,
        )


def _due_ms(message: Outgoing) -> int | None:
    said = (message.headers or {}).get(SCHEDULE_HEADER, "")
    kind, _, at = said.partition(" ")
    return round(datetime.fromisoformat(at).timestamp() * 1000) if kind == "@at" else None


def covered(subject: str, patterns: tuple[str, ...]) -> bool:
    """Whether one of the patterns covers the subject; no pattern covers everything."""
    return not patterns or any(matches(pattern, subject) for pattern in patterns)


__all__ = ["MemoryStream", "Record", "covered"]
