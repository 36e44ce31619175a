"""What is always judged before a resource is stored: JSON, its bounds, its type and its id. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

import orjson

from adapters.fhir.codec.partial import is_id
from adapters.fhir.store.refusals import Refusal, invalid
from schemas.fhir.catalogue import catalogue
from schemas.fhir.release import Release

MAX_DEPTH: Final = 100
"""Levels of objects and lists; FHIR's own resources have less than 30."""
_ABSTRACT: Final = frozenset(
    {"Resource", "DomainResource", "CanonicalResource", "MetadataResource"}
)


@dataclass(frozen=True, slots=True)
class Checked:
    """A resource that may be stored, as far as its structure goes."""

    body: bytes = field(repr=False)
    resource: dict[str, Any] = field(repr=False)
    resource_type: str
    id: str
    """As it says; empty where it says none."""


def resource_types(release: Release) -> frozenset[str]:
    """The types of resource that a release has instances of."""
    return catalogue(release).resources - _ABSTRACT


def check(body: bytes, release: Release, *, resource_type: str = "", max_bytes: int) -> Checked:
    """Judge a body; `resource_type`: the type of the address, where it names one. Raises `Refusal`."""
    if len(body) > max_bytes:
        raise Refusal(
            413, "too-long", f"the resource has {len(body)} bytes; at most {max_bytes} are taken"
        )
    resource = parse_object(body)
    name = resource.get("resourceType")
    if not isinstance(name, str) or name not in resource_types(release):
        raise invalid(
            f"resourceType is no resource of FHIR {release.value}",
            expression="resourceType",
            code="structure",
        )
    if resource_type and name != resource_type:
        raise invalid(
            f"the resource is not of the type {resource_type} that the address names",
            expression="resourceType",
        )
    identity = resource.get("id", "")
    if not isinstance(identity, str) or (identity and not is_id(identity)):
        raise invalid(
            "id is not 1 to 64 of letters, digits, '-' and '.'",
            expression=f"{name}.id",
            code="value",
        )
    meta = resource.get("meta", {})
    if not isinstance(meta, dict):
        raise invalid("meta is no object", expression=f"{name}.meta", code="structure")
    return Checked(body, resource, name, identity)


def parse_object(body: bytes) -> dict[str, Any]:
    """A JSON object without duplicate keys, nested at most `MAX_DEPTH` deep. Raises `Refusal`."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise invalid(f"the body is not JSON (character {error.pos})", code="structure") from None
    if not isinstance(parsed, dict):
        raise invalid("the body is no JSON object", code="structure")
    if depth_exceeds(parsed, MAX_DEPTH):
        raise invalid(f"the JSON is nested deeper than {MAX_DEPTH} levels", code="structure")
    try:
        json.loads(body, object_pairs_hook=_once, parse_constant=_refuse)
    except _Twice:
        raise invalid("an object has a key twice", code="structure") from None
    return parsed


def depth_exceeds(value: object, limit: int) -> bool:
    """Whether objects and lists are nested deeper than that."""
    level: list[object] = [value]
    for _ in range(limit):
        level = [
            inner
            for one in level
            for inner in (
                one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
            )
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


class _Twice(ValueError):
    """A key occurs twice."""


def _once(pairs: list[tuple[str, object]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise _Twice


def _refuse(_name: str) -> NoReturn:
    raise _Twice


__all__ = ["MAX_DEPTH", "Checked", "check", "depth_exceeds", "parse_object", "resource_types"]
