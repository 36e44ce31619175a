"""A change as an event: `evt.<site>.<domain>.<type>_<created|updated|deleted>.<partition>`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from adapters.fhir.convert import CONTENT_TYPE, patient_key, relative
from bus.events.protocol import NewEvent
from schemas import subjects
from schemas.fhir.projection import Projection, project
from schemas.generated.medmesh.content.v1 import content_pb2 as content_pb
from schemas.subjects import Domain, SiteId


class Change(StrEnum):
    """What happened to a resource; the last part of the event's name."""

    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"


_TYPES: Final = {
    Domain.ENCOUNTER: "Encounter EncounterHistory EpisodeOfCare",
    Domain.ORDER: "ServiceRequest Task DeviceRequest NutritionOrder RequestGroup "
    "RequestOrchestration VisionPrescription",
    Domain.RESULT: "Observation DiagnosticReport Specimen MolecularSequence GenomicStudy",
    Domain.DOCUMENT: "DocumentReference DocumentManifest Composition Binary Bundle",
    Domain.IMAGING: "ImagingStudy ImagingSelection Media",
    Domain.SCHEDULE: "Appointment AppointmentResponse Schedule Slot",
    Domain.MEDICATION: "Medication MedicationRequest MedicationDispense MedicationAdministration MedicationStatement "
    "MedicationKnowledge MedicationUsage Immunization ImmunizationRecommendation ImmunizationEvaluation",
    Domain.BILLING: "Account ChargeItem Claim ClaimResponse Coverage ExplanationOfBenefit Invoice PaymentNotice "
    "PaymentReconciliation CoverageEligibilityRequest CoverageEligibilityResponse Contract",
}
_DOMAINS: Final[Mapping[str, Domain]] = {
    name: domain for domain, names in _TYPES.items() for name in names.split()
}
DOMAINS: Final = tuple(sorted({*_DOMAINS.values(), Domain.PATIENT}))
"""Every domain in which a store may publish."""


def domain_of(resource_type: str) -> Domain:
    """The domain of a type; `patient` for every type that has none of its own."""
    return _DOMAINS.get(resource_type, Domain.PATIENT)


def event_name(resource_type: str, change: Change) -> str:
    """`servicerequest_created`."""
    return f"{resource_type.lower()}_{change.value}"


def change_event(
    *,
    site: SiteId,
    site_key: bytes,
    change: Change,
    resource_type: str,
    id: str,
    body: bytes,
    about: bytes,
) -> NewEvent:
    """The event of a change. `about`: the newest content, by which a deletion is routed, too."""
    projection = project(about)
    patient = patient_key(projection) or f"{resource_type}/{id}".encode()
    partition = subjects.partition_for(site_key, patient)
    return NewEvent(
        subject=subjects.event(
            site, domain_of(resource_type), event_name(resource_type, change), partition
        ),
        type=CONTENT_TYPE,
        body=body,
        index=_index(projection),
    )


def _index(about: Projection) -> content_pb.Index:
    index = content_pb.Index(charset="UTF-8")
    for token in about.patient_identifiers:
        index.patient.add(system=token.system, value=token.value)
    for reference in about.patients:
        index.patient.add(value=relative(reference))
    return index


__all__ = ["DOMAINS", "Change", "change_event", "domain_of", "event_name"]
