"""The tree that a path's text becomes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from schemas.fhirpath.quantity import Quantity
from schemas.fhirpath.temporal import Temporal
from schemas.fhirpath.values import Number


@dataclass(frozen=True, slots=True)
class Literal:
    """A value written in the path; None is the empty collection `{}`."""

    value: str | bool | Number | Temporal | Quantity | None


@dataclass(frozen=True, slots=True)
class Variable:
    """`%name`."""

    name: str
    position: int


@dataclass(frozen=True, slots=True)
class Special:
    """One of `$this`, `$index` and `$total`."""

    name: str
    position: int


@dataclass(frozen=True, slots=True)
class Member:
    """An element's name."""

    name: str
    position: int


@dataclass(frozen=True, slots=True)
class Call:
    """A function and its arguments."""

    name: str
    arguments: tuple[Node, ...]
    position: int


@dataclass(frozen=True, slots=True)
class Index:
    """`[expression]`."""

    index: Node
    position: int


Step: TypeAlias = Member | Call | Index


@dataclass(frozen=True, slots=True)
class Chain:
    """Steps one after the other, from `start` or from the focus."""

    start: Node | None
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Negative:
    """`-operand`."""

    operand: Node
    position: int


@dataclass(frozen=True, slots=True)
class Binary:
    """Two operands and an operator."""

    operator: str
    left: Node
    right: Node
    position: int


@dataclass(frozen=True, slots=True)
class Several:
    """Operands joined by one associative operator: `and`, `or` or `|`."""

    operator: str
    parts: tuple[Node, ...]
    position: int


@dataclass(frozen=True, slots=True)
class TypeTest:
    """`operand is Type` or `operand as Type`."""

    operator: str
    operand: Node
    type_name: str
    position: int


Node: TypeAlias = Literal | Variable | Special | Chain | Negative | Binary | Several | TypeTest


__all__ = [
    "Binary",
    "Call",
    "Chain",
    "Index",
    "Literal",
    "Member",
    "Negative",
    "Node",
    "Several",
    "Special",
    "Step",
    "TypeTest",
    "Variable",
]
