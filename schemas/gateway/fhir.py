"""`[gateway.fhir]`: the FHIR REST interface."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from schemas.section import Section


class GatewayFhirSection(Section):
    """`[gateway.fhir]`: without it there is no /fhir. Each interaction is a call to the service that owns the type."""

    releases: tuple[Literal["R4", "R4B", "R5"], ...] = Field(
        default=("R4",),
        min_length=1,
        description="FHIR releases that are offered, as /fhir/<release>.",
    )


__all__ = ["GatewayFhirSection"]
