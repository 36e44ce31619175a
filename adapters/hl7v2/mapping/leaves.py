"""Leaves of a segment: their places as numbers, and how the bytes of a field are cut into trimmed texts."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from adapters.hl7v2.codec.delimiters import Delimiters
from adapters.hl7v2.codec.message import Component

Parts = list[Component]
_NULL: Final = '""'
SHORT: Final = 128
"""Bytes of a field that can hold more parts than any limit allows only where a limit is smaller than that."""
_DELETED: Final = {code: None for code in (*range(0x20), 0x7F) if code not in (0x09, 0x0A, 0x0D)}

COMPONENT_BITS: Final = 10
FIELD_BITS: Final = 20
REPETITION_BITS: Final = 30
UNIT: Final = 1 << COMPONENT_BITS
NEXT: Final = 1 << REPETITION_BITS
PARTS: Final = (1 << COMPONENT_BITS) - 1
"""As many components or subcomponents a place can tell apart."""


def spot(field: int, repetition: int, component: int = 1, subcomponent: int = 1) -> int:
    """A leaf of a segment as a number: quick to make and to look up."""
    return (
        (repetition << REPETITION_BITS)
        + (field << FIELD_BITS)
        + (component << COMPONENT_BITS)
        + subcomponent
    )


def cut_text(text: str, repetition: str, component: str, subcomponent: str) -> list[Parts]:
    """A field of letters and separators alone, by repetition and component, trimmed."""
    found: list[Parts] = []
    for one in text.split(repetition):
        parts: Parts = [part.strip() for part in one.split(component)]
        if subcomponent in one:
            parts = [
                [inner.strip() for inner in part.split(subcomponent)]
                if isinstance(part, str) and subcomponent in part
                else part
                for part in parts
            ]
        found.append(parts)
    return found


@lru_cache(maxsize=256)
def complex_finder(marks: Delimiters) -> Callable[[bytes], object]:
    """Finds what makes a field more than separators and ASCII text: escapes, quotes, control and other bytes."""
    return re.compile(rb'[\x00-\x1f"\x7f-\xff' + re.escape(marks.escape) + rb"]").search


@lru_cache(maxsize=256)
def special_finder(marks: Delimiters) -> Callable[[bytes], object]:
    """Finds what makes a field more than a trimmed ASCII text: delimiters, quotes, control and other bytes."""
    delimiters = b"".join((marks.component, marks.repetition, marks.escape, marks.subcomponent))
    return re.compile(rb'[\x00-\x1f"\x7f-\xff' + re.escape(delimiters) + rb"]|\A | \Z").search


@lru_cache(maxsize=256)
def separators(marks: Delimiters) -> tuple[str, str, str] | None:
    """The separators of repetitions, components and subcomponents; None where a message lacks one."""
    found = marks.repetition, marks.component, marks.subcomponent
    if not all(found):
        return None
    repetition, component, subcomponent = (one.decode("ascii") for one in found)
    return repetition, component, subcomponent


def clean(parts: Parts) -> None:
    """Trim the leaves of a repetition, and make nulls and control characters empty, in place."""
    for i, part in enumerate(parts):
        if isinstance(part, str):
            if part:
                parts[i] = _cleaned(part)
        else:
            parts[i] = [_cleaned(one) for one in part]


def _cleaned(text: str) -> str:
    if not text.isprintable():
        text = text.translate(_DELETED)
    return "" if text == _NULL else text.strip()


def leaf(parts: Parts, component: int, subcomponent: int) -> str:
    """The text of a leaf; 0 means the first. Empty when it is not there."""
    if component > 1:
        if component > len(parts):
            return ""
        part = parts[component - 1]
    elif parts:
        part = parts[0]
    else:
        return ""
    if isinstance(part, str):
        return part if subcomponent <= 1 else ""
    at = subcomponent or 1
    return part[at - 1] if at <= len(part) else ""


def below(parts: Parts, component: int, subcomponent: int) -> Parts:
    """The value at an address, as the parts that a data type document sees."""
    if not component:
        return parts
    if component > len(parts):
        return []
    part = parts[component - 1]
    if subcomponent:
        return [leaf(parts, component, subcomponent)]
    return [part] if isinstance(part, str) else list(part)


def is_valued(parts: Parts) -> bool:
    """Whether any leaf holds a text."""
    for part in parts:  # noqa: SIM110  # the first part usually says it: a generator costs more
        if part and (isinstance(part, str) or any(part)):
            return True
    return False


__all__ = [
    "COMPONENT_BITS",
    "FIELD_BITS",
    "NEXT",
    "PARTS",
    "REPETITION_BITS",
    "SHORT",
    "UNIT",
    "Parts",
    "below",
    "clean",
    "complex_finder",
    "cut_text",
    "is_valued",
    "leaf",
    "separators",
    "special_finder",
    "spot",
]
