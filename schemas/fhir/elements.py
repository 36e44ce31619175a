"""The elements of a release's types, as FHIRPath asks for them: choices by one name (`value`, not `valueQuantity`)."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib.resources import files

from schemas.fhir.release import Release


class Elements:
    """A `schemas.fhirpath` type model, read from the definitions of one release. Threads may share it."""

    def __init__(self, types: dict[str, str]) -> None:
        self._types = types
        self._known: dict[str, dict[str, tuple[str, ...]]] = {}

    def element(self, type_name: str, element: str) -> tuple[str, ...] | None:
        """The types that an element may have, or None if the type has no such element."""
        return self._of(type_name).get(element)

    def elements(self, type_name: str) -> tuple[str, ...]:
        """The names of a type's elements; empty when the type is not known."""
        return tuple(self._of(type_name))

    def _of(self, type_name: str) -> dict[str, tuple[str, ...]]:
        known = self._known.get(type_name)
        if known is None:
            known = self._known[type_name] = _elements(self._types.get(type_name, ""))
        return known


@lru_cache(maxsize=len(Release))
def elements_of(release: Release) -> Elements:
    """The elements of a release's types, the same object each time."""
    name = f"{release.value.lower()}.json"
    raw = files("schemas.fhir").joinpath("definitions", name).read_bytes()
    return Elements(json.loads(raw)["types"])


def _elements(text: str) -> dict[str, tuple[str, ...]]:
    """`name:Type` words; JSON names that differ by their types alone are one choice element, which is never a list."""
    named = [word.rstrip("!").partition(":")[::2] for word in text.split()]
    bases: dict[str, list[str]] = {}
    for name, kind in named:
        if base := _without_type(name, kind):
            bases.setdefault(base, []).append(kind)
    found: dict[str, tuple[str, ...]] = {}
    for name, marked in named:
        kind = marked.rstrip("*")
        base = _without_type(name, marked)
        kinds = bases.get(base, ())
        if len(kinds) > 1:
            found[base] = tuple(kinds)
        else:
            found[name] = (kind,)
    return found


def _without_type(name: str, kind: str) -> str:
    """`value` for `valueQuantity` of type Quantity; empty for lists, and where the name does not end with its type."""
    ending = kind[0].upper() + kind[1:]
    return name.removesuffix(ending) if name.endswith(ending) and name != ending else ""


__all__ = ["Elements", "elements_of"]
