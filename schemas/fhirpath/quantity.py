"""Quantities: a decimal and a unit, calendar words or UCUM, converted where both units are known."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, DecimalException
from functools import lru_cache
from typing import Final

from schemas.fhirpath.values import ARITHMETIC, Json, number

CALENDAR: Final = ("year", "month", "week", "day", "hour", "minute", "second", "millisecond")
_WORDS: Final = {**{word: word for word in CALENDAR}, **{f"{word}s": word for word in CALENDAR}}
_UCUM_OF_WORD: Final = {
    "week": "wk",
    "day": "d",
    "hour": "h",
    "minute": "min",
    "second": "s",
    "millisecond": "ms",
}
_WORD_OF_UCUM: Final = {code: word for word, code in _UCUM_OF_WORD.items()}
_TEXT: Final = re.compile(
    r"([+-]?\d{1,40}(?:\.\d{1,40})?)(?:\s*'([^']{1,64})'|\s+([a-z]{3,12}))?\Z", re.ASCII
)
UCUM: Final = "http://unitsofmeasure.org"

# UCUM atoms: factor, dimensions, whether they take a metric prefix. `year` and `month` are the calendar's own.
_ATOMS: Final[dict[str, tuple[str, dict[str, int], bool]]] = {
    **{base: ("1", {base: 1}, True) for base in ("m", "g", "s", "K", "A", "cd", "mol", "U", "eq")},
    **{base: ("1", {base: 1}, False) for base in ("Cel", "[degF]", "[pH]")},
    "[IU]": ("1", {"[IU]": 1}, True),
    "[iU]": ("1", {"[IU]": 1}, True),
    "osm": ("1", {"osm": 1}, True),
    "L": ("0.001", {"m": 3}, True),
    "l": ("0.001", {"m": 3}, True),
    "N": ("1000", {"g": 1, "m": 1, "s": -2}, True),
    "Pa": ("1000", {"g": 1, "m": -1, "s": -2}, True),
    "bar": ("100000000", {"g": 1, "m": -1, "s": -2}, True),
    "m[Hg]": ("133322000", {"g": 1, "m": -1, "s": -2}, True),
    "J": ("1000", {"g": 1, "m": 2, "s": -2}, True),
    "cal": ("4184", {"g": 1, "m": 2, "s": -2}, True),
    "W": ("1000", {"g": 1, "m": 2, "s": -3}, True),
    "Hz": ("1", {"s": -1}, True),
    "min": ("60", {"s": 1}, False),
    "h": ("3600", {"s": 1}, False),
    "d": ("86400", {"s": 1}, False),
    "wk": ("604800", {"s": 1}, False),
    "mo": ("1", {"mo": 1}, False),
    "a": ("12", {"mo": 1}, False),
    "month": ("1", {"month": 1}, False),
    "year": ("12", {"month": 1}, False),
    "[lb_av]": ("453.59237", {"g": 1}, False),
    "[oz_av]": ("28.349523125", {"g": 1}, False),
    "[in_i]": ("0.0254", {"m": 1}, False),
    "[ft_i]": ("0.3048", {"m": 1}, False),
    "%": ("0.01", {}, False),
    "10*": ("10", {}, False),
    "10^": ("10", {}, False),
    "1": ("1", {}, False),
}
_PREFIXES: Final = {
    "da": 1, "h": 2, "k": 3, "M": 6, "G": 9, "T": 12, "d": -1, "c": -2, "m": -3, "u": -6, "n": -9,
    "p": -12, "f": -15,
}  # fmt: skip
_COMPONENT: Final = re.compile(r"(10[*^]|1|[^\d./{}+-]+)([+-]?\d{1,2})?(?:\{[^{}]*\})?\Z")
Canonical = tuple[Decimal, tuple[tuple[str, int], ...]]


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number of a unit. `unit` is a calendar word in the singular, or a UCUM code; `1` is no unit."""

    value: Decimal
    unit: str
    is_calendar: bool = False
    text: str = ""

    def __str__(self) -> str:
        number_text = self.text or format(self.value, "f")
        if not self.is_calendar:
            return f"{number_text} '{self.unit}'"
        return f"{number_text} {self.unit}{'' if abs(self.value) == 1 else 's'}"

    def json(self) -> dict[str, Json]:
        """As a FHIR Quantity."""
        if self.is_calendar:
            return {"value": self.value, "unit": self.unit}
        return {"value": self.value, "system": UCUM, "code": self.unit}

    @property
    def calendar_unit(self) -> str | None:
        """The calendar word that can be added to dates, also for UCUM units of a fixed length."""
        return (
            self.unit if self.is_calendar else _WORD_OF_UCUM.get(self.unit, _WORDS.get(self.unit))
        )


def parse_quantity(text: str) -> Quantity | None:
    """A quantity's text: `4 days`, `10.5 'mg'`, `7`."""
    found = _TEXT.match(text) if len(text) <= 160 else None
    if found is None:
        return None
    value, code, word = found.groups()
    if word is not None:
        singular = _WORDS.get(word)
        return None if singular is None else Quantity(Decimal(value), singular, True)
    return Quantity(Decimal(value), code or "1")


def calendar_word(text: str) -> str | None:
    """The singular of a calendar unit's word."""
    return _WORDS.get(text)


def quantity_of(element: Mapping[str, object]) -> Quantity | None:
    """The quantity that a FHIR Quantity element stands for; None without a value or with a comparator."""
    value = number(element.get("value"))
    if value is None or "comparator" in element:
        return None
    code, unit = element.get("code"), element.get("unit")
    chosen = code if isinstance(code, str) else unit if isinstance(unit, str) else "1"
    return Quantity(Decimal(value), chosen)


def common(
    left: Quantity, right: Quantity, *, loosely: bool = False
) -> tuple[Decimal, Decimal] | None:
    """Both values in one unit; None when the units do not compare. `loosely`: a year is 1 'a', a month 1 'mo'."""
    if left.unit == right.unit and left.is_calendar == right.is_calendar:
        return left.value, right.value
    one, other = canonical(_code(left, loosely)), canonical(_code(right, loosely))
    if one is None or other is None or one[1] != other[1]:
        return None
    try:
        return ARITHMETIC.multiply(left.value, one[0]), ARITHMETIC.multiply(right.value, other[0])
    except DecimalException:
        return None


def canonical_key(quantity: Quantity) -> tuple[object, ...]:
    """A key that is equal for quantities that are equal."""
    found = canonical(_code(quantity, False))
    try:
        if found is not None:
            return ("Quantity", ARITHMETIC.multiply(quantity.value, found[0]), found[1])
    except DecimalException:
        pass
    return ("Quantity", quantity.value, quantity.unit)


def joined(left: str, right: str, operator: str) -> str | None:
    """The unit of a product (`.`) or quotient (`/`); None when it has no simple text."""
    if right == "1":
        return left
    if operator == "/" and ("/" in right or "." in right):
        return None
    unit = f"{left}{operator}{right}"
    return None if len(unit) > 64 else unit


def _code(quantity: Quantity, loosely: bool) -> str:
    if not quantity.is_calendar:
        return quantity.unit
    if loosely:
        return {"year": "a", "month": "mo"}.get(quantity.unit) or _UCUM_OF_WORD[quantity.unit]
    return _UCUM_OF_WORD.get(quantity.unit, quantity.unit)


@lru_cache(maxsize=256)
def canonical(unit: str) -> Canonical | None:
    """Factor and dimensions of a UCUM unit in base units; None when a part of it is not known here."""
    if len(unit) > 64:
        return None
    factor, dimensions = Decimal(1), dict[str, int]()
    sign = 1
    for part in re.split(r"([./])", unit if not unit.startswith("/") else f"1{unit}"):
        if part in (".", "/"):
            sign = -1 if part == "/" else 1
            continue
        found = _component(part)
        if found is None:
            return None
        size, dims, power = found
        factor = ARITHMETIC.multiply(factor, ARITHMETIC.power(size, power * sign))
        for base, exponent in dims.items():
            dimensions[base] = dimensions.get(base, 0) + exponent * power * sign
    return factor, tuple(sorted((base, n) for base, n in dimensions.items() if n))


def _component(part: str) -> tuple[Decimal, dict[str, int], int] | None:
    found = _COMPONENT.match(part)
    if found is None:
        return None
    atom, power = found[1], int(found[2] or 1)
    if atom in _ATOMS:
        factor, dims, _ = _ATOMS[atom]
        return Decimal(factor), dims, power
    for size in (1, 2):
        prefix, rest = atom[:size], atom[size:]
        if prefix in _PREFIXES and rest in _ATOMS and _ATOMS[rest][2]:
            factor, dims, _ = _ATOMS[rest]
            return Decimal(factor).scaleb(_PREFIXES[prefix]), dims, power
    return None


__all__ = [
    "CALENDAR",
    "Quantity",
    "calendar_word",
    "canonical_key",
    "common",
    "joined",
    "parse_quantity",
    "quantity_of",
]
