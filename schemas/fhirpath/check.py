"""Names against a release: an element that cannot be there is an error when a path is compiled."""

from __future__ import annotations

import difflib
from typing import Final

from schemas.fhirpath.errors import FhirPathError
from schemas.fhirpath.shape import walk
from schemas.fhirpath.tree import (
    Call,
    Chain,
    Index,
    Member,
    Node,
    Several,
    Special,
    Step,
    TypeTest,
    Variable,
)
from schemas.fhirpath.types import FHIR_TYPES, PRIMITIVES, TypeModel, is_a


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_SAME: Final = frozenset(
    _words("""
    where first last tail single skip take distinct exclude intersect trace sort getValue
""")
)
_FILTERS: Final = frozenset(("ofType", "as"))
_TEXT_ONLY: Final = frozenset(
    _words("""
    startsWith endsWith contains indexOf lastIndexOf substring upper lower replace matches matchesFull
    replaceMatches length toChars trim split
""")
)
_BODIES: Final = frozenset(("where", "select", "exists", "all", "repeat", "trace", "sort"))
_OF_PRIMITIVES: Final = ("id", "extension")
_Types = frozenset[str] | None
"""What an expression may be; None when it is not known."""


def check(text: str, tree: Node, model: TypeModel, context: str | None) -> None:
    """Raise `FhirPathError` for an element or a type that cannot be there."""
    _Checker(text, model).types(tree, None if context is None else frozenset((context,)))


def _found(model: TypeModel, owner: str, name: str) -> tuple[str, ...]:
    if owner in PRIMITIVES:
        return {"id": ("string",), "extension": ("Extension",)}.get(name, ())
    return model.element(owner, name) or ()


class _Checker:
    def __init__(self, text: str, model: TypeModel) -> None:
        self._text = text
        self._model = model

    def types(self, node: Node, focus: _Types) -> _Types:
        """The types an expression may have on a focus."""
        match node:
            case Chain(start, steps):
                return self._chain(start, steps, focus)
            case TypeTest(operator, operand, name):
                found = self.types(operand, focus)
                return self._filtered(found, name) if operator == "as" else None
            case Special("$this", _):
                return focus
            case Several("|", parts):
                several = [self.types(part, focus) for part in parts]
                known = [one for one in several if one is not None]
                return frozenset().union(*known) if len(known) == len(several) else None
            case Variable() | Special():
                return None
            case _:
                for part, depth in walk(node):
                    if depth == 2:
                        self.types(part, focus)
                return None

    def _chain(self, start: Node | None, steps: tuple[Step, ...], focus: _Types) -> _Types:
        found = focus if start is None else self.types(start, focus)
        for at, step in enumerate(steps):
            match step:
                case Member(name, position):
                    if at == 0 and start is None and name in FHIR_TYPES and name[:1].isupper():
                        found = self._begin(name, found, position)
                    else:
                        found = self._member(name, found, position)
                case Index(index, _):
                    self.types(index, focus)
                case Call():
                    found = self._call(step, found, focus)
        return found

    def _begin(self, name: str, focus: _Types, position: int) -> _Types:
        if focus is None or any(is_a(one, name) for one in focus):
            return frozenset((name,)) if focus is None else focus
        raise FhirPathError(f"{name} is not what the path begins at", self._text, position)

    def _member(self, name: str, owners: _Types, position: int) -> _Types:
        if owners is None:
            return None
        found: set[str] = set()
        known: list[str] = []
        for owner in owners:
            elements = _OF_PRIMITIVES if owner in PRIMITIVES else self._model.elements(owner)
            if not elements or owner in ("Resource", "DomainResource"):
                return None
            known.extend(elements)
            found.update(_found(self._model, owner, name))
        if not found:
            near = difflib.get_close_matches(name[:80], known, 1, 0.5)
            hint = f"; did you mean {near[0]}?" if near else ""
            detail = f"{'/'.join(sorted(owners)[:3])} has no element {name[:80]}{hint}"
            raise FhirPathError(detail, self._text, position)
        return frozenset(found)

    def _call(self, call: Call, found: _Types, focus: _Types) -> _Types:
        if call.name in (*_FILTERS, "is"):
            name = ".".join(
                step.name
                for step in getattr(call.arguments[0], "steps", ())
                if isinstance(step, Member)
            )
            return self._filtered(found, name) if call.name in _FILTERS else None
        if call.name in _TEXT_ONLY and found and all(one not in PRIMITIVES for one in found):
            raise FhirPathError(f"{call.name}() is for texts", self._text, call.position)
        inner = found if call.name in _BODIES else focus
        bodies = [self.types(argument, inner) for argument in call.arguments]
        if call.name in _SAME:
            return found
        if call.name == "select":
            return bodies[0]
        return frozenset(("Extension",)) if call.name == "extension" else None

    def _filtered(self, found: _Types, name: str) -> _Types:
        plain = name.rpartition(".")[2]
        return frozenset((plain,)) if found is None or plain in FHIR_TYPES else None


__all__ = ["check"]
