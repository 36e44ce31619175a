"""What of the resources is in no field: each element by its path, never with its value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from adapters.hl7v2.mapping.protocol import IssueCode, Severity
from adapters.hl7v2.reverse.coverage import EXTENSION, Tree
from adapters.hl7v2.reverse.frames import MAX_ISSUES, Run

_QUIET: Final = frozenset({"resourceType", "id", "meta", "implicitRules", "language"})
_MOST_KNOWN: Final = 1_000
_OF_CODES: Final = frozenset({"system", "display", "userSelected"})
"""What stands beside a code that was looked at: the field's own table says it."""
_CHOICES: Final = (
    "value", "effective", "occurrence", "onset", "abatement", "deceased", "multipleBirth", "collected", "performed",
    "event", "medication", "asNeeded", "allowed", "timing", "product", "quantity",
)  # fmt: skip


def tell_leftovers(run: Run, ignored: dict[str, str]) -> None:
    """Make an issue of each element that no rule looked at; `ignored` gives reasons by `Type.element`."""
    looks = _Looks()
    for place, resource in run.references.resources:
        kind = resource.get("resourceType")
        name = kind if isinstance(kind, str) and kind.isalnum() and len(kind) < 50 else "?"
        if id(resource) not in run.seen:
            run.issue(
                Severity.WARNING, IssueCode.UNMAPPED_FIELD, f"{place}.{name}",
                detail="nothing of this resource is written",
            )  # fmt: skip
            continue
        _Walk(run, looks, ignored).element(resource, (), name)


class _Look:
    """Several trees as one: what was looked at of one element."""

    __slots__ = ("_below", "_by_name", "_choices", "extensions", "is_all", "is_coded")

    def __init__(self, trees: Sequence[Tree]) -> None:
        self._by_name: dict[str, list[tuple[str, Tree]]] = {}
        self._below: dict[tuple[str, int], list[Tree]] = {}
        self._choices: list[tuple[str, str, Tree]] = []
        self.extensions = {name for tree in trees for name in tree if name.startswith("extension")}
        self.is_all = any("*" in tree for tree in trees)
        self.is_coded = any("code" in tree for tree in trees)
        for tree in trees:
            for text, inner in tree.items():
                name, _, index = text.partition("@")
                self._by_name.setdefault(name, []).append((index, inner))
                if name in _CHOICES:
                    self._choices.append((name, index, inner))

    def below(self, key: str, number: int) -> list[Tree]:
        """What was looked at of the item of a number below a key."""
        found = self._below.get((key, number))
        if found is None:
            found = self._found(key, number)
            if len(self._below) < _MOST_KNOWN:
                self._below[key, number] = found
        return found

    def _found(self, key: str, number: int) -> list[Tree]:
        name = key.removeprefix("_")
        found = [
            tree for index, tree in self._by_name.get(name, ()) if not index or index == str(number)
        ]
        for choice, index, tree in self._choices:
            is_choice = key.startswith(choice) and key[len(choice) : len(choice) + 1].isupper()
            if is_choice and (not index or index == str(number)):
                found.append(tree)
        return found


class _Looks:
    """The looks of one run: results that are alike were looked at alike."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, ...], _Look] = {}

    def of(self, trees: Sequence[Tree]) -> _Look:
        """By the identities of the trees, which the run or the compiled rules hold."""
        key = tuple(map(id, trees))
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = _Look(trees)
        return found


class _Walk:
    def __init__(self, run: Run, looks: _Looks, ignored: dict[str, str]) -> None:
        self._run = run
        self._looks = looks
        self._ignored = ignored

    def element(self, value: dict[str, object], inherited: Sequence[Tree], path: str) -> None:
        """An object of which something was looked at."""
        seen = self._run.seen.get(id(value))
        look = self._looks.of([*inherited, *seen.values()] if seen else inherited)
        if look.is_all or len(self._run.issues) >= MAX_ISSUES:
            return
        for key, inner in value.items():
            if key in _QUIET or (look.is_coded and key in _OF_CODES):
                continue
            if key == "text" and isinstance(inner, dict) and "div" in inner:
                continue
            if key == "extension" and isinstance(inner, list):
                self._extensions(inner, look, f"{path}.{key}")
                continue
            place = f"{path}.{key}" if key.isidentifier() else f"{path}.?"
            if isinstance(inner, list):
                for i, one in enumerate(inner):
                    self._child(one, look.below(key, i), f"{place}[{i}]")
            else:
                self._child(inner, look.below(key, 0), place)

    def _extensions(self, items: list[object], look: _Look, path: str) -> None:
        for i, one in enumerate(items):
            url = one.get("url") if isinstance(one, dict) else None
            if "extension" not in look.extensions and f"{EXTENSION}{url}" not in look.extensions:
                self._tell(f"{path}[{i}]")

    def _child(self, value: object, below: Sequence[Tree], path: str) -> None:
        if isinstance(value, dict):
            inner = [tree for tree in below if tree]
            if inner or id(value) in self._run.seen:
                self.element(value, inner, path)
            else:
                self._tell(path)
        elif not below and value is not None:
            self._tell(path)

    def _tell(self, path: str) -> None:
        element = path.partition("[")[0]
        reason = self._ignored.get(element, "")
        self._run.issue(Severity.INFORMATION, IssueCode.UNMAPPED_FIELD, path, detail=reason)


__all__ = ["tell_leftovers"]
