"""The names of FHIR's types, how they descend from each other, and which elements are choices (R4, R4B and R5)."""

from __future__ import annotations

from functools import lru_cache
from typing import Final, Protocol


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_PRIMITIVES: Final[dict[str, str]] = {
    "boolean": "Element", "integer": "Element", "integer64": "Element", "string": "Element", "decimal": "Element",
    "uri": "Element", "base64Binary": "Element", "instant": "Element", "date": "Element", "dateTime": "Element",
    "time": "Element", "xhtml": "Element", "code": "string", "id": "string", "markdown": "string", "url": "uri",
    "canonical": "uri", "oid": "uri", "uuid": "uri", "unsignedInt": "integer", "positiveInt": "integer",
}  # fmt: skip
_COMPLEX: Final[dict[str, str]] = {
    **dict.fromkeys(
        _words("""
    Address Age Annotation Attachment Availability BackboneElement CodeableConcept CodeableReference Coding
    ContactDetail ContactPoint Contributor Count DataRequirement Distance Dosage Duration ElementDefinition
    Expression ExtendedContactDetail Extension HumanName Identifier MarketingStatus Meta MonetaryComponent Money
    MoneyQuantity Narrative ParameterDefinition Period Population ProdCharacteristic ProductShelfLife Quantity
    Range Ratio RatioRange Reference RelatedArtifact SampledData Signature SimpleQuantity Timing
    TriggerDefinition UsageContext VirtualServiceDetail
"""),
        "Element",
    ),
    **dict.fromkeys(
        ["Age", "Count", "Distance", "Duration", "MoneyQuantity", "SimpleQuantity"], "Quantity"
    ),
}
_RESOURCES: Final = frozenset(
    _words("""
    Account ActivityDefinition ActorDefinition AdministrableProductDefinition AdverseEvent AllergyIntolerance
    Appointment AppointmentResponse ArtifactAssessment AuditEvent Basic Binary BiologicallyDerivedProduct
    BiologicallyDerivedProductDispense BodyStructure Bundle CapabilityStatement CarePlan CareTeam CatalogEntry
    ChargeItem ChargeItemDefinition Citation Claim ClaimResponse ClinicalImpression ClinicalUseDefinition
    CodeSystem Communication CommunicationRequest CompartmentDefinition Composition ConceptMap Condition
    ConditionDefinition Consent Contract Coverage CoverageEligibilityRequest CoverageEligibilityResponse
    DetectedIssue Device DeviceAssociation DeviceDefinition DeviceDispense DeviceMetric DeviceRequest
    DeviceUsage DeviceUseStatement DiagnosticReport DocumentManifest DocumentReference EffectEvidenceSynthesis
    Encounter EncounterHistory Endpoint EnrollmentRequest EnrollmentResponse EpisodeOfCare EventDefinition
    Evidence EvidenceReport EvidenceVariable ExampleScenario ExplanationOfBenefit FamilyMemberHistory Flag
    FormularyItem GenomicStudy Goal GraphDefinition Group GuidanceResponse HealthcareService ImagingSelection
    ImagingStudy Immunization ImmunizationEvaluation ImmunizationRecommendation ImplementationGuide Ingredient
    InsurancePlan InventoryItem InventoryReport Invoice Library Linkage List Location ManufacturedItemDefinition
    Measure MeasureReport Media Medication MedicationAdministration MedicationDispense MedicationKnowledge
    MedicationRequest MedicationStatement MedicinalProduct MedicinalProductDefinition MessageDefinition
    MessageHeader MolecularSequence NamingSystem NutritionIntake NutritionOrder NutritionProduct Observation
    ObservationDefinition OperationDefinition OperationOutcome Organization OrganizationAffiliation
    PackagedProductDefinition Parameters Patient PaymentNotice PaymentReconciliation Permission Person
    PlanDefinition Practitioner PractitionerRole Procedure Provenance Questionnaire QuestionnaireResponse
    RegulatedAuthorization RelatedPerson RequestGroup RequestOrchestration Requirements ResearchDefinition
    ResearchElementDefinition ResearchStudy ResearchSubject RiskAssessment RiskEvidenceSynthesis Schedule
    SearchParameter ServiceRequest Slot Specimen SpecimenDefinition StructureDefinition StructureMap
    Subscription SubscriptionStatus SubscriptionTopic Substance SubstanceDefinition SubstanceNucleicAcid
    SubstancePolymer SubstanceProtein SubstanceReferenceInformation SubstanceSourceMaterial
    SubstanceSpecification SupplyDelivery SupplyRequest Task TerminologyCapabilities TestPlan TestReport
    TestScript Transport ValueSet VerificationResult VisionPrescription
""")
)
_BARE_RESOURCES: Final = frozenset(("Bundle", "Binary", "Parameters"))
_PARENTS: Final[dict[str, str]] = {
    **_PRIMITIVES,
    **_COMPLEX,
    **{name: "Resource" if name in _BARE_RESOURCES else "DomainResource" for name in _RESOURCES},
    "DomainResource": "Resource",
}
SYSTEM_TYPES: Final = frozenset(
    ("Boolean", "String", "Integer", "Decimal", "Date", "DateTime", "Time", "Quantity", "Any")
)
FHIR_TYPES: Final = frozenset(_PARENTS) | {"Resource", "Element"}
PRIMITIVES: Final = frozenset(_PRIMITIVES)
QUANTITIES: Final = frozenset(
    ("Quantity", "Age", "Count", "Distance", "Duration", "MoneyQuantity", "SimpleQuantity")
)
TEMPORAL_TYPES: Final = frozenset(("date", "dateTime", "instant", "time"))

_CHOICES: Final = frozenset(
    _words("""
    abatement actor additive address age allowed amount answer artifact asNeeded author born bounds
    characteristic chargeItem citeAs code collected concentration content cost coverage created date deceased
    defaultValue definition detail diagnosis dose doseNumber due duration effective endpoint entity event
    example fastingStatus fixed generatedBy identified indication instance instances instantiates instruction
    item legallyBinding link location manufacturer maxValue measureScore medication minValue minimumVolume
    module multipleBirth name network occurence occurred occurrence offset onset participantEffective pattern
    performed period presentation probability procedure product quantity rate reported scheduled sequence
    seriesDoses serviced source sourceScope start statusReason strength structureProfile studyEffective subject
    substance substanceDefinition target targetItem targetScope time timing topic used value versionAlgorithm
    when
""")
)
_CHOICE_TYPES: Final = (FHIR_TYPES - _RESOURCES) - {
    "Resource",
    "Element",
    "DomainResource",
    "xhtml",
}
# Elements of their own that only look like a choice with its type.
_NOT_CHOICES: Final = frozenset(
    _words("""
    productCode productReference occurrenceCount targetId locationCode locationReference procedureCode
    procedureReference effectivePeriod effectiveDate effectiveTime itemCodeableConcept itemReference
    contentReference sourceSignature sourceAttachment sourceId sourceReference usedCode usedReference
    definitionExpression definitionId definitionCodeableConcept definitionUri definitionReference
    definitionCanonical startDate presentationDate chargeItemCode reportedDateTime dateTime dateRange
    instanceReference sequenceAttachment sequenceRange instantiatesUri instantiatesCanonical actorId linkId
    doseQuantity occurrenceDate valueCode valueRange
""")
)


class TypeModel(Protocol):
    """What one release says of its types' elements. Backbone elements are types of their own, by any stable name."""

    def element(self, type_name: str, element: str) -> tuple[str, ...] | None:
        """The types an element may have (a choice by its name without type has several), or None if there is none."""
        ...

    def elements(self, type_name: str) -> tuple[str, ...]:
        """The names of a type's elements, choices without their type; empty when the type is not known."""
        ...


def is_a(type_name: str, wanted: str) -> bool:
    """Whether a FHIR type is the wanted one or descends from it."""
    name: str | None = type_name
    while name is not None:
        if name == wanted:
            return True
        name = _PARENTS.get(name)
    return False


@lru_cache(maxsize=1024)
def choice_keys(name: str) -> dict[str, str] | None:
    """JSON names of a choice element and the type each tells, or None if the element is not a choice in any release."""
    if name not in _CHOICES:
        return None
    return {f"{name}{kind[0].upper()}{kind[1:]}": kind for kind in _CHOICE_TYPES}


@lru_cache(maxsize=1024)
def choice_of(name: str) -> tuple[str, str] | None:
    """Choice element and type behind the JSON name of a choice (`valueQuantity`), which is no name in FHIRPath."""
    return None if name in _NOT_CHOICES else choice_like(name)


@lru_cache(maxsize=1024)
def choice_like(name: str) -> tuple[str, str] | None:
    """The same for names that are a choice in one type and an element of their own in another (`itemReference`)."""
    for at in range(len(name) - 1, 0, -1):
        if name[at].isupper() and name[:at] in _CHOICES:
            for kind in (name[at:], name[at].lower() + name[at + 1 :]):
                if kind in _CHOICE_TYPES:
                    return name[:at], kind
    return None


__all__ = [
    "FHIR_TYPES",
    "PRIMITIVES",
    "QUANTITIES",
    "SYSTEM_TYPES",
    "TEMPORAL_TYPES",
    "TypeModel",
    "choice_keys",
    "choice_like",
    "choice_of",
    "is_a",
]
