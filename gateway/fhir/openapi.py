"""What the OpenAPI document says of `/fhir`: FHIR's own addresses, with every status that can come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

_JSON: Final = "application/fhir+json"
_REFUSED: Final = (
    400, 401, 403, 404, 405, 406, 408, 409, 410, 412, 413, 415, 422, 429, 500, 501, 502, 503, 504,
)  # fmt: skip
_TYPE: Final = {
    "name": "type",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": "^[A-Z][A-Za-z]{1,63}$"},
    "example": "Patient",
}
_ID: Final = {
    "name": "id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9.-]{1,64}$"},
}
_VERSION: Final = {**_ID, "name": "version"}
_TAG: Final = {"tags": ["FHIR"]}
_ANSWERS: Final[Mapping[str, tuple[int, ...]]] = {
    "read": (200, 304),
    "create": (200, 201),
    "update": (200, 201),
    "patch": (200,),
    "delete": (200, 204),
    "list": (200,),
}
_BODIES: Final = {
    "resource": (_JSON, "application/json"),
    "patch": ("application/json-patch+json", "application/merge-patch+json"),
    "form": ("application/x-www-form-urlencoded",),
}


def path_items(releases: Sequence[str]) -> Mapping[str, Any]:
    """Path items of OpenAPI 3.1 for each release."""
    return {path: item for release in releases for path, item in _of(release).items()}


def components() -> Mapping[str, Any]:
    """Schemas that they refer to."""
    issue = {
        "type": "object",
        "required": ["severity", "code"],
        "properties": {
            "severity": {"enum": ["fatal", "error", "warning", "information"]},
            "code": {"type": "string"},
            "diagnostics": {"type": "string"},
        },
    }
    return {
        "FhirResource": {
            "type": "object",
            "required": ["resourceType"],
            "properties": {"resourceType": {"type": "string"}},
        },
        "OperationOutcome": {
            "type": "object",
            "required": ["resourceType", "issue"],
            "properties": {
                "resourceType": {"const": "OperationOutcome"},
                "issue": {"type": "array", "minItems": 1, "items": issue},
            },
        },
    }


def _of(release: str) -> dict[str, Any]:
    base = f"/fhir/{release}"
    by_id = {
        "get": _operation("Read", "read"),
        "put": _operation("Update, or create under this id", "update", "resource"),
        "patch": _operation("Patch", "patch", "patch"),
        "delete": _operation("Delete", "delete"),
    }
    by_type = {
        "get": _operation("Search", "list"),
        "post": _operation(
            "Create; with a query only where nothing matches it", "create", "resource"
        ),
        "put": _operation("Update what the query matches", "update", "resource"),
        "patch": _operation("Patch what the query matches", "patch", "patch"),
        "delete": _operation("Delete what the query matches", "delete"),
    }
    history = _operation("Versions, newest first", "list")
    return {
        f"{base}/metadata": {"get": _operation("CapabilityStatement", "list")},
        base: {"post": _operation("Batch or transaction", "list", "resource")},
        f"{base}/_history": {"get": history},
        f"{base}/{{type}}": {"parameters": [_TYPE], **by_type},
        f"{base}/{{type}}/_search": {
            "parameters": [_TYPE],
            "post": _operation("Search with a form", "list", "form"),
        },
        f"{base}/{{type}}/_history": {"parameters": [_TYPE], "get": history},
        f"{base}/{{type}}/{{id}}": {"parameters": [_TYPE, _ID], **by_id},
        f"{base}/{{type}}/{{id}}/_history": {"parameters": [_TYPE, _ID], "get": history},
        f"{base}/{{type}}/{{id}}/_history/{{version}}": {
            "parameters": [_TYPE, _ID, _VERSION],
            "get": _operation("Read one version", "read"),
        },
    }


def _operation(summary: str, answers: str, body: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {**_TAG, "summary": summary, "responses": _responses(answers)}
    if body:
        schema = {"$ref": "#/components/schemas/FhirResource"} if body == "resource" else {}
        content = {kind: {"schema": schema} for kind in _BODIES[body]}
        found["requestBody"] = {"required": body != "form", "content": content}
    return found


def _responses(answers: str) -> dict[str, Any]:
    resource = {_JSON: {"schema": {"$ref": "#/components/schemas/FhirResource"}}}
    outcome = {_JSON: {"schema": {"$ref": "#/components/schemas/OperationOutcome"}}}
    found: dict[str, Any] = {}
    for status in _ANSWERS[answers]:
        found[str(status)] = {"description": "done"}
        if status not in (204, 304):
            found[str(status)]["content"] = resource
    for status in _REFUSED:
        found[str(status)] = {"description": "refused, or failed", "content": outcome}
    return found


__all__ = ["components", "path_items"]
