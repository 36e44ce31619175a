"""`[gateway.fhir]`: the FHIR REST interface."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from schemas.section import NAME_PATTERN, Section


class GatewayFhirSection(Section):
    """`[gateway.fhir]`: without it there is no /fhir. Each interaction is a call to the service that owns the type."""

    releases: tuple[Literal["R4", "R4B", "R5"], ...] = Field(
        default=("R4",),
        min_length=1,
        description="FHIR releases that are offered, as /fhir/<release>.",
    )
    owners: tuple[Annotated[str, Field(pattern=NAME_PATTERN)], ...] = Field(
        default=("fhir-store",),
        min_length=1,
        description="Services (adapters of kind `fhir.store`, or programs) that are believed when they say which "
        "resource types they own. Others are never asked, whatever they say.",
    )


__all__ = ["GatewayFhirSection"]
