"""The least and greatest value that a value of limited precision stands for, and its precision (FHIRPath 3.0 §5.7)."""

from __future__ import annotations

from calendar import monthrange
from dataclasses import replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, DecimalException
from typing import Final

from schemas.fhirpath.environment import Environment, Step
from schemas.fhirpath.errors import Failure, PathFailed
from schemas.fhirpath.functions.registry import Function, Scope, integer, single, whole
from schemas.fhirpath.quantity import Quantity
from schemas.fhirpath.temporal import Temporal, parse_date_time
from schemas.fhirpath.tree import Call
from schemas.fhirpath.values import ARITHMETIC, Items

_PLACES: Final = 8
_MOST_PLACES: Final = 28
_DIGITS: Final = {"Date": 8, "DateTime": 17, "Time": 9}
_FIELD_DIGITS: Final = (4, 6, 8, 10, 12, 14)
_FARTHEST_EAST: Final = 14 * 60
_FARTHEST_WEST: Final = -12 * 60


def _boundary(name: str, is_high: bool) -> Function:
    def build(scope: Scope, call: Call) -> Step:
        argument = scope.expression(call.arguments[0]) if call.arguments else None

        def step(items: Items, env: Environment) -> Items:
            value = single(items, f"{name}()")
            digits = integer(argument(env), f"{name}()") if argument else None
            if value is None or (argument and digits is None):
                return []
            found = _bound(value, digits, is_high, name)
            return [] if found is None else [found]

        return step

    return Function(0, 1, build)


def _bound(value: object, digits: int | None, is_high: bool, name: str) -> object:
    if type(value) is str:  # an element whose type nobody knows
        value = parse_date_time(value) or value
    if isinstance(value, Temporal):
        return _temporal_bound(value, digits, is_high)
    if isinstance(value, Quantity):
        found = _decimal_bound(value.value, digits, is_high)
        return None if found is None else replace(value, value=found, text="")
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return _decimal_bound(Decimal(value), digits, is_high)
    raise PathFailed(Failure.TYPE, f"{name}()")


def _decimal_bound(value: Decimal, digits: int | None, is_high: bool) -> Decimal | None:
    """Half a unit of the last digit away, rounded outwards to the wanted places."""
    places = _PLACES if digits is None else digits
    exponent = value.as_tuple().exponent
    if not 0 <= places <= _MOST_PLACES or not isinstance(exponent, int):
        return None
    half = Decimal(5).scaleb(min(exponent, 0) - 1)
    try:
        bound = ARITHMETIC.add(value, half if is_high else -half)
        rounding = ROUND_CEILING if is_high else ROUND_FLOOR
        return bound.quantize(Decimal(1).scaleb(-places), rounding, ARITHMETIC)
    except DecimalException:
        return None


def _temporal_bound(value: Temporal, digits: int | None, is_high: bool) -> Temporal | None:
    wanted = _DIGITS[value.kind] if digits is None else digits
    skipped = 3 if value.kind == "Time" else 0
    lengths = [size - (8 if skipped else 0) for size in _FIELD_DIGITS[skipped:]]
    longest = lengths[-1] + 3 if value.kind != "Date" else 8
    if wanted > longest or wanted not in (*lengths, longest):
        return None
    fields = value.fields
    while len(fields) < len(lengths):
        fields = (*fields, _edge((0,) * skipped + fields, is_high))
    fraction = value.fraction.ljust(3, "9" if is_high else "0")[:3]
    known = lengths.index(wanted) + 1 if wanted in lengths else len(lengths)
    offset = value.offset
    if value.kind == "DateTime" and known > 3 and offset is None:
        offset = _FARTHEST_WEST if is_high else _FARTHEST_EAST
    kept = fraction if wanted == longest and value.kind != "Date" else ""
    return Temporal(value.kind, fields[:known], kept, offset if known > 3 else None)


def _edge(known: tuple[int, ...], is_high: bool) -> int:
    """The least or greatest value of the field after the known ones."""
    at = len(known)
    if not is_high:
        return 1 if at in (1, 2) else 0
    if at == 2:
        return monthrange(known[0], known[1])[1]
    return (9999, 12, 31, 23, 59, 59)[at]


def _precision(items: Items, env: Environment) -> Items:
    value = single(items, "precision()")
    if value is None:
        return []
    if isinstance(value, Temporal):
        digits = (
            _FIELD_DIGITS[len(value.fields) - 1] if value.kind != "Time" else 2 * len(value.fields)
        )
        return [digits + len(value.fraction)]
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        exponent = Decimal(value).as_tuple().exponent
        return [max(0, -exponent) if isinstance(exponent, int) else 0]
    raise PathFailed(Failure.TYPE, "precision()")


BOUNDARIES: Final[dict[str, Function]] = {
    "lowBoundary": _boundary("lowBoundary", is_high=False),
    "highBoundary": _boundary("highBoundary", is_high=True),
    "precision": whole(_precision),
}


__all__ = ["BOUNDARIES"]
