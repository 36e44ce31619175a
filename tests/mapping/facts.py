"""A bundle as facts: (path, value) pairs of each resource type, without what only its producer could know."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tests.mapping.values import Said, is_date, normal

Fact = tuple[str, str]
"""`(path without indices, normalised value)`; the path starts with the resource type."""
Facts = dict[str, Counter[Fact]]
"""Facts by resource type."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A part of a resource that a decision tells from others at the same path: its facts stand at `path[test]`."""

    path: str
    test: str
    """Texts joined by commas: `identifier` (has it), `!result` (has none), `type.coding.code=FILL`."""

    def holds(self, part: Mapping[str, Any]) -> bool:
        """Whether a part bears the mark."""
        return all(_passes(part, one) for one in self.test.split(","))


SHARED_TYPES: Final = frozenset(
    {
        "Organization",
        "Practitioner",
        "PractitionerRole",
        "Location",
        "Device",
        "Endpoint",
        "Provenance",
    }
)
"""Types that messages name again and again. Whether a bundle holds one copy or ten is the producer's choice."""

_RESOURCE_NOISE: Final = frozenset(
    {"resourceType", "id", "meta", "text", "implicitRules", "contained"}
)
_BUNDLE_FACTS: Final = ("identifier", "timestamp")
_OFFICIAL_EXTENSION: Final = re.compile(r"https?://(terminology\.)?hl7\.org/")
_PRODUCERS_OWN: Final = (
    "http://reportstream.cdc.gov/",
    "http://prime.cdc.gov/",
    "http://ibm.com/fhir/",
    "http://example.com/",
    "urn:medmesh:",
    "http://medmesh.",
)
"""Bases of addresses that a producer made up. Normalised, as `values.normal_text` writes them."""
_PRODUCERS_RESOURCE: Final = ("CDC PRIME - Atlanta", "v2-FHIR transformation")
"""PRIME's own footprint: the organization that runs it and the record of its own conversion."""
_FREE_TEXT: Final = re.compile(
    r"(?:display|text|value|valueString|valueMarkdown|name|family|given|prefix|suffix|line|city|district"
    r"|state|postalCode|country|comment|description|title|version|data|conclusion|alias|note|label)\Z"
)


def facts_of(
    bundle: Mapping[str, Any], said: Said | None = None, marks: Iterable[Mark] = ()
) -> Facts:
    """Flatten a bundle. `said` leaves out texts and dates that are not in the message, on either side alike.

    Parts that bear a mark have paths that say so.
    """
    found: defaultdict[str, Counter[Fact]] = defaultdict(Counter)
    types = _types_by_address(bundle)
    marked = tuple(marks)
    for resource in _resources(bundle):
        if _is_footprint(resource):
            continue
        kind = str(resource.get("resourceType", "?"))
        local = types | _contained_types(resource)
        counted = Counter(
            fact
            for fact in _walk(resource, kind, local, _RESOURCE_NOISE, marked)
            if said is None or _can_be_known(fact, said)
        )
        found[kind] |= counted if kind in SHARED_TYPES else Counter()
        if kind not in SHARED_TYPES:
            found[kind] += counted
    for kind in SHARED_TYPES & found.keys():
        found[kind] = Counter(dict.fromkeys(found[kind], 1))
    return {kind: counted for kind, counted in found.items() if counted}


def without_unsaid_codings(value: Any, said: Said) -> Any:
    """A bundle without codings whose code is not in the message.

    For pairs in which a FHIR sender's bundle was first: the message made of it does not carry all of its codes.
    """
    if isinstance(value, list):
        kept = (without_unsaid_codings(item, said) for item in value)
        return [item for item in kept if item != {}]
    if not isinstance(value, dict):
        return value
    if "system" in value and "code" in value and not said.has_words(str(value["code"])):
        return {}
    return {key: without_unsaid_codings(inner, said) for key, inner in value.items()}


def _resources(bundle: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield {"resourceType": "Bundle"} | {k: bundle[k] for k in _BUNDLE_FACTS if k in bundle}
    for entry in bundle.get("entry", ()):
        resource = entry.get("resource")
        if resource:
            yield resource
            yield from resource.get("contained", ())


def _is_footprint(resource: Mapping[str, Any]) -> bool:
    if resource.get("resourceType") not in ("Provenance", "Organization"):
        return False
    text = str(resource)
    return any(mark in text for mark in _PRODUCERS_RESOURCE)


def _types_by_address(bundle: Mapping[str, Any]) -> dict[str, str]:
    return {
        entry["fullUrl"]: entry["resource"].get("resourceType", "?")
        for entry in bundle.get("entry", ())
        if "fullUrl" in entry and "resource" in entry
    }


def _contained_types(resource: Mapping[str, Any]) -> dict[str, str]:
    return {
        f"#{inner.get('id')}": inner.get("resourceType", "?")
        for inner in resource.get("contained", ())
    }


def _passes(part: Mapping[str, Any], test: str) -> bool:
    path, _, wanted = test.removeprefix("!").partition("=")
    found = any(
        (fact[0] == path or fact[0].startswith(f"{path}.")) and wanted in ("", fact[1])
        for key, inner in part.items()
        for fact in _walk(inner, key, {})
    )
    return found is not test.startswith("!")


def _walk(
    value: Any,
    path: str,
    types: Mapping[str, str],
    without: frozenset[str] = frozenset({"id"}),
    marks: tuple[Mark, ...] = (),
) -> Iterator[Fact]:
    if isinstance(value, list):
        for item in value:
            yield from _walk(item, path, types, marks=marks)
    elif not isinstance(value, dict):
        if value is not None and not _is_own(text := normal(value)):
            yield path, text
    else:
        path = _marked(path, value, marks)
        for key, inner in value.items():
            if key in without:
                continue
            if key == "reference" and isinstance(inner, str):
                yield f"{path}.reference", "→" + _target_type(inner, types)
            elif key in ("extension", "modifierExtension"):
                yield from _extensions(inner, f"{path}.{key}", types)
            else:
                yield from _walk(inner, f"{path}.{key}", types, marks=marks)


def _marked(path: str, part: Mapping[str, Any], marks: tuple[Mark, ...]) -> str:
    for mark in marks:
        if mark.path == path and mark.holds(part):
            return f"{path}[{mark.test}]"
    return path


def _extensions(found: Any, path: str, types: Mapping[str, str]) -> Iterator[Fact]:
    for extension in found if isinstance(found, list) else [found]:
        url = str(extension.get("url", ""))
        if ":" in url and not _OFFICIAL_EXTENSION.match(url):
            continue
        name = url.rstrip("/").rpartition("/")[2]
        yield from _walk(extension, f"{path}({name})", types, frozenset({"id", "url"}))


def _target_type(reference: str, types: Mapping[str, str]) -> str:
    if reference in types:
        return types[reference]
    kind = reference.partition("?")[0].rstrip("/").split("/")
    named = [part for part in kind if part[:1].isupper() and part.isalpha()]
    return named[-1] if named else "?"


def _is_own(text: str) -> bool:
    return text.startswith(_PRODUCERS_OWN)


def _can_be_known(fact: Fact, said: Said) -> bool:
    """Whether a value can have come from the message, or is a code, a number, a reference or an official address."""
    path, value = fact
    if is_date(value):
        return said.has_date(value)
    if _FREE_TEXT.search(path.rpartition(".")[2]) and not value.startswith(("http://", "urn:")):
        return said.has_words(value)
    return True


__all__ = ["SHARED_TYPES", "Fact", "Facts", "Mark", "facts_of", "without_unsaid_codings"]
