"""Our own checks of a bundle: references resolve, addresses are unique, nothing is empty, nothing is lost."""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from adapters.hl7v2.codec import Hl7Error, Message
from adapters.hl7v2.mapping.protocol import Mapped

_ADDRESS: Final = re.compile(
    r"([A-Z][A-Z0-9]{2})(?:\[(\d+)\])?(?:-(\d+)(?:\[(\d+)\])?(?:\.(\d+))?(?:\.(\d+))?)?\Z"
)
_ALNUM: Final = re.compile(r"[^\W_]+")
_DATE: Final = re.compile(r"\d{4}(-\d\d){1,2}(T|\Z)")
_TIME: Final = re.compile(r"(?:18|19|20)\d{6}(\d{2,6}(\.\d{1,4})?)?([+-]\d{4})?\Z")
_STRUCTURAL: Final = frozenset({("MSH", 9), ("MSH", 12), ("MSH", 18), ("OBX", 2)})
"""Fields that say how the message is to be read: its kind, version and characters, the type of OBX-5."""
_NOTATIONS: Final = frozenset({"ISO", "UUID", "GUID"})
"""Types of universal ids (table 0301) that the form of a URI says: `urn:oid:`, `urn:uuid:`."""
_TELLING: Final = 3
"""Letters and digits from which on a text can be looked up; a `1` stands in every bundle."""


def unresolved_references(bundle: Mapping[str, Any], *, strict: bool = False) -> list[str]:
    """References that lead nowhere, as `Encounter.subject: urn:uuid:…`. Conditional ones (`Type?…`) are fine.

    `strict` is R4's own rule for bundles (section 2.36.4): `Type/id` only resolves to a fullUrl that ends with it.
    """
    entries = [entry for entry in bundle.get("entry", ()) if "resource" in entry]
    known = {entry["fullUrl"] for entry in entries if "fullUrl" in entry}
    if strict:
        known |= {"/".join(address.split("/")[-2:]) for address in known if "/" in address}
    else:
        known |= {_local(entry["resource"]) for entry in entries} | {_local(bundle)}
    return [
        f"{path}: {reference}"
        for entry in entries
        for path, reference in _references(entry["resource"], entry["resource"]["resourceType"])
        if not _resolves(reference, known, entry["resource"])
    ]


def _local(resource: Mapping[str, Any]) -> str:
    return f"{resource.get('resourceType')}/{resource.get('id')}"


def _resolves(reference: str, known: set[str], resource: Mapping[str, Any]) -> bool:
    if reference.startswith("#"):
        inner = {one.get("id") for one in resource.get("contained", ())}
        return reference == "#" or reference[1:] in inner
    return reference in known or "?" in reference


def _references(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, list):
        for item in value:
            yield from _references(item, path)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key == "reference" and isinstance(inner, str):
                yield path, inner
            else:
                yield from _references(inner, f"{path}.{key}")


def repeated_addresses(bundle: Mapping[str, Any]) -> list[str]:
    """fullUrls, and `Type/id`s, that more than one entry has; `missing` for each entry without a fullUrl."""
    entries = bundle.get("entry", ())
    counted = Counter(entry.get("fullUrl", "missing") for entry in entries)
    counted += Counter(_local(entry["resource"]) for entry in entries if "resource" in entry)
    return [address for address, count in counted.items() if count > 1 or address == "missing"]


def empty_places(value: Any, path: str = "Bundle") -> list[str]:
    """Paths of empty texts, arrays and objects, and of nulls that no `_element` explains."""
    if value in ("", [], {}):
        return [path]
    if isinstance(value, list):
        return [at for i, item in enumerate(value) for at in empty_places(item, f"{path}[{i}]")]
    if isinstance(value, dict):
        return [at for key, inner in value.items() for at in _empty_member(value, key, inner, path)]
    return [path] if value is None else []


def _empty_member(parent: Mapping[str, Any], key: str, inner: Any, path: str) -> list[str]:
    partner = parent.get(key[1:] if key.startswith("_") else f"_{key}")
    if isinstance(inner, list) and isinstance(partner, list) and len(partner) == len(inner):
        kept = [
            one
            for one, other in zip(inner, partner, strict=True)
            if one is not None or other is None
        ]
        return empty_places(kept, f"{path}.{key}") if kept else []
    return empty_places(inner, f"{path}.{key}")


@dataclass(frozen=True, slots=True)
class Address:
    """A place in a message; 0 stands for every one."""

    segment: str
    occurrence: int = 0
    field: int = 0
    repetition: int = 0
    component: int = 0
    subcomponent: int = 0

    @classmethod
    def parse(cls, text: str) -> Address | None:
        """Read `OBX[3]-5[2].1.2`; None when it is no address in a message."""
        found = _ADDRESS.match(text)
        return cls(found[1], *(int(part or 0) for part in found.groups()[1:])) if found else None

    def key(self) -> tuple[int, int, int, int, int]:
        """The numbers."""
        return self.occurrence, self.field, self.repetition, self.component, self.subcomponent

    def covers(self, leaf: Address) -> bool:
        """Whether a leaf lies at or below this place. A leaf's only part is also its first."""
        return self.segment == leaf.segment and all(
            not wanted or wanted == (got or 1)
            for wanted, got in zip(self.key(), leaf.key(), strict=True)
        )

    def __str__(self) -> str:
        below = "".join(f".{one}" for one in (self.component, self.subcomponent) if one)
        return f"{self.segment}[{self.occurrence}]-{self.field}[{self.repetition}]{below}"


def leaves(message: Message) -> Iterator[tuple[Address, str]]:
    """Every valued leaf after MSH-2, with its text; text that cannot be decoded is empty."""
    marks = message.delimiters
    counted: Counter[str] = Counter()
    for segment in message.segments():
        counted[segment.name] += 1
        for number in range(3 if segment.name == "MSH" else 1, len(segment) + 1):
            for index, repetition in enumerate(segment.repetitions(number), 1):
                at = (segment.name, counted[segment.name], number, index)
                for i, j, raw in _parts(repetition, marks.component, marks.subcomponent):
                    leaf = Address(*at, i, j)
                    yield leaf, _text(message, leaf, raw)


def _parts(value: bytes, component: bytes, subcomponent: bytes) -> Iterator[tuple[int, int, bytes]]:
    for i, part in enumerate(value.split(component) if component else [value], 1):
        for j, leaf in enumerate(part.split(subcomponent) if subcomponent else [part], 1):
            if leaf not in (b"", b'""'):
                yield i, j, leaf


def _text(message: Message, leaf: Address, raw: bytes) -> str:
    if raw.isalnum():
        return raw.decode("ascii")
    try:
        return message.get(str(leaf))
    except Hl7Error:
        return ""


def lost_leaves(message: Message, mapped: Mapped, bundle: Mapping[str, Any]) -> list[str]:
    """Addresses of valued leaves that are neither in the bundle, nor a source of it, nor named by an issue.

    A text counts as being in the bundle when all of its words are, a time when its day is. Codes that a table
    translates, and texts too short to be looked up, need an origin: map with `explain=True`.
    """
    words, exact = _texts(bundle)
    told = _by_segment([*(issue.where for issue in mapped.issues), *_sources(mapped)])
    return [
        str(leaf)
        for leaf, text in leaves(message)
        if (leaf.segment, leaf.field) not in _STRUCTURAL
        and text not in _NOTATIONS
        and not _stands(text, words, exact)
        and not any(place.covers(leaf) for place in told.get(leaf.segment, ()))
    ]


def _sources(mapped: Mapped) -> Iterator[str]:
    for origins in mapped.origins.values():
        for origin in origins:
            yield from (part.strip() for part in origin.source.split(","))


def _by_segment(addresses: Sequence[str]) -> dict[str, set[Address]]:
    found: dict[str, set[Address]] = {}
    for text in addresses:
        place = Address.parse(text)
        if place is not None:
            found.setdefault(place.segment, set()).add(place)
    return found


def _texts(value: Any) -> tuple[set[str], set[str]]:
    words: set[str] = set()
    exact: set[str] = set()
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            waiting.extend(one.values())
            if str(one.get("contentType", "")).startswith("text/") and "data" in one:
                waiting.append(base64.b64decode(one["data"]).decode("utf-8"))
        elif isinstance(one, list):
            waiting.extend(one)
        else:
            text = str(one)
            exact.add(text)
            found = [word.lower() for word in _ALNUM.findall(text)]
            words.update(found)
            words.add("".join(found))
            if _DATE.match(text):
                words.update((text[:4], text[:7].replace("-", ""), text[:10].replace("-", "")))
    return words, exact


def _stands(text: str, words: set[str], exact: set[str]) -> bool:
    found = [word.lower() for word in _ALNUM.findall(text)]
    if not found:
        return True
    if sum(map(len, found)) < _TELLING:
        return text in exact
    if _TIME.match(text) and text[:8] in words:
        return True
    return all(word in words for word in found) or "".join(found) in words


__all__ = [
    "Address",
    "empty_places",
    "leaves",
    "lost_leaves",
    "repeated_addresses",
    "unresolved_references",
]
