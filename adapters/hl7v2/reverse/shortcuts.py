"""The commonest paths, run straight on JSON: `coding[0].code`, `value.ofType(Quantity).where(unit.exists()).value`.

A shortcut gives what schemas/fhirpath gives, or None: then the path itself has to be run. It never guesses: extensions
beside primitives, choices that are there twice and everything unusual is left to the path.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final, TypeAlias

from adapters.hl7v2.reverse.guards import stays_empty
from schemas.fhirpath.parser import parse
from schemas.fhirpath.tree import (
    Binary,
    Call,
    Chain,
    Index,
    Literal,
    Member,
    Node,
    Several,
    Special,
    Step,
)
from schemas.fhirpath.types import FHIR_TYPES, PRIMITIVES, choice_keys, is_a

Items: TypeAlias = list[object]
Quick: TypeAlias = Callable[[dict[str, object]], "Items | None"]
QuickTest: TypeAlias = Callable[[dict[str, object]], "bool | None"]
_Hop: TypeAlias = tuple[str, str, bool, int | None]
"""An element's name, that of what stands beside it, whether it is a choice, and which of several is meant."""
_QuickStep: TypeAlias = Callable[[Items], "Items | None"]
_RESOURCES: Final = ("Resource", "DomainResource", "Element")


@lru_cache(maxsize=4096)
def quick_path(text: str) -> Quick | None:
    """The shortcut of a path, if it has one. Raises `FhirPathError`."""
    return _path(parse(text))


@lru_cache(maxsize=4096)
def quick_test(text: str) -> QuickTest | None:
    """The shortcut of a condition, if it has one. Raises `FhirPathError`."""
    return _truth(parse(text))


def _path(node: Node) -> Quick | None:
    if isinstance(node, Special) and node.name == "$this":
        return lambda element: [element]
    if not isinstance(node, Chain) or node.start is not None or not node.steps:
        return None
    return _chain(node.steps)


def _chain(parts: tuple[Step, ...]) -> Quick | None:
    """The steps that have a shortcut; where others follow them, it can only tell that nothing is found."""
    steps: list[_QuickStep] = []
    at = 0
    while at < len(parts):
        part = parts[at]
        wanted = _type_wanted(parts[at + 1]) if at + 1 < len(parts) else ""
        if isinstance(part, Member) and wanted and choice_keys(part.name) is not None:
            step, taken = _choice(part.name, wanted), 2
        else:
            step, taken = _step(part), 1
        if step is None:
            break
        steps.append(step)
        at += taken
    rest = parts[at:]
    if not steps or not all(stays_empty(one) for one in rest):
        return None
    slow = _in_turn(tuple(steps), is_whole=not rest)
    hops = _hops(parts)
    return _straight(hops, slow) if hops else slow


def _hops(parts: tuple[Step, ...]) -> tuple[_Hop, ...]:
    """Names and the numbers behind them, for a path of nothing else; else none."""
    hops: list[_Hop] = []
    for part in parts:
        match part:
            case Member(name, _):
                hops.append((name, f"_{name}", choice_keys(name) is not None, None))
            case Index(Literal(int() as at), _) if hops and hops[-1][3] is None:
                hops[-1] = (*hops[-1][:3], int(at))
            case Call("first", (), _) if hops and hops[-1][3] is None:
                hops[-1] = (*hops[-1][:3], 0)
            case _:
                return ()
    return tuple(hops)


def _straight(hops: tuple[_Hop, ...], slow: Quick) -> Quick:
    """A path that leads to one value, as most do; where there are several on the way, `slow` goes along all."""

    def run(element: dict[str, object]) -> Items | None:
        here: object = element
        for name, beside, is_choice, at in hops:
            if not isinstance(here, dict):
                return []
            value = here.get(name)
            if beside in here or (value is None and is_choice):
                return None
            if isinstance(value, list):
                if at is None or not all(isinstance(one, dict) for one in value):
                    return slow(element)
                value = value[at] if at < len(value) else None
            elif at:
                return []
            if value is None:
                return []
            here = value
        return [here]

    return run


def _in_turn(steps: tuple[_QuickStep, ...], *, is_whole: bool) -> Quick:
    def run(element: dict[str, object]) -> Items | None:
        items: Items | None = [element]
        for step in steps:
            items = step(items)  # type: ignore[arg-type]  # a step that gives None ends the loop
            if not items:
                return items
        return items if is_whole else None

    return run


def _step(part: Step) -> _QuickStep | None:
    match part:
        case Member(name, _):
            return None if name[:1].isupper() else _member(name)
        case Index(Literal(int() as at), _) if not isinstance(at, bool) and at >= 0:
            return lambda items: items[at : at + 1]
        case Call("first", (), _):
            return lambda items: items[:1]
        case Call("where", (condition,), _):
            return _where(condition)
        case Call("ofType", _, _):
            return _resources_of(_type_wanted(part))
        case _:
            return None


def _resources_of(wanted: str) -> _QuickStep | None:
    if wanted not in FHIR_TYPES:
        return None

    def step(items: Items) -> Items | None:
        found: Items = []
        for item in items:
            kind = item.get("resourceType") if isinstance(item, dict) else None
            if not isinstance(kind, str):
                return None
            if is_a(kind, wanted):
                found.append(item)
        return found

    return step


def _member(name: str) -> _QuickStep:
    beside, is_choice = f"_{name}", choice_keys(name) is not None

    def step(items: Items) -> Items | None:
        found: Items = []
        for item in items:
            if not isinstance(item, dict):
                continue
            value = item.get(name)
            if beside in item or (value is None and is_choice):
                return None
            if isinstance(value, list):
                found += [one for one in value if one is not None and not isinstance(one, list)]
            elif value is not None:
                found.append(value)
        return found

    return step


def _choice(name: str, wanted: str) -> _QuickStep | None:
    """A choice of a type: `value.ofType(Quantity)`."""
    if wanted not in FHIR_TYPES or wanted in _RESOURCES:
        return None
    keys = choice_keys(name) or {}
    other = {name, f"_{name}", *(f"_{key}" for key in keys)}
    is_exact = wanted in PRIMITIVES

    def step(items: Items) -> Items | None:
        found: Items = []
        for item in items:
            if not isinstance(item, dict):
                continue
            held = [key for key in item if key in keys]
            if len(held) > 1 or not other.isdisjoint(item):
                return None
            value = item[held[0]] if held else None
            if value is None:
                continue
            if isinstance(value, list) or (isinstance(value, dict) and "resourceType" in value):
                return None
            kind = keys[held[0]]
            if kind == wanted or (not is_exact and is_a(kind, wanted)):
                found.append(value)
        return found

    return step


def _where(condition: Node) -> _QuickStep | None:
    test = _truth(condition)
    if test is None:
        return None

    def step(items: Items) -> Items | None:
        found: Items = []
        for item in items:
            holds = test(item) if isinstance(item, dict) else None
            if holds is None:
                return None
            if holds:
                found.append(item)
        return found

    return step


def _truth(node: Node) -> QuickTest | None:
    match node:
        case Several(("and" | "or") as operator, parts):
            tests = [_truth(part) for part in parts]
            known = tuple(test for test in tests if test is not None)
            return _joined(known, ends_at=operator == "or") if len(known) == len(tests) else None
        case Binary("=" | "!=" as operator, Chain(None, steps), Literal(str() as text)):
            path = _chain(steps)
            return _is_text(path, text, wanted=operator == "=") if path is not None else None
        case Chain(None, (*steps, Call("contains", (Literal(str() as text),), _))) if steps:
            path = _chain(tuple(steps))
            return _has_text(path, text) if path is not None else None
        case Chain(None, (*steps, Call(("exists" | "empty") as name, (), _))) if steps:
            path = _chain(tuple(steps))
            return _is_there(path, wanted=name == "exists") if path is not None else None
        case _:
            return None


def _joined(tests: tuple[QuickTest, ...], *, ends_at: bool) -> QuickTest:
    def test(element: dict[str, object]) -> bool | None:
        for one in tests:
            found = one(element)
            if found is None or found is ends_at:
                return found
        return not ends_at

    return test


def _is_there(path: Quick, *, wanted: bool) -> QuickTest:
    def test(element: dict[str, object]) -> bool | None:
        found = path(element)
        return None if found is None else bool(found) is wanted

    return test


def _is_text(path: Quick, text: str, *, wanted: bool) -> QuickTest:
    """One text that is the wanted one, or another; what is not there is neither."""

    def test(element: dict[str, object]) -> bool | None:
        found = path(element)
        if not found:
            return None if found is None else False
        return (found[0] == text) is wanted if len(found) == 1 and type(found[0]) is str else None

    return test


def _has_text(path: Quick, text: str) -> QuickTest:
    def test(element: dict[str, object]) -> bool | None:
        found = path(element)
        if not found:
            return None if found is None else False
        one = found[0]
        return text in one if len(found) == 1 and type(one) is str else None

    return test


def _type_wanted(step: Step) -> str:
    """`Quantity` of `ofType(Quantity)`; empty for every other step."""
    if not isinstance(step, Call) or step.name != "ofType":
        return ""
    named = step.arguments[0]
    if isinstance(named, Chain) and named.start is None and len(named.steps) == 1:
        only = named.steps[0]
        return only.name if isinstance(only, Member) else ""
    return ""


__all__ = ["Quick", "QuickTest", "quick_path", "quick_test"]
