"""Where R5 differs from R4 in what a hospital searches by (hl7.org/fhir/R5/searchparameter-registry.html).

Kind, path, and the types that a reference may name; read by `generate_search.py`.
"""

from __future__ import annotations

from typing import Final

_REASONS: Final = {
    "reason-code": ["token", "{0}.reason.concept", ""],
    "reason-reference": ["reference", "{0}.reason.reference", ""],
}


def _reasons(name: str) -> dict[str, list[str]]:
    return {code: [kind, path.format(name), to] for code, (kind, path, to) in _REASONS.items()}


def _medication(name: str) -> dict[str, list[str]]:
    return {
        "code": ["token", f"{name}.medication.concept", ""],
        "medication": ["reference", f"{name}.medication.reference", "Medication"],
        "encounter": ["reference", f"{name}.encounter", "Encounter"],
    }


_R5: Final[dict[str, dict[str, list[str]]]] = {
    "AllergyIntolerance": {
        "participant": ["reference", "AllergyIntolerance.participant.actor", ""],
    },
    "Appointment": {
        **_reasons("Appointment"),
        "service-type": ["token", "Appointment.serviceType.concept", ""],
        "service-type-reference": [
            "reference",
            "Appointment.serviceType.reference",
            "HealthcareService",
        ],
        "subject": ["reference", "Appointment.subject", "Patient Group"],
    },
    "AuditEvent": {
        "date": ["date", "AuditEvent.recorded", ""],
        "code": ["token", "AuditEvent.code", ""],
        "category": ["token", "AuditEvent.category", ""],
        "patient": ["reference", "AuditEvent.patient", "Patient"],
    },
    "CarePlan": {
        "activity-reference": ["reference", "CarePlan.activity.plannedActivityReference", ""],
    },
    "ChargeItem": {
        "encounter": ["reference", "ChargeItem.encounter", "Encounter"],
    },
    "Condition": {
        "evidence": ["token", "Condition.evidence.concept", ""],
        "evidence-detail": ["reference", "Condition.evidence.reference", ""],
        "participant-actor": ["reference", "Condition.participant.actor", ""],
    },
    "Consent": {
        "date": ["date", "Consent.date", ""],
        "patient": ["reference", "Consent.subject", "Patient"],
        "subject": ["reference", "Consent.subject", ""],
        "grantee": ["reference", "Consent.grantee", ""],
    },
    "Coverage": {
        "insurer": ["reference", "Coverage.insurer", "Organization"],
        "paymentby-party": [
            "reference",
            "Coverage.paymentBy.party",
            "Organization Patient RelatedPerson",
        ],
    },
    "DetectedIssue": {
        "patient": ["reference", "DetectedIssue.subject", "Patient"],
        "subject": ["reference", "DetectedIssue.subject", ""],
    },
    "Device": {
        "device-name": ["string", "(Device.name.value) | (Device.type.text)", ""],
        "serial-number": ["string", "Device.serialNumber", ""],
        "lot-number": ["string", "Device.lotNumber", ""],
    },
    "DocumentReference": {
        "identifier": ["token", "DocumentReference.identifier", ""],
        "event-code": ["token", "DocumentReference.event.concept", ""],
        "event-reference": ["reference", "DocumentReference.event.reference", ""],
        "facility": ["token", "DocumentReference.facilityType", ""],
        "setting": ["token", "DocumentReference.practiceSetting", ""],
        "period": ["date", "DocumentReference.period", ""],
        "context": ["reference", "DocumentReference.context", ""],
        "modality": ["token", "DocumentReference.modality", ""],
        "attester": ["reference", "DocumentReference.attester.party", ""],
    },
    "Encounter": {
        "date": ["date", "Encounter.actualPeriod", ""],
        "date-start": ["date", "Encounter.actualPeriod.start", ""],
        "end-date": ["date", "Encounter.actualPeriod.end", ""],
        "reason-code": ["token", "Encounter.reason.value.concept", ""],
        "reason-reference": ["reference", "Encounter.reason.value.reference", ""],
        "diagnosis": ["reference", "Encounter.diagnosis.condition.reference", "Condition"],
        "diagnosis-code": ["token", "Encounter.diagnosis.condition.concept", ""],
        "diagnosis-reference": [
            "reference",
            "Encounter.diagnosis.condition.reference",
            "Condition",
        ],
        "participant": ["reference", "Encounter.participant.actor", ""],
        "practitioner": ["reference", "Encounter.participant.actor", "Practitioner"],
        "special-arrangement": ["token", "Encounter.specialArrangement", ""],
        "subject-status": ["token", "Encounter.subjectStatus", ""],
        "careteam": ["reference", "Encounter.careTeam", "CareTeam"],
    },
    "EpisodeOfCare": {
        "reason-code": ["token", "EpisodeOfCare.reason.value.concept", ""],
        "diagnosis-code": ["token", "EpisodeOfCare.diagnosis.condition.concept", ""],
    },
    "ImagingStudy": {
        "reason": ["token", "ImagingStudy.reason.concept", ""],
        "bodysite": ["token", "ImagingStudy.series.bodySite.concept", ""],
    },
    "Immunization": {
        **_reasons("Immunization"),
        "reaction": ["reference", "Immunization.reaction.manifestation.reference", "Observation"],
    },
    "Medication": {
        "form": ["token", "Medication.doseForm", ""],
        "ingredient": ["reference", "Medication.ingredient.item.reference", ""],
        "ingredient-code": ["token", "Medication.ingredient.item.concept", ""],
        "marketingauthorizationholder": [
            "reference",
            "Medication.marketingAuthorizationHolder",
            "Organization",
        ],
    },
    "MedicationAdministration": {
        **_medication("MedicationAdministration"),
        "date": ["date", "MedicationAdministration.occurence", ""],
        "reason-given-code": ["token", "MedicationAdministration.reason.concept", ""],
        "performer": ["reference", "MedicationAdministration.performer.actor.reference", ""],
    },
    "MedicationDispense": _medication("MedicationDispense"),
    "MedicationRequest": {
        **_medication("MedicationRequest"),
        "intended-dispenser": [
            "reference",
            "MedicationRequest.dispenseRequest.dispenser",
            "Organization",
        ],
    },
    "MedicationStatement": _medication("MedicationStatement"),
    "NutritionOrder": {
        "patient": ["reference", "NutritionOrder.subject", "Patient"],
        "subject": ["reference", "NutritionOrder.subject", "Patient Group"],
    },
    "Organization": {
        "address": ["string", "Organization.contact.address", ""],
        "address-city": ["string", "Organization.contact.address.city", ""],
        "address-country": ["string", "Organization.contact.address.country", ""],
        "address-postalcode": ["string", "Organization.contact.address.postalCode", ""],
        "address-state": ["string", "Organization.contact.address.state", ""],
        "address-use": ["token", "Organization.contact.address.use", ""],
    },
    "PractitionerRole": {
        "email": ["token", "PractitionerRole.contact.telecom.where(system='email')", ""],
        "phone": ["token", "PractitionerRole.contact.telecom.where(system='phone')", ""],
        "telecom": ["token", "PractitionerRole.contact.telecom", ""],
    },
    "Procedure": {
        **_reasons("Procedure"),
        "date": ["date", "Procedure.occurrence", ""],
        "report": ["reference", "Procedure.report", ""],
    },
    "Provenance": {
        "when": ["date", "Provenance.occurred.ofType(dateTime)", ""],
        "patient": ["reference", "Provenance.patient", "Patient"],
    },
    "Schedule": {
        "service-type": ["token", "Schedule.serviceType.concept", ""],
    },
    "ServiceRequest": {
        "code": ["token", "ServiceRequest.code.concept", ""],
        "code-concept": ["token", "ServiceRequest.code.concept", ""],
        "code-reference": ["reference", "ServiceRequest.code.reference", ""],
    },
    "Slot": {
        "service-type": ["token", "Slot.serviceType.concept", ""],
    },
    "Specimen": {
        "bodysite": ["token", "Specimen.collection.bodySite.concept", ""],
    },
    "SubscriptionTopic": {
        "date": ["date", "SubscriptionTopic.date", ""],
        "identifier": ["token", "SubscriptionTopic.identifier", ""],
        "status": ["token", "SubscriptionTopic.status", ""],
        "title": ["string", "SubscriptionTopic.title", ""],
        "url": ["uri", "SubscriptionTopic.url", ""],
        "version": ["token", "SubscriptionTopic.version", ""],
    },
    "Subscription": {
        "topic": ["uri", "Subscription.topic", ""],
        "url": ["uri", "Subscription.endpoint", ""],
        "name": ["string", "Subscription.name", ""],
        "content-level": ["token", "Subscription.content", ""],
    },
}
CHANGES: Final = {"R5": _R5}
"""By release: what is said of a type instead of, or beside, what R4 says."""
COMPARTMENT_CHANGES: Final[dict[str, dict[str, str]]] = {
    "R5": {
        "Appointment": "actor subject",
        "AuditEvent": "patient",
        "ChargeItem": "subject",
        "Condition": "patient participant-actor",
        "Consent": "patient",
        "DetectedIssue": "patient",
        "NutritionOrder": "patient",
        "AllergyIntolerance": "patient participant",
    }
}
"""By release: the parameters that put a type into a patient's compartment, where they are others than R4's."""

__all__ = ["CHANGES", "COMPARTMENT_CHANGES"]
