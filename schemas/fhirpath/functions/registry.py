"""What a function is: how many arguments it takes, and how its call becomes a step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Protocol

from schemas.fhirpath import compare
from schemas.fhirpath.environment import Environment, Expression, Step, Truth
from schemas.fhirpath.errors import Failure, FhirPathError, PathFailed
from schemas.fhirpath.temporal import Temporal
from schemas.fhirpath.tree import Call, Node
from schemas.fhirpath.types import TypeModel
from schemas.fhirpath.values import Items, Number

MAX_TEXT: Final = 1_000_000
_CHARACTERS_A_STEP: Final = 64


class Scope(Protocol):
    """What the compiler offers to functions."""

    @property
    def model(self) -> TypeModel | None:
        """The release's elements, where the caller gave them."""
        ...

    def expression(self, node: Node) -> Expression:
        """Compile an argument."""
        ...

    def truth(self, node: Node, *, strictly: bool = False) -> Truth:
        """Compile an argument that is a condition; `strictly`: of booleans only."""
        ...

    def type_name(self, node: Node) -> tuple[str, str]:
        """Namespace and name of a type that an argument names. Raises `FhirPathError`."""
        ...

    def error(self, detail: str, position: int) -> FhirPathError:
        """An error that shows a place."""
        ...

    def needs_clock(self) -> None:
        """Note that the path asks for the present."""
        ...


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the closed subset."""

    least: int
    most: int
    build: Callable[[Scope, Call], Step]


TRUE: Final[Items] = [True]
FALSE: Final[Items] = [False]
NOTHING: Final[Items] = []


def boolean(value: bool | None) -> Items:
    """A truth value as a collection."""
    return NOTHING if value is None else TRUE if value else FALSE


def single(items: Items, where: str) -> object:
    """The System value of the only item; None when there is none. Raises `PathFailed` for several."""
    if not items:
        return None
    if len(items) > 1:
        raise PathFailed(Failure.SINGLETON, where)
    return compare.system(items[0])


def text(items: Items, where: str) -> str | None:
    """The only item, which must be a text."""
    value = single(items, where)
    if value is None or type(value) is str:
        return value
    if isinstance(value, Temporal):
        return str(value)
    raise PathFailed(Failure.TYPE, where)


def integer(items: Items, where: str) -> int | None:
    """The only item, which must be a whole number."""
    value = single(items, where)
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    if isinstance(value, Decimal) and value.adjusted() < 20 and value == value.to_integral_value():
        return int(value)
    raise PathFailed(Failure.TYPE, where)


def numeric(items: Items, where: str) -> Number | None:
    """The only item, which must be a number."""
    value = single(items, where)
    if value is None or (isinstance(value, int | Decimal) and not isinstance(value, bool)):
        return value
    raise PathFailed(Failure.TYPE, where)


def bounded(value: str, env: Environment, where: str) -> Items:
    """A text that was made, as a collection. Counts its length as work."""
    if len(value) > MAX_TEXT:
        raise PathFailed(Failure.SIZE, where, f"at most {MAX_TEXT} characters")
    env.spend(len(value) // _CHARACTERS_A_STEP)
    return [value]


def whole(change: Callable[[Items, Environment], Items]) -> Function:
    """A function of the whole collection, without arguments."""
    return Function(0, 0, lambda scope, call: change)


def with_items(change: Callable[[Items, Items, Environment], Items]) -> Function:
    """A function of the collection and one other collection."""

    def build(scope: Scope, call: Call) -> Step:
        other = scope.expression(call.arguments[0])
        return lambda items, env: change(items, other(env), env)

    return Function(1, 1, build)


__all__ = [
    "FALSE",
    "MAX_TEXT",
    "NOTHING",
    "TRUE",
    "Function",
    "Scope",
    "boolean",
    "bounded",
    "integer",
    "numeric",
    "single",
    "text",
    "whole",
    "with_items",
]
