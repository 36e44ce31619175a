"""What the store offers, as a CapabilityStatement. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import orjson

from adapters.fhir.store.times import instant
from schemas.fhir.searching import Kind, Parameters

_INTERACTIONS: Final = (
    "read", "vread", "update", "patch", "delete", "history-instance", "history-type", "create", "search-type",
)  # fmt: skip
_OF_SYSTEM: Final = ("transaction", "history-system", "search-system")


def capability_statement(
    parameters: Parameters, types: Collection[str], *, base: str, now_ms: int
) -> bytes:
    """The statement for the types that are held."""
    rest: dict[str, object] = {
        "mode": "server",
        "resource": [_resource(parameters, name) for name in sorted(types)],
        "interaction": [{"code": code} for code in _OF_SYSTEM],
    }
    statement: dict[str, object] = {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": instant(now_ms),
        "kind": "instance",
        "software": {"name": "medmesh"},
        "implementation": {"description": "Resources held by medmesh"}
        | ({"url": base} if base else {}),
        "fhirVersion": parameters.release.version,
        "format": ["application/fhir+json", "json"],
        "patchFormat": ["application/json-patch+json", "application/merge-patch+json"],
        "rest": [rest],
    }
    return orjson.dumps(statement)


def _resource(parameters: Parameters, name: str) -> dict[str, object]:
    own = [one for one in parameters.of(name).values() if one.kind is not Kind.COMPOSITE]
    references = [one.code for one in own if one.kind is Kind.REFERENCE]
    made: dict[str, object] = {
        "type": name,
        "interaction": [{"code": code} for code in _INTERACTIONS],
        "versioning": "versioned-update",
        "readHistory": True,
        "updateCreate": True,
        "conditionalCreate": True,
        "conditionalRead": "full-support",
        "conditionalUpdate": True,
        "conditionalDelete": "single",
        "referencePolicy": ["literal", "logical"],
    }
    if references:
        made["searchInclude"] = [f"{name}:{code}" for code in references]
    made["searchParam"] = [{"name": one.code, "type": one.kind.value} for one in own]
    return made


__all__ = ["capability_statement"]
