"""The CapabilityStatement: what the owners of a release offer now, in one document (FHIR R4 §5.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Final

import orjson

from gateway.fhir.owners import EVERY, Owner
from schemas.generated.medmesh.fhir.v1 import interaction_pb2 as pb

_FHIR_VERSIONS: Final = {"R4": "4.0.1", "R4B": "4.3.0", "R5": "5.0.0"}
_SMART: Final = "http://terminology.hl7.org/CodeSystem/restful-security-service"


def statement(
    release: str,
    base: str,
    offers: Sequence[tuple[Owner, Mapping[str, Any]]],
    *,
    now_ms: int,
    smart: bool,
) -> bytes:
    """One document from the statements of the owners. A type that one names is not taken from another's `*`."""
    resources = _resources(offers)
    rest: dict[str, Any] = {"mode": "server", "security": _security(smart=smart)}
    if resources:
        rest["resource"] = [resources[name] for name in sorted(resources)]
    rest["interaction"] = [{"code": "batch"}, *_whole(offers)]
    document = {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": datetime.fromtimestamp(now_ms // 1000, UTC).isoformat().replace("+00:00", "Z"),
        "kind": "instance",
        "software": {"name": "medmesh", "version": version("medmesh")},
        "implementation": {"description": "medmesh gateway", "url": base},
        "fhirVersion": _FHIR_VERSIONS[release],
        "format": ["application/fhir+json", "json"],
        "patchFormat": ["application/json-patch+json", "application/merge-patch+json"],
        "rest": [rest],
    }
    return orjson.dumps(document)


def question(release: str, base: str) -> pb.Interaction:
    """What an owner is asked."""
    return pb.Interaction(kind=pb.KIND_CAPABILITIES, release=release, base=base)


def _resources(offers: Sequence[tuple[Owner, Mapping[str, Any]]]) -> dict[str, Mapping[str, Any]]:
    named = {name for owner, _ in offers for name in owner.types if name != EVERY}
    found: dict[str, Mapping[str, Any]] = {}
    for owner, offer in offers:
        for resource in _rest(offer).get("resource", []):
            name = str(resource.get("type", ""))
            is_own = name in owner.types or (EVERY in owner.types and name not in named)
            if is_own:
                found.setdefault(name, resource)
    return found


def _whole(offers: Sequence[tuple[Owner, Mapping[str, Any]]]) -> list[dict[str, str]]:
    codes = {
        str(one.get("code", ""))
        for owner, offer in offers
        if EVERY in owner.types
        for one in _rest(offer).get("interaction", [])
    }
    return [{"code": code} for code in ("transaction", "history-system") if code in codes]


def _rest(offer: Mapping[str, Any]) -> Mapping[str, Any]:
    rest = offer.get("rest")
    first = rest[0] if isinstance(rest, list) and rest else {}
    return first if isinstance(first, dict) else {}


def _security(*, smart: bool) -> dict[str, Any]:
    security: dict[str, Any] = {"cors": False}
    if smart:
        coding = {"system": _SMART, "code": "SMART-on-FHIR"}
        security["service"] = [{"coding": [coding], "text": "OAuth2 using SMART-on-FHIR"}]
    return security


__all__ = ["question", "statement"]
