"""SMART scopes, versions 1 and 2 (HL7 SMART App Launch 2.2 §3): `system/Patient.rs`, `user/*.read`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import ClassVar, Final

from schemas.errors import MeshError

DEEDS: Final = "cruds"
"""Create, read (with vread and history of one), update, delete, search (with history of a type)."""

MESH_SCOPES: Final = ("mesh/publish", "mesh/subscribe", "mesh/call", "mesh/operate")
"""Ours: which of its other configured rights a token carries."""

_FIRST_VERSION: Final = {"read": "rs", "write": "cud", "*": DEEDS}
_SCOPE: Final = re.compile(
    r"(?P<level>patient|user|system)/(?P<type>\*|[A-Z][A-Za-z]{1,63})\.(?P<deeds>read|write|\*|c?r?u?d?s?)\Z"
)
_MAX_CHARS: Final = 4096


class ScopeRefused(MeshError, ValueError):
    """A scope that is not understood or not supported."""

    code: ClassVar[str] = "invalid_scope"


class Level(IntEnum):
    """Whose data: a wider level includes the narrower ones."""

    PATIENT = 1
    USER = 2
    SYSTEM = 3


@dataclass(frozen=True, slots=True, order=True)
class FhirScope:
    """What may be done with the resources of one type."""

    level: Level
    type: str
    """`*`: all."""
    deeds: str
    """Some of `cruds`, in this order."""

    def __str__(self) -> str:
        return f"{self.level.name.lower()}/{self.type}.{self.deeds}"


@lru_cache(maxsize=1024)
def fhir_scope(text: str) -> FhirScope:
    """One scope. Raises `ScopeRefused` for what is none, and for limits by search parameters."""
    shown = text[:80]
    if "?" in text:
        raise ScopeRefused(
            f"scope {shown!r}: limits by search parameters are not supported; ask for the whole type"
        )
    found = _SCOPE.match(text)
    if found is None or not found["deeds"]:
        raise ScopeRefused(
            f"scope {shown!r}: patient, user or system / a resource type or * . some of {DEEDS} in this order, or "
            "read, write, *"
        )
    deeds = _FIRST_VERSION.get(found["deeds"], found["deeds"])
    return FhirScope(Level[found["level"].upper()], found["type"], deeds)


def granted(requested: FhirScope, configured: Iterable[FhirScope]) -> frozenset[FhirScope]:
    """What of a requested scope the configured ones allow, at the requested level."""
    found: dict[str, set[str]] = {}
    for one in configured:
        is_same = "*" in (one.type, requested.type) or one.type == requested.type
        if one.level < requested.level or not is_same:
            continue
        narrower = one.type if requested.type == "*" else requested.type
        found.setdefault(narrower, set()).update(set(one.deeds) & set(requested.deeds))
    return frozenset(
        FhirScope(requested.level, of_type, "".join(d for d in DEEDS if d in deeds))
        for of_type, deeds in found.items()
        if deeds
    )


def scope_words(text: str) -> tuple[str, ...]:
    """The scopes in a `scope` parameter or claim, each once. Raises `ScopeRefused`."""
    if len(text) > _MAX_CHARS:
        raise ScopeRefused(f"scopes of {len(text)} characters; at most {_MAX_CHARS} are allowed")
    return tuple(dict.fromkeys(text.split()))


__all__ = [
    "DEEDS",
    "MESH_SCOPES",
    "FhirScope",
    "Level",
    "ScopeRefused",
    "fhir_scope",
    "granted",
    "scope_words",
]
