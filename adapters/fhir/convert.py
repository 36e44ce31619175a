"""From the bytes of a FHIR resource to an event of the mesh: its identity, its partition, its typed index. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from adapters.fhir.codec.errors import UnreadableResource
from adapters.fhir.codec.partial import read_head
from bus.events.protocol import NewEvent
from schemas import subjects
from schemas.fhir.errors import MalformedFhir
from schemas.fhir.projection import Projection, project
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
    about = _project(body)
    patient = patient_key(about)
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


def patient_key(about: Projection) -> bytes:
    """By what a resource's first patient is known: `Patient/1`, or `system|value`; empty where it says nothing.

    The reference comes first, also for a Patient itself, since that is what other resources know of it.
    """
    if about.patients:
        return relative(about.patients[0]).encode()
    if about.patient_identifiers:
        first = about.patient_identifiers[0]
        return f"{first.system}|{first.value}".encode()
    return b""


def relative(reference: str) -> str:
    """`Patient/1` of a relative, absolute or versioned reference; a `urn:uuid:` stays as it is."""
    if reference.startswith("urn:"):
        return reference
    steps = reference.partition("/_history/")[0].rstrip("/").split("/")
    return "/".join(steps[-_REFERENCE_STEPS:])


def _project(body: bytes) -> Projection:
    try:
        return project(body)
    except MalformedFhir:
        raise UnreadableResource("the body is no resource in JSON") from None


def _index(about: Projection) -> content_pb.Index:
    index = content_pb.Index(charset="UTF-8")
    for token in about.patient_identifiers:
        index.patient.add(system=token.system, value=token.value)
    for reference in about.patients:
        index.patient.add(value=relative(reference))
    return index


__all__ = ["CONTENT_TYPE", "Intent", "message_id", "patient_key", "relative", "to_event"]
