"""Which words of a message may be shown: types of a standard's shape, nothing that a sender wrote freely."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

UNKNOWN: Final = "an unknown type"
_MEDIA: Final = re.compile(
    r"(?:application|audio|image|message|model|multipart|text|video|medmesh)/[a-z0-9][a-z0-9.+-]{0,79}\Z"
)
# table 0076 is not repeated here: a code of three letters with a trigger of the standard's shape is no name
_HL7: Final = re.compile(
    r"hl7v2/(?:[A-Z][A-Z0-9]{2}\^(?:[A-Y]\d\d|PC[1-9A-L]|Z[A-Z]\d|Z\d\d)|ACK|unknown)\Z"
)
_RESOURCE: Final = re.compile(r"[A-Z][A-Za-z]{2,39}\Z")
_SHOWN: Final = 6


# every resource type of STU3, R4B and R5
_NAMES: Final = """
Account ActivityDefinition ActorDefinition AdministrableProductDefinition AdverseEvent AllergyIntolerance
Appointment AppointmentResponse ArtifactAssessment AuditEvent Basic Binary BiologicallyDerivedProduct
BiologicallyDerivedProductDispense BodySite BodyStructure Bundle CapabilityStatement CarePlan CareTeam
CatalogEntry ChargeItem ChargeItemDefinition Citation Claim ClaimResponse ClinicalImpression
ClinicalUseDefinition CodeSystem Communication CommunicationRequest CompartmentDefinition Composition
ConceptMap Condition ConditionDefinition Consent Contract Coverage CoverageEligibilityRequest
CoverageEligibilityResponse DataElement DetectedIssue Device DeviceAssociation DeviceComponent
DeviceDefinition DeviceDispense DeviceMetric DeviceRequest DeviceUsage DeviceUseStatement DiagnosticReport
DocumentManifest DocumentReference EligibilityRequest EligibilityResponse Encounter EncounterHistory Endpoint
EnrollmentRequest EnrollmentResponse EpisodeOfCare EventDefinition Evidence EvidenceReport EvidenceVariable
ExampleScenario ExpansionProfile ExplanationOfBenefit FamilyMemberHistory Flag FormularyItem GenomicStudy Goal
GraphDefinition Group GuidanceResponse HealthcareService ImagingManifest ImagingSelection ImagingStudy
Immunization ImmunizationEvaluation ImmunizationRecommendation ImplementationGuide Ingredient InsurancePlan
InventoryItem InventoryReport Invoice Library Linkage List Location ManufacturedItemDefinition Measure
MeasureReport Media Medication MedicationAdministration MedicationDispense MedicationKnowledge
MedicationRequest MedicationStatement MedicinalProductDefinition MessageDefinition MessageHeader
MolecularSequence NamingSystem NutritionIntake NutritionOrder NutritionProduct Observation
ObservationDefinition OperationDefinition OperationOutcome Organization OrganizationAffiliation
PackagedProductDefinition Parameters Patient PaymentNotice PaymentReconciliation Permission Person
PlanDefinition Practitioner PractitionerRole Procedure ProcedureRequest ProcessRequest ProcessResponse
Provenance Questionnaire QuestionnaireResponse ReferralRequest RegulatedAuthorization RelatedPerson
RequestGroup RequestOrchestration Requirements ResearchDefinition ResearchElementDefinition ResearchStudy
ResearchSubject RiskAssessment Schedule SearchParameter Sequence ServiceDefinition ServiceRequest Slot
Specimen SpecimenDefinition StructureDefinition StructureMap Subscription SubscriptionStatus SubscriptionTopic
Substance SubstanceDefinition SubstanceNucleicAcid SubstancePolymer SubstanceProtein
SubstanceReferenceInformation SubstanceSourceMaterial SupplyDelivery SupplyRequest Task
TerminologyCapabilities TestPlan TestReport TestScript Transport ValueSet VerificationResult
VisionPrescription
"""
RESOURCES: Final = frozenset(_NAMES.split())


def media_type(content_type: str) -> str:
    """A content type without its parameters, in lower case; those of HL7 v2 as they are."""
    bare = content_type.partition(";")[0].strip()
    return bare if bare.startswith("hl7v2/") else bare.lower()


def shown_type(content_type: str) -> str:
    """A content type, if it is of a standard's shape."""
    bare = media_type(content_type)
    return bare if _HL7.match(bare) or _MEDIA.match(bare) else UNKNOWN


def shown_resource(name: str, known: Sequence[str]) -> str:
    """A FHIR resource type that some binding or the standard knows; anything else is not repeated."""
    return name if name in known or name in RESOURCES else "another resource type"


def is_resource_name(name: str) -> bool:
    """Whether it has the shape of a resource type."""
    return bool(_RESOURCE.match(name))


def shown_list(words: Sequence[str]) -> str:
    """The first few of a list."""
    more = f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return ", ".join(words[:_SHOWN]) + more


__all__ = [
    "RESOURCES",
    "UNKNOWN",
    "is_resource_name",
    "media_type",
    "shown_list",
    "shown_resource",
    "shown_type",
]
