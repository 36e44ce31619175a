"""From the bytes of a FHIR resource to an event of the mesh: its identity, its partition, its typed index. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from adapters.fhir.codec.partial import Head, Reference, read_bundle, read_head, resources_of
from bus.events.protocol import NewEvent
from schemas import subjects
from schemas.generated.medmesh.content.v1 import content_pb2 as content_pb
from schemas.keyed import keyed_hash
from schemas.subjects import Domain, SiteId

CONTENT_TYPE: Final = "application/fhir+json"
_ID_BYTES: Final = 16
_REFERENCE_STEPS: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """How a way in turns resources into events."""

    site: SiteId
    site_key: bytes
    adapter: str
    event: tuple[Domain, str]
    events: Mapping[str, tuple[Domain, str]]
    """Other events by type of resource."""


def message_id(site_key: bytes, adapter: str, body: bytes) -> bytes:
    """16 bytes by which an exact resend is the same event: a keyed hash of the way in and the content."""
    name = adapter.encode()
    head = b"".join((b"fhir", len(name).to_bytes(4, "big"), name))
    return keyed_hash(site_key).digest(head, body)[:_ID_BYTES]


def to_event(body: bytes, intent: Intent, *, received_ms: int) -> NewEvent:
    """The event that carries a resource, its bytes unchanged. Raises `UnreadableResource`."""
    head = read_head(body)
    identity = message_id(intent.site_key, intent.adapter, body)
    about = _about(head, body)
    patient = patient_key(about) if about is not None else b""
    partition = subjects.partition_for(intent.site_key, patient or identity)
    domain, name = intent.events.get(head.resource_type, intent.event)
    return NewEvent(
        subject=subjects.event(intent.site, domain, name, partition),
        type=CONTENT_TYPE,
        body=body,
        message_id=identity,
        index=_index(about),
        received_ms=received_ms,
    )


def patient_key(head: Head) -> bytes:
    """By what a resource's patient is known: `Patient/1`, or `system|value`; empty where it says nothing.

    A Patient is known by its id, since references name that.
    """
    if head.resource_type == "Patient":
        if head.id:
            return f"Patient/{head.id}".encode()
        identifiers = head.identifiers()
        return f"{identifiers[0].system}|{identifiers[0].value}".encode() if identifiers else b""
    reference = head.patient_reference()
    return _key(reference) if reference is not None else b""


def _key(reference: Reference) -> bytes:
    if reference.reference:
        return relative(reference.reference).encode()
    identifier = reference.identifier
    return f"{identifier.system}|{identifier.value}".encode() if identifier else b""


def relative(reference: str) -> str:
    """`Patient/1` of a relative, absolute or versioned reference; a `urn:uuid:` stays as it is."""
    if reference.startswith("urn:"):
        return reference
    steps = reference.partition("/_history/")[0].rstrip("/").split("/")
    return "/".join(steps[-_REFERENCE_STEPS:])


def _about(head: Head, body: bytes) -> Head | None:
    """The resource that says whom it is about: itself, or the first in a bundle that does."""
    if head.resource_type != "Bundle":
        return head
    inside = map(read_head, resources_of(read_bundle(body)))
    return next((one for one in inside if patient_key(one)), None)


def _index(head: Head | None) -> content_pb.Index:
    index = content_pb.Index(charset="UTF-8")
    if head is None:
        return index
    if head.resource_type == "Patient":
        for one in head.identifiers():
            index.patient.add(system=one.system, value=one.value)
    key = patient_key(head)
    if key.startswith(b"Patient/"):
        index.patient.add(value=key.decode())
    return index


__all__ = ["CONTENT_TYPE", "Intent", "message_id", "patient_key", "relative", "to_event"]
