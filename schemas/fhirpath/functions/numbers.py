"""Functions of numbers (FHIRPath 2.0 §5.7)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, ROUND_HALF_UP, Decimal, DecimalException
from typing import Final

from schemas.fhirpath.arithmetic import in_range
from schemas.fhirpath.environment import Environment, Step
from schemas.fhirpath.functions.registry import (
    NOTHING,
    Function,
    Scope,
    integer,
    numeric,
    single,
    whole,
)
from schemas.fhirpath.quantity import Quantity
from schemas.fhirpath.tree import Call
from schemas.fhirpath.values import ARITHMETIC, Items, Number


def _result(value: Number | None) -> Items:
    found = None if value is None else in_range(value)
    return NOTHING if found is None else [found]


def _of_number(name: str, change: Callable[[Number], Number | None]) -> Function:
    def of_items(items: Items, env: Environment) -> Items:
        value = numeric(items, f"{name}()")
        try:
            return NOTHING if value is None else _result(change(value))
        except DecimalException:
            return NOTHING

    return whole(of_items)


def _abs(items: Items, env: Environment) -> Items:
    value = single(items, "abs()")
    if isinstance(value, Quantity):
        return [replace(value, value=abs(value.value), text="")]
    number = numeric(items, "abs()")
    return NOTHING if number is None else [abs(number)]


def _rounded(rounding: str) -> Callable[[Number], Number | None]:
    def change(value: Number) -> Number | None:
        if isinstance(value, int):
            return value
        return int(value.to_integral_value(rounding)) if value.adjusted() < 20 else None

    return change


def _with_number(name: str, calculate: Callable[[Number, Number], Number | None]) -> Function:
    def build(scope: Scope, call: Call) -> Step:
        argument = scope.expression(call.arguments[0])

        def step(items: Items, env: Environment) -> Items:
            value, other = numeric(items, f"{name}()"), numeric(argument(env), f"{name}()")
            if value is None or other is None:
                return NOTHING
            try:
                return _result(calculate(value, other))
            except DecimalException:
                return NOTHING

        return step

    return Function(1, 1, build)


def _power(base: Number, exponent: Number) -> Number | None:
    if not -1_000 <= exponent <= 1_000:
        return None
    found = ARITHMETIC.power(Decimal(base), Decimal(exponent))
    if isinstance(base, int) and isinstance(exponent, int) and exponent >= 0:
        return int(found) if found.adjusted() < 20 else None
    return found


def _log(value: Number, base: Number) -> Number | None:
    if value <= 0 or base <= 0 or base == 1:
        return None
    found = ARITHMETIC.divide(ARITHMETIC.ln(Decimal(value)), ARITHMETIC.ln(Decimal(base)))
    return found.quantize(Decimal("1e-20"), context=ARITHMETIC).normalize(ARITHMETIC)


def _round(scope: Scope, call: Call) -> Step:
    argument = scope.expression(call.arguments[0]) if call.arguments else None

    def step(items: Items, env: Environment) -> Items:
        value = numeric(items, "round()")
        places = integer(argument(env), "round()") if argument else 0
        if value is None or places is None or not 0 <= places <= 40:
            return NOTHING
        if not places:
            return _result(_rounded(ROUND_HALF_UP)(value))
        try:
            return [Decimal(value).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP, ARITHMETIC)]
        except DecimalException:
            return NOTHING

    return step


NUMBERS: Final[dict[str, Function]] = {
    "abs": whole(_abs),
    "ceiling": _of_number("ceiling", _rounded(ROUND_CEILING)),
    "floor": _of_number("floor", _rounded(ROUND_FLOOR)),
    "truncate": _of_number("truncate", _rounded(ROUND_DOWN)),
    "round": Function(0, 1, _round),
    "sqrt": _of_number("sqrt", lambda v: ARITHMETIC.sqrt(Decimal(v)) if v >= 0 else None),
    "exp": _of_number("exp", lambda v: ARITHMETIC.exp(Decimal(v)) if -1_000 < v < 1_000 else None),
    "ln": _of_number("ln", lambda v: ARITHMETIC.ln(Decimal(v)) if v > 0 else None),
    "log": _with_number("log", _log),
    "power": _with_number("power", _power),
}


__all__ = ["NUMBERS"]
