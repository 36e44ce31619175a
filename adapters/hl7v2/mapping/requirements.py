"""What a resource must have to be valid: required elements, and codes of required value sets.

Paths and types are checked when tables are loaded; only what depends on the message is looked at here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from adapters.hl7v2.mapping.protocol import Json
from adapters.hl7v2.mapping.shapes import QUANTITIES, Element, Shapes

Say = Callable[[str, str], None]
"""Takes a path within the resource, and what is wrong there."""
_ANY_EXTENSION: Final = frozenset({"extension", "modifierExtension"})


class Plan:
    """What to look at in a type: its elements that can be wrong, and what must be there."""

    __slots__ = ("elements", "required", "single")

    def __init__(self) -> None:
        self.single: tuple[tuple[str, str], ...] = ()
        """Of the required that are no choice: names, and those with `_`."""
        self.elements: dict[str, tuple[Element, Plan | None]] = {}
        self.required: tuple[tuple[str, ...], ...] = ()
        """Each a choice of names of which one must be there."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing of the type can be wrong."""
        return not self.elements and not self.required


class Plans:
    """The plans of one set of tables, by type.

    `risky` are the coded elements (type and name) that a rule may write any code to. Others are written only with codes
    that were checked when the tables were loaded.
    """

    def __init__(self, risky: frozenset[tuple[str, str]], shapes: Shapes) -> None:
        self._risky = risky
        self._shapes = shapes
        self._known: dict[str, Plan | None] = {}

    def of(self, kind: str) -> Plan | None:
        """The plan of a type; None when nothing of it can be wrong."""
        if kind not in self._known:
            plans: dict[str, Plan] = {}
            self._build(kind, plans)
            _thin(plans)
            self._known[kind] = None if plans[kind].is_empty else plans[kind]
        return self._known[kind]

    def _build(self, kind: str, plans: dict[str, Plan]) -> None:
        plan = plans[kind] = Plan()
        choices: dict[str, list[str]] = {}
        for name, found in self._shapes.types.get(kind, {}).items():
            element = found
            if element.is_required:
                choices.setdefault(element.choice or name, []).append(name)
            if name in _ANY_EXTENSION or element.type == "Resource":
                continue
            if element.codes is not None and not self._is_risky(kind, name):
                element = replace(element, codes=None)
            if not element.is_primitive and element.type not in plans:
                self._build(element.type, plans)
            inner = None if element.is_primitive else plans[element.type]
            if inner is not None or element.codes is not None:
                plan.elements[name] = (element, inner)
        plan.required = tuple(tuple(names) for names in choices.values())
        plan.single = tuple(
            (names[0], f"_{names[0]}") for names in plan.required if len(names) == 1
        )

    def _is_risky(self, kind: str, name: str) -> bool:
        owner = "Quantity" if kind in QUANTITIES else kind
        return (owner, name) in self._risky or (kind, name) in self._risky


def _thin(plans: dict[str, Plan]) -> None:
    """Leave out what can never be wrong, from the inside."""
    is_changed = True
    while is_changed:
        is_changed = False
        for plan in plans.values():
            for name, (element, inner) in list(plan.elements.items()):
                if inner is not None and inner.is_empty and element.codes is None:
                    del plan.elements[name]
                    is_changed = True


_BLANKS: Final[tuple[Json, ...]] = (None, "", [], {})


def is_sound(body: dict[str, Json], plan: Plan) -> bool:
    """Whether `check` has nothing against it: the same questions, without words for the answers."""
    elements = plan.elements
    for name, value in body.items():
        found = elements.get(name)
        if found is None:
            continue
        element, inner = found
        codes = element.codes
        for one in value if isinstance(value, list) else (value,):
            if isinstance(one, dict):
                if codes is not None and not _has_code(one, codes):
                    return False
                if inner is not None and not is_sound(one, inner):
                    return False
            elif codes is not None and one not in codes:
                return False
    for name, extended in plan.single:
        if not body.get(name) and body.get(name) in _BLANKS and not body.get(extended):
            return False
    return len(plan.single) == len(plan.required) or _has_choices(body, plan)


def _has_choices(body: dict[str, Json], plan: Plan) -> bool:
    return all(
        any(body.get(name) not in _BLANKS or body.get(f"_{name}") for name in names)
        for names in plan.required
    )


def check(body: dict[str, Json], plan: Plan, path: str, say: Say, dead: list[object]) -> bool:
    """Take away what is not valid, and add it to `dead`; False when the object itself cannot be."""
    elements, gone = plan.elements, []
    for name, value in body.items():
        found = elements.get(name)
        if found is None:
            continue
        element, inner = found
        if isinstance(value, list):
            kept = [
                one
                for i, one in enumerate(value)
                if _is_valid(one, element, inner, f"{path}.{name}[{i}]", say, dead)
            ]
            if len(kept) == len(value):
                continue
            dead.extend(one for one in value if not any(one is other for other in kept))
            if kept:
                value[:] = kept
                continue
        elif _is_valid(value, element, inner, f"{path}.{name}", say, dead):
            continue
        dead.append(value)
        gone.append(name)
    for name in gone:
        del body[name]
    for names in plan.required:
        if not any(
            body.get(name) not in _BLANKS or body.get(f"_{name}") for name in names
        ):  # an extension of a primitive may say why its value is missing
            say(
                path,
                f"{names[0] if len(names) == 1 else names[0] + ' or another type of it'} is required",
            )
            return False
    return True


def _is_valid(
    value: Json, element: Element, inner: Plan | None, path: str, say: Say, dead: list[object]
) -> bool:
    codes = element.codes
    if isinstance(value, dict):
        if codes is not None and not _has_code(value, codes):
            say(path, "no code of the required value set")
            return False
        return inner is None or inner.is_empty or check(value, inner, path, say, dead)
    if codes is not None and value not in codes:
        say(path, "the code is not in the required value set")
        return False
    return True


def _has_code(value: dict[str, Json], codes: frozenset[str]) -> bool:
    if "code" in value or "coding" not in value:
        return value.get("code") in codes
    codings = value["coding"]
    return isinstance(codings, list) and any(
        isinstance(one, dict) and one.get("code") in codes for one in codings
    )


__all__ = ["Plan", "Plans", "check", "is_sound"]
