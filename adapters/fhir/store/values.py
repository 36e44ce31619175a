"""How the values of search parameters are written (FHIR R4 §3.1.1.4): escapes, lists, prefixes, precision. Pure."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Final, NamedTuple

from adapters.fhir.store.refusals import invalid

_NUMBER: Final = re.compile(r"[+-]?(?:\d{1,40}(?:\.\d{0,40})?|\.\d{1,40})(?:[eE][+-]?\d{1,3})?\Z")
_ESCAPE: Final = re.compile(r"\\([\\,|$])")
_PREFIX_CHARS: Final = 2
_HALF: Final = Decimal("0.5")


class Prefix(StrEnum):
    """How a value is compared (FHIR R4 §3.1.1.4.6)."""

    EQ = "eq"
    NE = "ne"
    GT = "gt"
    LT = "lt"
    GE = "ge"
    LE = "le"
    SA = "sa"
    EB = "eb"
    AP = "ap"


class Bounds(NamedTuple):
    """A number: what its precision leaves open, and itself."""

    low: float
    high: float
    exact: float


def split(text: str, separator: str) -> list[str]:
    """The parts between unescaped separators, still escaped."""
    parts: list[str] = []
    start = at = 0
    while at < len(text):
        if text[at] == "\\":
            at += 2
            continue
        if text[at] == separator:
            parts.append(text[start:at])
            start = at + 1
        at += 1
    return [*parts, text[start:]]


def unescaped(text: str) -> str:
    r"""Without the backslash of `\,`, `\|`, `\$` and `\\`."""
    return _ESCAPE.sub(r"\1", text)


def prefixed(text: str) -> tuple[Prefix, str]:
    """The prefix, `eq` where there is none, and the rest."""
    if text[:2] in set(Prefix) and len(text) > _PREFIX_CHARS:
        return Prefix(text[:2]), text[_PREFIX_CHARS:]
    return Prefix.EQ, text


def bounds_of(text: str, parameter: str) -> Bounds:
    """A number with half a unit of its last digit to both sides: 100 is 99.5 to 100.5. Raises `Refusal`."""
    if not _NUMBER.match(text):
        raise invalid(
            "a number is expected, e.g. 5.40", expression=f"http.{parameter}", code="value"
        )
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise invalid(
            "a number is expected", expression=f"http.{parameter}", code="value"
        ) from None
    exponent = value.as_tuple().exponent
    half = _HALF.scaleb(exponent) if isinstance(exponent, int) else Decimal(0)
    if isinstance(exponent, int) and exponent > 0 and "." not in text:
        half = half.scaleb(-1)  # 1e2 is 95 to 105 (FHIR R4 §3.1.1.4.8)
    return Bounds(float(value - half), float(value + half), float(value))


__all__ = ["Bounds", "Prefix", "bounds_of", "prefixed", "split", "unescaped"]
