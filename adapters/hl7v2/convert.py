"""From the bytes of an HL7 v2 message to an event of the mesh: its identity, its partition, its typed index. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from adapters.hl7v2.codec.charset import candidates
from adapters.hl7v2.codec.header import Header, peek
from adapters.hl7v2.codec.patient import patient_key
from bus.events.protocol import NewEvent
from schemas import subjects
from schemas.generated.medmesh.content.v1 import content_pb2 as content_pb
from schemas.keyed import keyed_hash
from schemas.subjects import Domain, SiteId

CONTENT_TYPE: Final = "hl7v2"
"""Events have the type `hl7v2/ADT^A01`."""
_ID_BYTES: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """How a way in turns messages into events."""

    site: SiteId
    site_key: bytes
    adapter: str
    event: str
    charset: str
    receipts_from: tuple[str, ...]
    random_bytes: Callable[[int], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What the mesh says of every message of one sender and type."""

    type: str
    charset: str
    """Python's name of the codec; empty when MSH-18 names a set that has none."""


def kind_of(header: Header, charset: str) -> Kind:
    """The kind of a message; `charset` is the way in's default."""
    sets = (header.wide,) if header.wide else candidates(header.charset_names, charset, ())
    return Kind(type=f"{CONTENT_TYPE}/{header.message_type}", charset=sets[0].codec if sets else "")


def message_id(site_key: bytes, adapter: str, control_id: bytes, message: bytes) -> bytes:
    """16 bytes by which an exact resend is the same event: a keyed hash of the way in, MSH-10 and the content.

    Another content under the same MSH-10 is another message: control ids are reused in the field.
    """
    name = adapter.encode()
    head = b"".join(
        (len(name).to_bytes(4, "big"), name, len(control_id).to_bytes(4, "big"), control_id)
    )
    return keyed_hash(site_key).digest(head, message)[:_ID_BYTES]


def to_event(
    message: bytes, header: Header, intent: Intent, *, received_ms: int, kind: Kind | None = None
) -> NewEvent:
    """The event that carries a message, its bytes unchanged; `kind` if it is known. Raises `Hl7Error`."""
    kind = kind or kind_of(header, intent.charset)
    control_id = header.raw(10)
    identity = (
        message_id(intent.site_key, intent.adapter, control_id, message)
        if control_id
        else intent.random_bytes(_ID_BYTES)
    )
    patient = patient_key(message, header, charset=intent.charset)
    partition = subjects.partition_for(intent.site_key, patient or identity)
    return NewEvent(
        subject=subjects.event(intent.site, Domain.RAW, intent.event, partition),
        type=kind.type,
        body=message,
        message_id=identity,
        index=_index(header, patient, kind),
        received_ms=received_ms,
        receipts_from=intent.receipts_from,
    )


def control_id_of(message: bytes) -> bytes:
    """MSH-10 as sent. Raises `Hl7Error`."""
    return peek(message).raw(10)


def _index(header: Header, patient: bytes | None, kind: Kind) -> content_pb.Index:
    index = content_pb.Index(control_id=header.control_id, charset=kind.charset)
    if patient:
        value, _, system = patient.decode("utf-8", "backslashreplace").rpartition("^")
        index.patient.add(system=system, value=value)
    return index


__all__ = ["CONTENT_TYPE", "Intent", "Kind", "control_id_of", "kind_of", "message_id", "to_event"]
