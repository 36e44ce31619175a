"""Arithmetic (FHIRPath 2.0 §6.6): empty on overflow and division by zero, an error on wrong types."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal, DecimalException
from typing import Final

from schemas.fhirpath.calendar_sum import plus as plus_time
from schemas.fhirpath.errors import Failure, PathFailed
from schemas.fhirpath.quantity import Quantity, common, joined, quantity_of
from schemas.fhirpath.temporal import Temporal
from schemas.fhirpath.values import ARITHMETIC, Number

_LARGEST: Final = 2**63
_CALENDAR_ONLY: Final = frozenset(("a", "mo"))


def in_range(value: Number) -> Number | None:
    """A result, or None when it left the range of its type."""
    if isinstance(value, int):
        return value if -_LARGEST <= value < _LARGEST else None
    return value if value.is_finite() else None


def _divided(left: Number, right: Number) -> Number | None:
    return ARITHMETIC.divide(Decimal(left), Decimal(right)) if right else None


def _whole_divided(left: Number, right: Number) -> Number | None:
    if not right:
        return None
    found = ARITHMETIC.divide_int(Decimal(left), Decimal(right))
    return int(found) if found.adjusted() < 20 else None


def _remainder(left: Number, right: Number) -> Number | None:
    if not right:
        return None
    found = ARITHMETIC.remainder(Decimal(left), Decimal(right))
    return int(found) if isinstance(left, int) and isinstance(right, int) else found


def _with(
    of_integers: Callable[[int, int], int], of_decimals: Callable[[Decimal, Decimal], Decimal]
) -> Callable[[Number, Number], Number | None]:
    def calculate(left: Number, right: Number) -> Number | None:
        if isinstance(left, int) and isinstance(right, int):
            return of_integers(left, right)
        return of_decimals(Decimal(left), Decimal(right))

    return calculate


_NUMBERS: Final[dict[str, Callable[[Number, Number], Number | None]]] = {
    "+": _with(int.__add__, ARITHMETIC.add),
    "-": _with(int.__sub__, ARITHMETIC.subtract),
    "*": _with(int.__mul__, ARITHMETIC.multiply),
    "/": _divided,
    "div": _whole_divided,
    "mod": _remainder,
}


def calculate(operator: str, left: object, right: object) -> object:
    """The result, or None when it is empty. Raises `PathFailed` for operands that do not fit."""
    try:
        return _calculate(operator, _operand(left), _operand(right))
    except DecimalException:
        return None


def _operand(value: object) -> object:
    return (quantity_of(value) or value) if isinstance(value, dict) else value


def _calculate(operator: str, left: object, right: object) -> object:
    if isinstance(left, bool) or isinstance(right, bool):
        raise PathFailed(Failure.TYPE, operator)
    if isinstance(left, int | Decimal) and isinstance(right, int | Decimal):
        found = _NUMBERS[operator](left, right)
        return None if found is None else in_range(found)
    if isinstance(right, Quantity):
        if isinstance(left, Temporal) and operator in ("+", "-"):
            return shifted(left, right, operator)
        if isinstance(left, Quantity):
            return _quantities(operator, left, right)
        if isinstance(left, int | Decimal) and operator == "*":
            return replace(right, value=ARITHMETIC.multiply(Decimal(left), right.value), text="")
    elif isinstance(left, Quantity) and isinstance(right, int | Decimal) and operator in "*/":
        return _scaled(operator, left, right)
    elif isinstance(left, str) and isinstance(right, str) and operator == "+":
        return left + right
    raise PathFailed(Failure.TYPE, operator)


def _scaled(operator: str, left: Quantity, right: Number) -> Quantity | None:
    found = _NUMBERS[operator](left.value, right)
    return None if found is None else replace(left, value=Decimal(found), text="")


def _quantities(operator: str, left: Quantity, right: Quantity) -> Quantity | None:
    if operator in ("+", "-"):
        values = common(left, right)
        if values is None:
            return None
        if left.unit != right.unit:
            # back from base units to the left one
            one = common(replace(left, value=Decimal(1)), right)
            found = _NUMBERS[operator](*values)
            if one is None or found is None or not one[0]:
                return None
            return replace(left, value=ARITHMETIC.divide(Decimal(found), one[0]), text="")
        return replace(left, value=Decimal(_NUMBERS[operator](*values) or 0), text="")
    if operator in ("*", "/"):
        unit = joined(left.unit, right.unit, "." if operator == "*" else "/")
        found = _NUMBERS[operator](left.value, right.value)
        return None if unit is None or found is None else Quantity(Decimal(found), unit)
    raise PathFailed(Failure.TYPE, operator)


def shifted(left: Temporal, right: Quantity, operator: str) -> Temporal | None:
    """A date or time plus or minus calendar units. Units of no fixed calendar length are an error."""
    unit = right.calendar_unit
    if unit is None or (not right.is_calendar and right.unit in _CALENDAR_ONLY):
        raise PathFailed(Failure.UNIT, operator)
    if right.value.adjusted() > 16:
        return None
    amount = int(right.value)
    return plus_time(left, -amount if operator == "-" else amount, unit)


__all__ = ["calculate", "in_range", "shifted"]
