"""What the tests of the mapping share: mapping bytes, judging what comes out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC
from typing import Any, Final

import orjson

from adapters.hl7v2.codec import Hl7Error, Message
from adapters.hl7v2.mapping.protocol import MapContext, Mapped, Output
from tests.mapping.checks import empty_places, repeated_addresses, unresolved_references
from tests.mapping.corpus import Sample
from tests.mapping.judges import Finding, NpmJudge, by_fhir_resources, by_fhirkit
from tests.mapping.mapper import default_mapper, written

CONTEXT: Final = MapContext(tenant="north", zone=UTC)


def mapped(raw: bytes, context: MapContext = CONTEXT) -> Mapped | Hl7Error:
    """What becomes of the bytes: a mapping, or the typed refusal that makes them a dead letter."""
    try:
        message = Message.parse(raw)
    except Hl7Error as refused:
        return refused
    return default_mapper().map(message, context)


def faults(found: Mapped) -> list[str]:
    """What our own checks have against a mapping, bundle or silence; [] when it is in order."""
    if found.bundle is None:
        return [] if found.issues else ["nothing came out, and no issue says why"]
    bundle = written(found.bundle)
    return [
        *(f"unresolved {one}" for one in unresolved_references(bundle, strict=True)),
        *(f"repeated {one}" for one in repeated_addresses(bundle)),
        *(f"empty {one}" for one in empty_places(bundle)),
        *(f"no address: {issue.code}" for issue in found.issues if not issue.where),
    ]


def refusals(found: Mapped, npm: NpmJudge | None = None) -> list[Finding]:
    """What the judges refuse in a mapping's bundle."""
    if found.bundle is None:
        return []
    bundle = written(found.bundle)
    return [
        *by_fhirkit(bundle),
        *by_fhir_resources(bundle),
        *(npm.findings(bundle) if npm else ()),
    ]


def ids(found: Mapped) -> list[str]:
    """`Type/id` of each resource."""
    return [f"{one['resourceType']}/{one['id']}" for one in found.resources]


def fingerprints(some: Iterable[Sample], output: Output = Output.MESSAGE) -> dict[str, str]:
    """A hash of all that was made of each message."""
    context = MapContext(tenant="north", zone=UTC, output=output)
    return {one.name: _fingerprint(mapped(one.raw, context)) for one in some}


def _fingerprint(found: Mapped | Hl7Error) -> str:
    if isinstance(found, Hl7Error):
        return found.code
    made: dict[str, Any] = {
        "bundle": found.bundle,
        "resources": list(found.resources),
        "issues": [str(issue) for issue in found.issues],
    }
    return hashlib.sha256(orjson.dumps(written(made))).hexdigest()


__all__ = ["CONTEXT", "faults", "fingerprints", "ids", "mapped", "refusals"]
