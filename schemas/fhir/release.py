"""The releases of FHIR that have protobuf schemas, and how their messages are named."""

from __future__ import annotations

from enum import Enum


class Release(Enum):
    """A published release of FHIR; the value is how it is written on command lines and in content types."""

    R4 = "R4"
    R4B = "R4B"
    R5 = "R5"

    @property
    def package(self) -> str:
        """The protobuf package of the release: `medmesh.fhir.r4.v1`."""
        return f"medmesh.fhir.{self.value.lower()}.v1"

    @property
    def version(self) -> str:
        """The version as FHIR's `fhirVersion` writes it."""
        return _VERSIONS[self.value]

    def message_type(self, fhir_type: str) -> str:
        """The full name of the protobuf message of a FHIR type."""
        return f"{self.package}.{fhir_type}"


_VERSIONS = {"R4": "4.0.1", "R4B": "4.3.0", "R5": "5.0.0"}

__all__ = ["Release"]
