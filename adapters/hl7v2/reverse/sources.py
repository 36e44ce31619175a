"""Sources and conditions of rules: FHIRPath with references followed in the bundle, settings, facts of the message."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final, TypeAlias

from adapters.hl7v2.mapping.errors import TablesError, nearest
from adapters.hl7v2.mapping.protocol import IssueCode, Severity
from adapters.hl7v2.reverse.coverage import Tree, cut_at_resolve, tree_of
from adapters.hl7v2.reverse.frames import ALL, Frame
from adapters.hl7v2.reverse.guards import Needs, fits, needs_of_path, needs_of_test
from adapters.hl7v2.reverse.shortcuts import quick_path, quick_test
from schemas.fhirpath import FhirPathError, Path, PathFailed, compile_path

MAX_ITEMS: Final = 20_000
FACTS: Final = ("type", "event", "structure", "time", "control_id", "version", "charset")
_SETTING: Final = re.compile(r"parameter\.(?P<name>[A-Za-z]\w{0,63})\Z")
_FACT: Final = re.compile(r"message\.(?P<name>\w+)\Z")
_NUMBER: Final = re.compile(r"number(?:\.(?P<name>\w+))?\Z")
_VARIABLE: Final = re.compile(r"%(?P<name>\w+)\.?")
Items: TypeAlias = list[object]
Source: TypeAlias = Callable[[Frame], Items]
Test: TypeAlias = Callable[[Frame], bool]


class Sources:
    """Compiles the sources and conditions of one document."""

    def __init__(self, steps: Sequence[str]) -> None:
        self._steps = frozenset(steps)

    def source(self, text: str, where: str) -> Source:
        """Raises `TablesError`."""
        if found := _SETTING.match(text):
            name = found["name"]
            return lambda frame: _valued(frame.run.context.parameters.get(name))
        if found := _FACT.match(text):
            fact = found["name"]
            if fact not in FACTS:
                raise TablesError(f"{where}: {text!r} is unknown{nearest(fact, FACTS)}")
            return lambda frame: _valued(frame.run.facts.get(fact))
        if found := _NUMBER.match(text):
            return self._number(found["name"] or "", where)
        return self._path(text, where)

    def test(self, text: str, where: str) -> Test:
        """Raises `TablesError`."""
        parts, is_misplaced = cut_at_resolve(text)
        if is_misplaced or len(parts) > 1:
            raise TablesError(f"{where}: when: 'resolve()' cannot stand in a condition")
        path = self._compile(text, where)
        needs, shortcut = self.needs_of_test(text), quick_test(text)

        def test(frame: Frame) -> bool:
            if not isinstance(frame.focus, dict) or not fits(needs, frame.focus):
                return False
            holds = shortcut(frame.focus) if shortcut is not None else None
            if holds is not None:
                return holds
            try:
                return path.test(frame.focus, _given(path, frame))
            except PathFailed as failed:
                _failed(frame, where, failed)
                return False

        return test

    def needs(self, text: str) -> Needs:
        """What the element of a rule must hold for a source to find anything. After `source`, which checks it."""
        if any(form.match(text) for form in (_SETTING, _FACT, _NUMBER)):
            return ()
        first = cut_at_resolve(text)[0][0]
        return needs_of_path(first) if first else ()  # $this: whatever it stands on

    def needs_of_test(self, text: str) -> Needs:
        """Likewise for a condition to hold."""
        return needs_of_test(text)

    def _number(self, name: str, where: str) -> Source:
        if name and name not in self._steps:
            raise TablesError(f"{where}: no step is named {name!r}{nearest(name, self._steps)}")
        return lambda frame: [str(frame.numbers.get(name, 1))]

    def _path(self, text: str, where: str) -> Source:
        texts, is_misplaced = cut_at_resolve(text)
        if is_misplaced:
            raise TablesError(
                f"{where}: {text!r}: 'resolve()' stands in a plain path, outside of parentheses and operators"
            )
        parts = [self._part(one or "$this", where) for one in texts]
        last = len(parts) - 1
        if not last:
            only = parts[0]
            return lambda frame: only(frame, frame.focus)

        def source(frame: Frame) -> Items:
            items: Items = [frame.focus]
            for i, part in enumerate(parts):
                items = [found for item in items for found in part(frame, item)]
                if i < last:
                    items = _resolved(frame, items, where)
                if len(items) > MAX_ITEMS:
                    return _too_many(frame, where)
            return items

        return source

    def _part(self, text: str, where: str) -> Callable[[Frame, object], Items]:
        path = self._compile(text, where)
        variable = _VARIABLE.match(text)
        tree: Tree = tree_of(text[variable.end() :] if variable else text)
        start = variable["name"] if variable else ""
        needs, shortcut = needs_of_path(text), quick_path(text)

        def part(frame: Frame, item: object) -> Items:
            if not isinstance(item, dict):
                return [item] if text == "$this" else []
            found: Items | None = None if fits(needs, item) else []
            if found is None and shortcut is not None:
                found = shortcut(item)
            if found is None:
                try:
                    found = list(path(item, _given(path, frame)))
                except PathFailed as failed:
                    _failed(frame, where, failed)
                    return []
            if len(found) > MAX_ITEMS:
                return _too_many(frame, where)
            if found and tree:
                frame.run.look(frame.variables.get(start) if start else item, tree)
            return found

        return part

    def _compile(self, text: str, where: str) -> Path:
        try:
            path = _compiled(text)
        except FhirPathError as error:
            raise TablesError(f"{where}: {error}") from None
        known = self._steps | {"bundle", "setting"}
        for name in path.variables:
            if name not in known:
                raise TablesError(f"{where}: the variable %{name} is unknown{nearest(name, known)}")
        if path.needs_clock:
            raise TablesError(
                f"{where}: {text!r} asks for the present; the same event gives the same message"
            )
        return path


def _too_many(frame: Frame, where: str) -> Items:
    frame.run.fail(IssueCode.UNSUPPORTED, where, detail=f"more than {MAX_ITEMS} items")
    return []


@lru_cache(maxsize=4096)
def _compiled(text: str) -> Path:
    """Documents share paths, and messages share documents."""
    return compile_path(text)


def _given(path: Path, frame: Frame) -> dict[str, object] | None:
    if not path.variables:
        return None
    return {name: frame.variables.get(name, []) for name in path.variables}


def _resolved(frame: Frame, items: Items, where: str) -> Items:
    run = frame.run
    found: Items = []
    known: set[int] = set()
    for item in items:
        target = run.references.find(item, frame.holder)
        if target is None:
            if (
                isinstance(item, dict)
                and isinstance(item.get("reference"), str)
                and not run.seen.get(id(item))
            ):
                run.issue(
                    Severity.WARNING, IssueCode.MISSING, where,
                    detail="a reference leads to nothing in the bundle",
                )  # fmt: skip
                run.look(item, {"reference": {}})
            continue
        run.look(item, ALL)
        if id(target) not in known:
            known.add(id(target))
            found.append(target)
    return found


def _failed(frame: Frame, where: str, failed: PathFailed) -> None:
    frame.run.issue(
        Severity.ERROR,
        IssueCode.UNSUPPORTED,
        where,
        detail=f"the path failed: {failed.failure.value}",
    )


def _valued(text: str | None) -> Items:
    return [text] if text else []


__all__ = ["FACTS", "Items", "Source", "Sources", "Test"]
