"""FHIR JSON: which elements may be seen (HL7 FHIR R4 and R5). Pure.

Shown is what kind of resource it is, in which state, and which test or procedure it speaks of. Hidden is everything
else: names, numbers, dates, values, texts, references, ids, extensions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from gateway.console.masking.rows import HIDDEN, MAX_ROWS, Masked, Row, is_harmless

_EVERYWHERE: Final = frozenset(
    {"resourceType", "meta.versionId", "meta.lastUpdated", "meta.profile", "status", "language"}
)
_CODE: Final = frozenset({"code.coding.system", "code.coding.code", "code.coding.display"})
_CATEGORY: Final = frozenset({"category.coding.system", "category.coding.code"})
_SHOWN: Final[dict[str, frozenset[str]]] = {
    "Bundle": frozenset(
        {"type", "total", "entry.request.method", "entry.response.status", "entry.search.mode"}
    ),
    "Patient": frozenset({"active"}),
    "Encounter": frozenset(
        {"class.system", "class.code", "type.coding.system", "type.coding.code"}
    ),
    "Observation": _CODE | _CATEGORY,
    "DiagnosticReport": _CODE | _CATEGORY,
    "ServiceRequest": _CODE | _CATEGORY | {"intent", "priority"},
    "Specimen": frozenset({"type.coding.system", "type.coding.code"}),
    "MedicationRequest": frozenset({"intent", "priority"}),
    "MessageHeader": frozenset(
        {
            "eventCoding.system",
            "eventCoding.code",
            "source.name",
            "destination.name",
            "response.code",
        }
    ),
    "OperationOutcome": frozenset({"issue.severity", "issue.code"}),
    "Provenance": frozenset({"recorded", "activity.coding.code"}),
    "DocumentReference": frozenset({"docStatus", "type.coding.system", "type.coding.code"}),
    "ImagingStudy": frozenset(
        {"numberOfSeries", "numberOfInstances", "modality.system", "modality.code"}
    ),
    "Appointment": frozenset(),
    "Task": frozenset({"intent", "priority"}),
    "Subscription": frozenset({"channel.type"}),
}
_NAME: Final = re.compile(r"_?[A-Za-z][A-Za-z0-9]{0,63}\Z")
_TYPE: Final = re.compile(r"[A-Z][A-Za-z]{1,63}\Z")
_RESOURCES: Final = frozenset({"resource", "contained", "outcome"})
"""Elements that hold a whole resource: its own list counts below them."""
_MAX_DEPTH: Final = 32


def mask(raw: bytes) -> Masked:
    """The resource with only the listed elements readable. Raises `ValueError` for what is no resource."""
    return _resource(raw, is_masked=True)


def reveal(raw: bytes) -> Masked:
    """The resource with every element readable. Raises `ValueError`."""
    return _resource(raw, is_masked=False)


def _resource(raw: bytes, *, is_masked: bool) -> Masked:
    try:
        told = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ValueError("the content is no JSON") from None
    if not isinstance(told, dict) or not _TYPE.match(str(told.get("resourceType", ""))):
        raise ValueError("the content is no FHIR resource")
    rows: list[Row] = []
    for row in _Walk(is_masked=is_masked).resource(told, "", 0):
        rows.append(row)
        if len(rows) > MAX_ROWS:
            break
    return Masked(
        format=f"FHIR {told['resourceType']}",
        rows=tuple(rows[:MAX_ROWS]),
        hidden=sum(row.is_hidden for row in rows[:MAX_ROWS]),
        size=len(raw),
        is_cut=len(rows) > MAX_ROWS,
    )


class _Walk:
    """Goes through a resource in its own order."""

    def __init__(self, *, is_masked: bool) -> None:
        self._is_masked = is_masked

    def resource(self, told: dict[str, object], at: str, depth: int) -> Iterator[Row]:
        """The rows of one resource, those inside it included."""
        of_type = str(told.get("resourceType", ""))
        is_named = bool(_TYPE.match(of_type))
        shown = _EVERYWHERE | _SHOWN.get(of_type, frozenset()) if is_named else frozenset()
        for key, value in told.items():
            yield from self._element(value, self._key(key), at, key, shown, depth)

    def _element(
        self, value: object, name: str, at: str, path: str, shown: frozenset[str], depth: int
    ) -> Iterator[Row]:
        place = f"{at}.{name}" if at else name
        if depth > _MAX_DEPTH:
            yield Row(name=name, path=place, value=HIDDEN, is_hidden=True, depth=depth)
        elif isinstance(value, list):
            for number, one in enumerate(value):
                yield from self._element(one, f"{name}[{number}]", at, path, shown, depth)
        elif isinstance(value, dict):
            yield Row(name=name, path=place, label=self._type_of(value), is_head=True, depth=depth)
            if path.rpartition(".")[2] in _RESOURCES and "resourceType" in value:
                yield from self.resource(value, place, depth + 1)
                return
            for key, inner in value.items():
                yield from self._element(
                    inner, self._key(key), place, f"{path}.{key}", shown, depth + 1
                )
        else:
            yield self._leaf(value, (name, place), path, shown, depth)

    def _leaf(
        self, value: object, names: tuple[str, str], path: str, shown: frozenset[str], depth: int
    ) -> Row:
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        is_hidden = self._is_masked and not (path in shown and is_harmless(text))
        name, place = names
        value = HIDDEN if is_hidden else text
        return Row(name=name, path=place, value=value, is_hidden=is_hidden, depth=depth)

    def _key(self, key: str) -> str:
        """Names of elements are the standard's; a key that cannot be one may hold anything."""
        return key if not self._is_masked or _NAME.match(key) else HIDDEN

    def _type_of(self, value: dict[str, object]) -> str:
        told = str(value.get("resourceType", ""))
        return told if _TYPE.match(told) else ""


__all__ = ["mask", "reveal"]
