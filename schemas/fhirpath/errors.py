"""What can be wrong with a path: its text, when it is compiled, or what it is asked of a resource, when it is run."""

from __future__ import annotations

from enum import Enum
from typing import ClassVar

from schemas.errors import MeshError
from schemas.expression_tree import ExpressionError


class FhirPathError(ExpressionError):
    """A path does not compile. The message shows the place with a caret and what was allowed there."""

    code: ClassVar[str] = "fhirpath"


class Failure(Enum):
    """Why a path could not be evaluated. The values are stable: metrics carry them."""

    SINGLETON = "singleton"
    """Several items where the specification demands at most one (FHIRPath 2.0 §4.5)."""
    TYPE = "type"
    """An operand's type does not fit the operator or function."""
    UNIT = "unit"
    """A quantity's unit does not fit the operator."""
    VARIABLE = "variable"
    """The path names a variable that the caller did not give."""
    CLOCK = "clock"
    """The path asks for the present, and the caller gave none."""
    BUDGET = "budget"
    """The evaluation took more steps than it may."""
    DEPTH = "depth"
    """The resource is nested deeper than any FHIR resource is."""
    SIZE = "size"
    """A text grew longer than it may."""


class PathFailed(MeshError, ValueError):
    """A path could not be evaluated on a resource. Names the reason and the function, never a value."""

    code: ClassVar[str] = "fhirpath_failed"

    def __init__(self, failure: Failure, where: str, detail: str = "") -> None:
        super().__init__(f"{where}: {failure.value}" + (f": {detail}" if detail else ""))
        self.failure = failure


__all__ = ["Failure", "FhirPathError", "PathFailed"]
