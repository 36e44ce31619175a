"""What an element must hold for a path to find anything in it: most rules of a document are passed over at once.

Only what follows from the text of a path is used, and where it says nothing the path is run: a guard never changes a
result. Extensions beside primitives (`_status`) count as the element itself.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, TypeAlias

from schemas.fhirpath.parser import parse
from schemas.fhirpath.tree import Binary, Call, Chain, Literal, Member, Node, Several, Step
from schemas.fhirpath.types import choice_keys, is_a

Needs: TypeAlias = tuple[frozenset[str], ...]
"""Of each set the element has at least one key, or the path finds nothing; none: nothing is known."""
_EMPTY_STAYS: Final = frozenset(
    (
        "as", "contains", "distinct", "endsWith", "extension", "first", "getValue", "indexOf", "last", "length",
        "lower", "matches", "ofType", "replace", "select", "single", "skip", "split", "startsWith", "substring",
        "tail", "take",
        "toDecimal", "toInteger", "toString", "trim", "upper", "where",
    )
)  # fmt: skip
"""Functions that give nothing for nothing."""
_EMPTY_IS_FALSE: Final = frozenset(("exists", "hasValue"))
_EMPTY_IS_NOT_TRUE: Final = frozenset(("=", "!=", "<", "<=", ">", ">="))


@lru_cache(maxsize=4096)
def needs_of_path(text: str) -> Needs:
    """For a path that finds items. Raises `FhirPathError`."""
    return _of_value(parse(text))


@lru_cache(maxsize=4096)
def needs_of_test(text: str) -> Needs:
    """For a path that is true or false. Raises `FhirPathError`."""
    return _of_truth(parse(text))


def alternatives(several: list[Needs]) -> Needs:
    """What is needed where any one of several paths would do."""
    if not several or not all(several):
        return ()
    if len(several) == 1:
        return several[0]
    return (frozenset().union(*(one[0] for one in several)),)


def fits(needs: Needs, element: dict[str, object]) -> bool:
    """Whether an element has what is needed."""
    for keys in needs:  # noqa: SIM110 - without a generator: asked for each path of each element
        if keys.isdisjoint(element):
            return False
    return True


def stays_empty(step: Step) -> bool:
    """Whether a step finds nothing in nothing."""
    return not isinstance(step, Call) or step.name in _EMPTY_STAYS


def _of_truth(node: Node) -> Needs:
    match node:
        case Several("and", parts):
            return tuple(keys for part in parts for keys in _of_truth(part))
        case Several("or", parts):
            return alternatives([_of_truth(part) for part in parts])
        case Binary(operator, left, right) if operator in _EMPTY_IS_NOT_TRUE:
            return (*_of_value(left), *_of_value(right))
        case Binary("in", left, _):
            return _of_value(left)
        case Chain(start, (*steps, Call(name, _, _))) if steps and name in _EMPTY_IS_FALSE:
            return _of_value(Chain(start, tuple(steps)))
        case _:
            return _of_value(node)


def _of_value(node: Node) -> Needs:
    match node:
        case Several("|", parts):
            return alternatives([_of_value(part) for part in parts])
        case Chain(None, steps) if steps:
            return _of_steps(steps)
        case _:
            return ()


def _of_steps(steps: tuple[Step, ...]) -> Needs:
    if not all(stays_empty(step) for step in steps):
        return ()
    first, second = steps[0], steps[1] if len(steps) > 1 else None
    if isinstance(first, Member) and first.name[:1].isupper():
        return _of_steps(steps[1:]) if len(steps) > 1 else ()
    if isinstance(first, Call):
        return (frozenset({"extension"}),) if _is_extension(first) else ()
    if not isinstance(first, Member):
        return ()
    names = [first.name, *_choices(first.name, _type_wanted(second))]
    return (frozenset(f"{mark}{name}" for name in names for mark in ("", "_")),)


def _is_extension(call: Call) -> bool:
    return call.name == "extension" and isinstance(call.arguments[0], Literal)


def _type_wanted(step: Step | None) -> str:
    """`Quantity` of `ofType(Quantity)`; empty when another step follows."""
    if not isinstance(step, Call) or step.name != "ofType":
        return ""
    named = step.arguments[0]
    if isinstance(named, Chain) and named.start is None and len(named.steps) == 1:
        only = named.steps[0]
        return only.name if isinstance(only, Member) else ""
    return ""


def _choices(name: str, wanted: str) -> list[str]:
    keys = choice_keys(name) or {}
    return [key for key, kind in keys.items() if not wanted or is_a(kind, wanted)]


__all__ = ["Needs", "alternatives", "fits", "needs_of_path", "needs_of_test", "stays_empty"]
