"""The functions of the closed subset, by name."""

from __future__ import annotations

from typing import Final

from schemas.fhirpath.functions.boundaries import BOUNDARIES
from schemas.fhirpath.functions.conversions import CONVERSIONS
from schemas.fhirpath.functions.elements import ELEMENTS
from schemas.fhirpath.functions.loops import LOOPS
from schemas.fhirpath.functions.numbers import NUMBERS
from schemas.fhirpath.functions.registry import Function
from schemas.fhirpath.functions.sets import SETS
from schemas.fhirpath.functions.texts import TEXTS

FUNCTIONS: Final[dict[str, Function]] = (
    SETS | LOOPS | TEXTS | CONVERSIONS | NUMBERS | BOUNDARIES | ELEMENTS
)

__all__ = ["FUNCTIONS"]
