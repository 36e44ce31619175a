"""Typed, fast reads of FHIR JSON: a msgspec struct for each type, made when it is asked for.

    Observation = struct_type("Observation", Release.R4)
    read(raw, "Observation", Release.R4).valueQuantity.value      # Decimal("1.10"), with its zero

Attributes are FHIR's keys; `birthDate_ext` holds `_birthDate`, `class_` holds `class`. What a document lacks is
`UNSET`, which is false. Elements that the release does not define are passed over, so never write what was read:
forward the bytes that came. Resources in resources are `msgspec.Raw`, for `read` to open when they are wanted.
"""

from __future__ import annotations

from decimal import Decimal
from functools import cache
from typing import Final

import msgspec

from schemas.fhir.catalogue import catalogue
from schemas.fhir.errors import MalformedFhir, UnknownFhirType
from schemas.fhir.loading import LOADING, one_each
from schemas.fhir.release import Release
from schemas.fhir.shapes import Kind, Slot
from schemas.fhir.typed import NAMESPACE, Family, struct_name

_NAMES: Final = {
    Kind.STRING: "str",
    Kind.BOOLEAN: "bool",
    Kind.INTEGER: "int",
    Kind.DECIMAL: "Decimal",
    Kind.BASE64: "str",
    Kind.RESOURCE: "Raw",
}


def _annotate(slot: Slot) -> str:
    name = _NAMES.get(slot.kind) or struct_name(slot.type)
    if not slot.repeated:
        return name
    # a primitive that is null has its extension at the same place of the other list
    padded = slot.kind not in (Kind.MESSAGE, Kind.RESOURCE)
    return f"list[{name} | None]" if padded else f"list[{name}]"


@one_each
def _family(release: Release) -> Family:
    return Family(
        catalogue(release), "typed", _annotate, {**NAMESPACE, "Decimal": Decimal}, strict=False
    )


def struct_type(resource_type: str, release: Release) -> type[msgspec.Struct]:
    """The struct of a resource type. Raises `UnknownFhirType`."""
    if resource_type not in catalogue(release).resources:
        raise UnknownFhirType(f"FHIR {release.value} has no such resource type")
    with LOADING:
        return _family(release).struct(resource_type)


@cache
def _decoder(resource_type: str, release: Release) -> msgspec.json.Decoder[msgspec.Struct]:
    with LOADING:
        return msgspec.json.Decoder(struct_type(resource_type, release))


def read(raw: bytes | msgspec.Raw, resource_type: str, release: Release) -> msgspec.Struct:
    """A resource of a known type. Raises `UnknownFhirType`, and `MalformedFhir` for another type or wrong values."""
    decoder = _decoder(resource_type, release)
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError:
        # the library's words may quote the document
        raise MalformedFhir(
            f"the JSON is no {resource_type} of FHIR {release.value}: a value or its type is wrong"
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise MalformedFhir("the document is no JSON, or nested too deep") from None


__all__ = ["read", "struct_type"]
