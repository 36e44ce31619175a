"""A resource with some of its elements: `_summary` and `_elements`, marked as such. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from adapters.fhir.store.questions import Summary
from schemas.fhir.searching import Parameters
from schemas.fhir.text import Json, parse_object, write

_ALWAYS: Final = frozenset({"resourceType", "id", "meta"})
_TAG: Final = {
    "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue",
    "code": "SUBSETTED",
}


def subset(body: bytes, summary: Summary, elements: Sequence[str], parameters: Parameters) -> bytes:
    """The body as it shall be shown: whole where nothing is left out."""
    if summary in (Summary.FALSE, Summary.COUNT) and not elements:
        return body
    resource = parse_object(body)
    kind = str(resource.get("resourceType"))
    shown = parameters.summary(kind)
    if elements:
        own = (one.rpartition(".")[2] for one in elements if one.partition(".")[0] in (kind, one))
        kept = _ALWAYS | shown.mandatory | set(own)
    elif summary is Summary.TEXT:
        kept = _ALWAYS | shown.mandatory | {"text"}
    elif summary is Summary.DATA:
        kept = frozenset(resource) - {"text"}
    else:
        kept = _ALWAYS | shown.mandatory | shown.elements
    cut = {name: value for name, value in resource.items() if name.removeprefix("_") in kept}
    _mark(cut)
    return write(cut)


def _mark(resource: dict[str, Json]) -> None:
    meta = resource.setdefault("meta", {})
    if not isinstance(meta, dict):
        return
    tags = meta.setdefault("tag", [])
    if isinstance(tags, list):
        tags.append(dict(_TAG))


__all__ = ["subset"]
