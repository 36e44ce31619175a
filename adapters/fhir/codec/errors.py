"""What may be wrong with FHIR content. Messages name places and kinds, never a value."""

from __future__ import annotations

from typing import ClassVar

from schemas.errors import MeshError


class FhirError(MeshError):
    """Root of what the FHIR adapters raise about content and answers."""

    code: ClassVar[str] = "fhir"


class UnreadableResource(FhirError, ValueError):
    """The bytes are no FHIR resource in JSON."""

    code: ClassVar[str] = "fhir_unreadable"


class Unidentified(FhirError, ValueError):
    """The resource carries nothing by which a second try could be told from a second resource."""

    code: ClassVar[str] = "fhir_unidentified"


class Undeliverable(FhirError, ValueError):
    """No interaction of FHIR's REST interface takes this resource: an answer, a notification, a page of a search."""

    code: ClassVar[str] = "fhir_undeliverable"


__all__ = ["FhirError", "Undeliverable", "Unidentified", "UnreadableResource"]
