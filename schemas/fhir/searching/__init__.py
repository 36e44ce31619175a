"""The search parameters of a release: what of a resource each of them finds, compiled when it is asked for first.

`r4.json` and its kin are written by `scripts/generate_search.py` from the official definitions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, lru_cache
from hashlib import blake2b
from importlib.resources import files
from typing import Final

from schemas.fhir.elements import elements_of
from schemas.fhir.loading import one_each
from schemas.fhir.release import Release
from schemas.fhirpath import Path, compile_path

MAX_STEPS: Final = 200_000
"""Items that one parameter may touch in one resource."""
_KEY_BYTES: Final = 6
_SHAPES: Final = 4096
"""Sets of elements whose parameters are remembered: those of one feed are few."""
_EVERY_TYPE: Final = ("Resource", "DomainResource")
_BARE: Final = frozenset({"Binary", "Bundle", "Parameters"})
"""Resources that are no DomainResource."""
_CALLED: Final = re.compile(r"\.(\w+)\(")
_FIRST: Final = re.compile(r"\b[A-Z]\w+\.([a-z]\w*)")
_QUIET: Final = frozenset({"where", "ofType", "first"})
"""Functions that find nothing in nothing."""
_ASKS_TYPES: Final = (" as ", " is ", "ofType(", ".as(", ".is(")


class Kind(StrEnum):
    """The type of a search parameter (FHIR R4 §3.1.1.4.3)."""

    TOKEN = "token"  # noqa: S105 - no password
    STRING = "string"
    DATE = "date"
    REFERENCE = "reference"
    NUMBER = "number"
    QUANTITY = "quantity"
    URI = "uri"
    COMPOSITE = "composite"


@dataclass(frozen=True)
class Parameter:
    """One search parameter of one type of resource."""

    owner: str
    """The type of resource; `Resource` for one that each type has."""
    code: str
    """Its name in a search."""
    kind: Kind
    expression: str
    targets: tuple[str, ...]
    """Of a reference: the types that it may name; () for any."""
    release: Release

    @property
    def key(self) -> int:
        """48 bits that stand for owner and name in an index; the same in every process and version."""
        return key_of(self.owner, self.code)

    @cached_property
    def members(self) -> tuple[str, ...]:
        """The elements without which it finds nothing, by how their JSON names begin; () where that cannot be told."""
        if set(_CALLED.findall(self.expression)) - _QUIET:
            return ()
        return tuple(dict.fromkeys(_FIRST.findall(self.expression)))

    @cached_property
    def path(self) -> Path:
        """What evaluates it. With the release's types only where the expression asks for one: that costs more."""
        typed = any(word in self.expression for word in _ASKS_TYPES)
        model = elements_of(self.release) if typed else None
        return compile_path(self.expression, model=model, steps=MAX_STEPS)


def key_of(owner: str, code: str) -> int:
    """The key of a parameter in an index."""
    digest = blake2b(f"{owner}.{code}".encode(), digest_size=_KEY_BYTES).digest()
    return int.from_bytes(digest, "big")


@dataclass(frozen=True, slots=True)
class Shown:
    """What of a type `_summary` and `_elements` leave in, by the names of its elements."""

    mandatory: frozenset[str] = frozenset()
    elements: frozenset[str] = frozenset()
    """Those marked as summary."""


class Parameters:
    """Every search parameter of a release. Threads may share it."""

    def __init__(self, release: Release) -> None:
        name = f"{release.value.lower()}.json"
        document = json.loads(files("schemas.fhir.searching").joinpath(name).read_bytes())
        self.release = release
        self._types: dict[str, Mapping[str, Parameter]] = {
            owner: {
                code: Parameter(owner, code, Kind(kind), path, tuple(targets.split()), release)
                for code, (kind, path, targets) in own.items()
            }
            for owner, own in document["types"].items()
        }
        self._whole: dict[str, Mapping[str, Parameter]] = {}
        self.patient: Mapping[str, tuple[str, ...]] = {
            owner: tuple(codes.split()) for owner, codes in document["patient"].items()
        }
        """By type: the reference parameters that put a resource into a patient's compartment."""
        self._fitting = lru_cache(maxsize=_SHAPES)(self._find_fitting)
        self._summaries: dict[str, str] = document["summary"]

    def of(self, resource_type: str) -> Mapping[str, Parameter]:
        """The parameters of a type by their names, those of every type included."""
        known = self._whole.get(resource_type)
        if known is None:
            general = _EVERY_TYPE[:1] if resource_type in _BARE else _EVERY_TYPE
            known = {}
            for owner in (*general, resource_type):
                known = {**known, **self._types.get(owner, {})}
            self._whole[resource_type] = known
        return known

    def fitting(self, resource_type: str, names: tuple[str, ...]) -> tuple[Parameter, ...]:
        """The parameters that may find something in a resource whose elements have these JSON names."""
        return self._fitting(resource_type, names)

    def _find_fitting(self, resource_type: str, names: tuple[str, ...]) -> tuple[Parameter, ...]:
        return tuple(
            one
            for one in self.of(resource_type).values()
            if one.kind is not Kind.COMPOSITE
            and (not one.members or any(name.startswith(one.members) for name in names))
        )

    def summary(self, resource_type: str) -> Shown:
        """What is always shown of a type, and what its summary shows."""
        words = self._summaries.get(resource_type, "").split()
        return Shown(
            frozenset(word.rstrip("*!") for word in words if "!" in word),
            frozenset(word.rstrip("*!") for word in words if "*" in word),
        )


@one_each
def parameters_of(release: Release) -> Parameters:
    """The one table of a release in this process."""
    return Parameters(release)


__all__ = ["MAX_STEPS", "Kind", "Parameter", "Parameters", "Shown", "key_of", "parameters_of"]
