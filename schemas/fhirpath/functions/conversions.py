"""Conversions between the System types (FHIRPath 2.0 §5.5): each `toX` has its `convertsToX`."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Final

from schemas.fhirpath import temporal
from schemas.fhirpath.environment import Environment
from schemas.fhirpath.functions.registry import FALSE, TRUE, Function, single, whole
from schemas.fhirpath.quantity import Quantity, parse_quantity
from schemas.fhirpath.temporal import Temporal
from schemas.fhirpath.values import Items

_INTEGER: Final = re.compile(r"[+-]?\d{1,18}\Z", re.ASCII)
_DECIMAL: Final = re.compile(r"[+-]?\d{1,40}(?:\.\d{1,40})?\Z", re.ASCII)
_TRUE: Final = frozenset(("true", "t", "yes", "y", "1", "1.0"))
_FALSE: Final = frozenset(("false", "f", "no", "n", "0", "0.0"))


def _boolean(value: object) -> object:
    if isinstance(value, bool):
        return value
    if isinstance(value, int | Decimal):
        return bool(value) if value in (0, 1) else None
    if isinstance(value, str):
        text = value.lower()
        return True if text in _TRUE else False if text in _FALSE else None
    return None


def _integer(value: object) -> object:
    if isinstance(value, int):
        return int(value)
    return int(value) if isinstance(value, str) and _INTEGER.match(value) else None


def _decimal(value: object) -> object:
    if isinstance(value, int | Decimal):
        return Decimal(value)
    return Decimal(value) if isinstance(value, str) and _DECIMAL.match(value) else None


def _string(value: object) -> object:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return format(value, "f") if abs(value.adjusted()) < 64 else str(value)
    return str(value) if isinstance(value, int | Temporal | Quantity) else None


def _quantity(value: object) -> object:
    if isinstance(value, Quantity):
        return value
    if isinstance(value, int | Decimal):
        return Quantity(Decimal(value), "1")
    return parse_quantity(value) if isinstance(value, str) else None


def _temporal(kind: str) -> Callable[[object], object]:
    def convert(value: object) -> object:
        if isinstance(value, Temporal):
            return _recast(value, kind)
        if not isinstance(value, str):
            return None
        if kind == "Time":
            return temporal.parse_time(value)
        found = temporal.parse_date_time(value)
        return None if found is None else _recast(found, kind)

    return convert


def _recast(value: Temporal, kind: str) -> Temporal | None:
    if value.kind == kind:
        return value
    if value.kind == "Time" or kind == "Time":
        return None
    if kind == "Date":
        return Temporal("Date", value.fields[:3])
    return Temporal("DateTime", value.fields)


_CONVERSIONS: Final[dict[str, Callable[[object], object]]] = {
    "Boolean": _boolean,
    "Integer": _integer,
    "Decimal": _decimal,
    "String": _string,
    "Quantity": _quantity,
    "Date": _temporal("Date"),
    "DateTime": _temporal("DateTime"),
    "Time": _temporal("Time"),
}


def _to(name: str, convert: Callable[[object], object]) -> Function:
    def change(items: Items, env: Environment) -> Items:
        value = single(items, f"to{name}()")
        found = None if value is None else convert(value)
        return [] if found is None else [found]

    return whole(change)


def _converts(name: str, convert: Callable[[object], object]) -> Function:
    def change(items: Items, env: Environment) -> Items:
        value = single(items, f"convertsTo{name}()")
        if value is None:
            return []
        return FALSE if convert(value) is None else TRUE

    return whole(change)


CONVERSIONS: Final[dict[str, Function]] = {
    **{f"to{name}": _to(name, convert) for name, convert in _CONVERSIONS.items()},
    **{f"convertsTo{name}": _converts(name, convert) for name, convert in _CONVERSIONS.items()},
}


def to_text(value: object) -> str | None:
    """The text of a System value, as `toString()` gives it."""
    found = _string(value)
    return found if isinstance(found, str) else None


__all__ = ["CONVERSIONS", "to_text"]
