"""What passes, without its content: subject, size, sender. Reads the outside of envelopes; opens nothing."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from enum import Enum

from google.protobuf.message import DecodeError

from bus.envelope.types import CertificateId, Directory, Refused
from bus.transport.protocol import Incoming
from schemas import subjects
from schemas.clock import Clock
from schemas.generated.medmesh.envelope.v1 import envelope_pb2 as envelope_pb

UNKNOWN = "unknown"
_MAX_SUBJECTS = 1000
"""Different subjects of which totals are kept; further ones are counted together."""
_RATE_WINDOW_S = 5.0


class Mark(Enum):
    """What is odd about an envelope, as far as its outside tells."""

    NONE = ""
    NO_ENVELOPE = "no envelope"
    UNKNOWN_SENDER = "unknown sender"
    OTHER_SUBJECT = "sealed for another subject"
    NOT_ALLOWED = "sender may not publish this subject"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """One message as an operator may see it. The signature has not been checked: receivers do that."""

    subject: str
    type: str
    """`domain/event` from the subject, e.g. `raw/hl7v2`."""
    size: int
    """Bytes of the payload."""
    sender: str
    """Name of the signing service, or `unknown`."""
    mark: Mark
    suite: int = 0
    batch: int = 0
    """Messages that share its signature."""


def look(message: Incoming, directory: Directory) -> Sighting:
    """Read the outside of one message."""
    kind = _type(message.subject)
    size = len(message.payload)
    try:
        outside = envelope_pb.Envelope.FromString(message.payload)
        batch = envelope_pb.BatchHeader.FromString(outside.batch)
        head = envelope_pb.MessageHead.FromString(outside.head)
    except DecodeError:
        return _unreadable(message.subject, kind, size)
    if not batch.signer or not head.subject:
        return _unreadable(message.subject, kind, size)
    sender, mark = _sender(message.subject, head.subject, batch, directory)
    return Sighting(
        subject=message.subject,
        type=kind,
        size=size,
        sender=sender,
        mark=mark,
        suite=batch.suite,
        batch=batch.size,
    )


def _unreadable(subject: str, kind: str, size: int) -> Sighting:
    return Sighting(subject=subject, type=kind, size=size, sender=UNKNOWN, mark=Mark.NO_ENVELOPE)


def _sender(
    seen: str, sealed: str, batch: envelope_pb.BatchHeader, directory: Directory
) -> tuple[str, Mark]:
    try:
        certificate = directory.certificate(CertificateId(batch.signer), at_ms=batch.created_ms)
    except Refused:
        return UNKNOWN, Mark.UNKNOWN_SENDER
    name = certificate.service.rpartition("/")[2]
    if sealed != seen:
        return name, Mark.OTHER_SUBJECT
    if not any(subjects.matches(pattern, seen) for pattern in certificate.publish):
        return name, Mark.NOT_ALLOWED
    return name, Mark.NONE


def _type(subject: str) -> str:
    """`raw/hl7v2` of `evt.north.raw.hl7v2.17`; the first token for what is no event."""
    parts = subject.split(".")
    return f"{parts[2]}/{parts[3]}" if parts[0] == "evt" and len(parts) > 3 else parts[0]


@dataclass
class SubjectTotals:
    """What passed on subjects that differ in their partition alone."""

    messages: int = 0
    bytes: int = 0
    last_sender: str = ""
    marked: int = 0


@dataclass
class Totals:
    """Running totals of a watch; rates over the last five seconds."""

    clock: Clock
    subjects: dict[str, SubjectTotals] = field(default_factory=dict)
    marks: Counter[str] = field(default_factory=Counter)
    messages: int = 0
    bytes: int = 0
    _seconds: deque[tuple[int, Counter[str]]] = field(default_factory=deque, repr=False)

    def add(self, sighting: Sighting) -> None:
        """Count one message."""
        self.messages += 1
        self.bytes += sighting.size
        name = without_partition(sighting.subject)
        if name not in self.subjects and len(self.subjects) >= _MAX_SUBJECTS:
            name = "(others)"
        totals = self.subjects.setdefault(name, SubjectTotals())
        totals.messages += 1
        totals.bytes += sighting.size
        totals.last_sender = sighting.sender
        if sighting.mark is not Mark.NONE:
            totals.marked += 1
            self.marks[sighting.mark.value] += 1
        second = int(self.clock.monotonic_s())
        if not self._seconds or self._seconds[-1][0] != second:
            self._seconds.append((second, Counter()))
        self._seconds[-1][1][name] += 1

    def rate(self, name: str | None = None) -> float:
        """Messages a second of one subject, or of all."""
        oldest = self.clock.monotonic_s() - _RATE_WINDOW_S
        while self._seconds and self._seconds[0][0] <= oldest:
            self._seconds.popleft()
        counted = sum(
            counts.total() if name is None else counts[name] for _, counts in self._seconds
        )
        return counted / _RATE_WINDOW_S


def without_partition(subject: str) -> str:
    """`evt.north.raw.hl7v2.*` for `evt.north.raw.hl7v2.17`: one line a kind of event, not 64."""
    head, _, last = subject.rpartition(".")
    return f"{head}.*" if subject.startswith("evt.") and last.isdigit() else subject


__all__ = ["UNKNOWN", "Mark", "Sighting", "SubjectTotals", "Totals", "look", "without_partition"]
