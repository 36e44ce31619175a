"""FHIR JSON to plain values, numbers as they were written; and the first look at what came."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

from adapters.hl7v2.mapping.protocol import Json

MAX_DEPTH: Final = 64
MAX_ENTRIES: Final = 20_000
_DECODER: Final = msgspec.json.Decoder(float_hook=Decimal)


def read_fhir_json(raw: bytes) -> Json:
    """The values of a JSON document; a decimal keeps its digits. Raises ValueError, which names no value."""
    try:
        return _DECODER.decode(raw)  # type: ignore[no-any-return]  # JSON values, decimals as Decimal
    except (msgspec.DecodeError, UnicodeDecodeError, ArithmeticError) as error:
        raise ValueError(f"no JSON: {type(error).__name__}") from None
    except RecursionError:
        raise ValueError("no JSON: nested too deeply") from None


def as_bundle(value: object) -> tuple[dict[str, object], str]:
    """The bundle, or one made for a single resource; or an empty one and what is wrong."""
    if not isinstance(value, dict) or not isinstance(value.get("resourceType"), str):
        return {}, "no FHIR resource: it has no resourceType"
    if is_deep(value):
        return {}, f"nested deeper than {MAX_DEPTH} levels"
    if value["resourceType"] != "Bundle":
        return {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": value}]}, ""
    entries = value.get("entry")
    if not isinstance(entries, list) or not entries:
        return {}, "the bundle has no entries"
    if len(entries) > MAX_ENTRIES:
        return {}, f"{len(entries)} entries; {MAX_ENTRIES} are allowed"
    return value, ""


def is_deep(value: object) -> bool:
    """Whether a value is nested deeper than any resource is. Does not recurse."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            return True
        below: list[object] = []
        for one in level:
            if isinstance(one, dict):
                below += [inner for inner in one.values() if isinstance(inner, dict | list)]
            elif isinstance(one, list):
                below += [inner for inner in one if isinstance(inner, dict | list)]
        level = below
    return False


__all__ = ["MAX_DEPTH", "MAX_ENTRIES", "as_bundle", "is_deep", "read_fhir_json"]
