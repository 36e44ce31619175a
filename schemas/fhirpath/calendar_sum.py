"""A date or time plus a number of calendar units (FHIRPath 2.0 §6.6.7)."""

from __future__ import annotations

from calendar import monthrange
from dataclasses import replace
from datetime import date
from typing import Final

from schemas.fhirpath.temporal import Temporal

_MILLISECONDS: Final = {
    "week": 604_800_000,
    "day": 86_400_000,
    "hour": 3_600_000,
    "minute": 60_000,
    "second": 1_000,
    "millisecond": 1,
}
_DAY: Final = _MILLISECONDS["day"]
_PRECISION: Final = ("year", "month", "day", "hour", "minute", "second")
_FARTHEST: Final = 10**16


def plus(value: Temporal, amount: int, unit: str) -> Temporal | None:
    """The sum, in the value's own precision; None when it leaves the years 1 to 9999. `unit` is a singular word."""
    if abs(amount) > _FARTHEST:
        return None
    if value.kind == "Time":
        return _plus_time(value, amount, unit)
    if unit in ("year", "month"):
        return _plus_months(value, amount * (12 if unit == "year" else 1))
    if len(value.fields) < 3:
        days = _toward_zero(amount * _MILLISECONDS[unit], _DAY)
        months = _toward_zero(days, 365) * 12 if len(value.fields) == 1 else _toward_zero(days, 30)
        return _plus_months(value, months)
    return _plus_milliseconds(value, amount * _MILLISECONDS[unit], unit)


def _plus_months(value: Temporal, months: int) -> Temporal | None:
    if len(value.fields) == 1:
        year, month = value.fields[0] + _toward_zero(months, 12), 1
    else:
        total = value.fields[0] * 12 + value.fields[1] - 1 + months
        year, month = total // 12, total % 12 + 1
    if not 1 <= year <= 9999:
        return None
    fields = (year, month, *value.fields[2:])[: len(value.fields)]
    if len(fields) > 2:
        fields = (year, month, min(fields[2], monthrange(year, month)[1]), *fields[3:])
    return replace(value, fields=fields)


def _plus_milliseconds(value: Temporal, amount: int, unit: str) -> Temporal | None:
    clock = value.fields[3:]
    amount = _whole(amount, len(value.fields), value.fraction, unit)
    milliseconds = _of_day(clock) + _fraction(value.fraction) + amount
    days, left = divmod(milliseconds, _DAY)
    day = value.ordinal + days
    if not 1 <= day <= date.max.toordinal():
        return None
    new = date.fromordinal(day)
    fields = (new.year, new.month, new.day, *_clock(left))[: len(value.fields)]
    return replace(value, fields=fields, fraction=_digits(value.fraction, left))


def _plus_time(value: Temporal, amount: int, unit: str) -> Temporal | None:
    if unit not in _MILLISECONDS or unit in ("week", "day"):
        return None
    amount = _whole(amount * _MILLISECONDS[unit], len(value.fields) + 3, value.fraction, unit)
    left = (_of_day(value.fields) + _fraction(value.fraction) + amount) % _DAY
    return replace(
        value, fields=_clock(left)[: len(value.fields)], fraction=_digits(value.fraction, left)
    )


def _whole(amount: int, known: int, fraction: str, unit: str) -> int:
    """What of an amount counts at the value's precision."""
    if known == 6 and (fraction or unit != "millisecond"):
        return amount
    size = _MILLISECONDS[_PRECISION[known - 1]]
    return _toward_zero(amount, size) * size


def _of_day(clock: tuple[int, ...]) -> int:
    return sum(
        part * _MILLISECONDS[unit]
        for part, unit in zip(clock, ("hour", "minute", "second"), strict=False)
    )


def _clock(milliseconds: int) -> tuple[int, int, int]:
    seconds = milliseconds // 1000
    return seconds // 3600, seconds // 60 % 60, seconds % 60


def _fraction(digits: str) -> int:
    return int(digits[:3].ljust(3, "0"))


def _digits(old: str, milliseconds: int) -> str:
    """The fraction after a sum: as many digits as before, those below the millisecond unchanged."""
    if not old:
        return ""
    return f"{milliseconds % 1000:03}"[: max(len(old), 3)] + old[3:]


def _toward_zero(amount: int, size: int) -> int:
    return amount // size if amount >= 0 else -(-amount // size)


__all__ = ["plus"]
