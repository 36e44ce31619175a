"""A judge of our own: codes of required bindings, from the official R4 definitions. A second opinion to npm `fhir`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import orjson

from tests.mapping.judges import Finding
from tests.shared_data import shared_path

FOLDER: Final = "data/fhir/r4-definitions"
_ANY: Final = "*"
"""Any code: of a system whose codes are not among the definitions, or that is filtered."""


_BASE: Final = "http://hl7.org/fhir/ValueSet/"
_OF_DATA_TYPES: Final[Mapping[str, str]] = {
    "address-type": "postal physical both",
    "address-use": "home work temp old billing",
    "contact-point-system": "phone fax email pager url sms other",
    "contact-point-use": "home work temp old mobile",
    "identifier-use": "usual official temp secondary old",
    "name-use": "usual official temp nickname anonymous old maiden",
    "narrative-status": "generated extensions additional empty",
    "quantity-comparator": "< <= >= >",
    "units-of-time": "s min h d wk mo a",
}
"""Value sets of the data types, which the definitions at hand name but do not hold (R4 sections 2.24, 2.26)."""


@dataclass(slots=True)
class Element:
    """One element of a definition: what types it may have and what its codes are bound to."""

    types: list[str] = field(default_factory=list)
    value_set: str = ""


@dataclass(frozen=True, slots=True)
class Definitions:
    """The definitions that the judgement needs."""

    elements: Mapping[str, Element]
    """By path, `Patient.contact.gender`; a choice type by its written name, `Observation.valueQuantity`."""
    systems: Mapping[str, frozenset[str]]
    """Codes by code system."""
    value_sets: Mapping[str, Mapping[str, Any]]


@lru_cache(maxsize=1)
def definitions() -> Definitions:
    """Read once a process. Skips or fails like `shared_path`."""
    elements: defaultdict[str, Element] = defaultdict(Element)
    systems: dict[str, frozenset[str]] = {}
    value_sets: dict[str, Mapping[str, Any]] = {}
    for one in _definitions():
        match one["resourceType"]:
            case "StructureDefinition" if one.get("derivation") != "constraint":
                _read_structure(one, elements)
            case "CodeSystem" if one.get("content") == "complete":
                systems[one["url"]] = frozenset(_codes(one.get("concept", [])))
            case "ValueSet":
                value_sets[one["url"]] = one
            case _:
                pass
    return Definitions(elements, systems, value_sets)


def _definitions() -> Iterator[dict[str, Any]]:
    for path in shared_path(FOLDER).glob("*.json"):
        found = orjson.loads(path.read_bytes())
        if found["resourceType"] == "Bundle":
            yield from (entry["resource"] for entry in found["entry"])
        else:
            yield found


def _read_structure(one: Mapping[str, Any], elements: defaultdict[str, Element]) -> None:
    for element in one.get("snapshot", {}).get("element", ()):
        types = [str(kind["code"]) for kind in element.get("type", ())]
        bound = element.get("binding", {})
        required = bound.get("valueSet", "") if bound.get("strength") == "required" else ""
        path = str(element["path"])
        if path.endswith("[x]"):
            names = [(path[:-3] + kind[0].upper() + kind[1:], [kind]) for kind in types]
        else:
            names = [(path, types)]
        for name, its in names:
            elements[name] = Element(its, required.partition("|")[0])
        if content := element.get("contentReference"):
            elements[path].types = [str(content).lstrip("#")]


def _codes(concepts: list[Mapping[str, Any]]) -> Iterator[str]:
    for concept in concepts:
        yield concept["code"]
        yield from _codes(concept.get("concept", []))


@lru_cache(maxsize=512)
def _expanded(value_set: str) -> frozenset[tuple[str, str]]:
    """`(system, code)` pairs of a value set, with `*` where every one must do."""
    known = definitions()
    if own := _OF_DATA_TYPES.get(value_set.removeprefix(_BASE)):
        return frozenset(("", code) for code in own.split())
    found = known.value_sets.get(value_set)
    if found is None:
        return frozenset({(_ANY, _ANY)})
    pairs: set[tuple[str, str]] = set()
    for part in found.get("compose", {}).get("include", ()):
        pairs |= set(_included(part, known))
    return frozenset(pairs)


def _included(part: Mapping[str, Any], known: Definitions) -> Iterator[tuple[str, str]]:
    for inner in part.get("valueSet", ()):
        yield from _expanded(inner)
    system = part.get("system", "")
    if not system:
        return
    if "concept" in part:
        yield from ((system, concept["code"]) for concept in part["concept"])
    elif "filter" in part or system not in known.systems:
        yield system, _ANY
    else:
        yield from ((system, code) for code in known.systems[system])


def by_bindings(bundle: Mapping[str, Any]) -> list[Finding]:
    """Codes of a bundle that their required binding does not have. What has no definition here is not judged."""
    return [
        finding
        for entry in bundle.get("entry", ())
        if "resource" in entry
        for finding in _judge(entry["resource"], str(entry["resource"]["resourceType"]), "")
    ]


def _judge(value: Any, path: str, shown: str) -> Iterator[Finding]:
    """`path` is the one of the definitions (it starts anew in a data type), `shown` the one in the resource."""
    known = definitions()
    for key, inner in value.items():
        at = f"{shown or path}.{key}"
        element = known.elements.get(f"{path}.{key}")
        if element is None:
            continue
        for one in inner if isinstance(inner, list) else [inner]:
            if element.value_set and not _fits(one, _expanded(element.value_set)):
                yield Finding("bindings", at, f"not of {element.value_set}")
            if isinstance(one, dict):
                yield from _judge(one, _next(one, f"{path}.{key}", element), at)


def _next(value: Mapping[str, Any], path: str, element: Element) -> str:
    if "resourceType" in value:
        return str(value["resourceType"])
    kind = element.types[0] if len(element.types) == 1 else ""
    return path if kind in ("", "BackboneElement", "Element") else kind


def _fits(value: Any, allowed: frozenset[tuple[str, str]]) -> bool:
    if (_ANY, _ANY) in allowed:
        return True
    if isinstance(value, str):
        return any(code in (value, _ANY) for _, code in allowed)
    if not isinstance(value, dict):
        return True
    codings = value.get("coding", [value] if "code" in value else [])
    return not codings or any(
        (one.get("system"), one.get("code")) in allowed or (one.get("system"), _ANY) in allowed
        for one in codings
    )


__all__ = ["Definitions", "Element", "by_bindings", "definitions"]
