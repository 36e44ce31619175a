"""What can be wrong with FHIR that is to be read or converted. No message holds content."""

from __future__ import annotations

from schemas.errors import MeshError


class MalformedFhir(MeshError, ValueError):
    """The bytes are not what they claim to be: no JSON object, or no message of the named protobuf type."""

    code = "fhir_malformed"


class UnknownFhirType(MeshError, LookupError):
    """The release has no resource type of that name, or the message type belongs to no release."""

    code = "fhir_unknown_type"


class NewerFhirSchema(MalformedFhir):
    """The message holds field numbers that this version's schemas lack; writing it as JSON would lose them."""

    code = "fhir_newer_schema"


__all__ = ["MalformedFhir", "NewerFhirSchema", "UnknownFhirType"]
