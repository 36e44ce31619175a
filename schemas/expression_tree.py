"""The tree that a condition becomes, and the error that shows where one is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from schemas.errors import MeshError


class ExpressionError(MeshError, ValueError):
    """An expression is wrong. The message shows the place with a caret and what was allowed there."""

    code: ClassVar[str] = "expression"

    def __init__(self, detail: str, text: str, position: int) -> None:
        start = max(0, position - 60)
        shown = "".join(c if c.isprintable() else " " for c in text[start : position + 40])
        caret = " " * (position - start) + "^"
        super().__init__(f"column {position + 1}: {detail}\n  {shown}\n  {caret}")
        self.position = position


class Function(Enum):
    """What is taken of a path."""

    VALUES = "values"
    COUNT = "count"
    LENGTH = "length"


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A path, or a number made from it."""

    function: Function
    path: str
    position: int

    @property
    def is_number(self) -> bool:
        """Whether it is a number by itself."""
        return self.function is not Function.VALUES


Literal = str | float


@dataclass(frozen=True, slots=True, kw_only=True)
class Compare:
    """`value operator literal`, or membership in several literals (`operator` is `in`)."""

    value: Value
    operator: str
    literals: tuple[Literal, ...]
    is_negated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Valued:
    """Whether the path has a value."""

    value: Value
    is_negated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StartsWith:
    """Whether a value starts with a text."""

    value: Value
    prefix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Matches:
    """Whether a whole value has the shape of a pattern: `*` for any characters, `?` for one."""

    value: Value
    pattern: str


@dataclass(frozen=True, slots=True)
class Not:
    """Negation."""

    inner: Node


@dataclass(frozen=True, slots=True)
class Every:
    """All of them (`and`)."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Some:
    """At least one of them (`or`)."""

    parts: tuple[Node, ...]


Node = Compare | Valued | StartsWith | Matches | Not | Every | Some


__all__ = [
    "Compare",
    "Every",
    "ExpressionError",
    "Function",
    "Literal",
    "Matches",
    "Node",
    "Not",
    "Some",
    "StartsWith",
    "Value",
    "Valued",
]
