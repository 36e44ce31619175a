"""What of the resources is in no field: each element by its path, never with its value."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from adapters.hl7v2.mapping.protocol import IssueCode, Severity
from adapters.hl7v2.reverse.coverage import EXTENSION, Tree
from adapters.hl7v2.reverse.frames import MAX_ISSUES, Run

_QUIET: Final = frozenset({"resourceType", "id", "meta", "implicitRules", "language"})
_OF_CODES: Final = frozenset({"system", "display", "userSelected"})
"""What stands beside a code that was looked at: the field's own table says it."""
_CHOICES: Final = (
    "value", "effective", "occurrence", "onset", "abatement", "deceased", "multipleBirth", "collected", "performed",
    "event", "medication", "asNeeded", "allowed", "timing", "product", "quantity",
)  # fmt: skip


def tell_leftovers(run: Run, ignored: dict[str, str]) -> None:
    """Make an issue of each element that no rule looked at; `ignored` gives reasons by `Type.element`."""
    for place, resource in run.references.resources:
        kind = resource.get("resourceType")
        name = kind if isinstance(kind, str) and kind.isalnum() and len(kind) < 50 else "?"
        if id(resource) not in run.seen:
            run.issue(
                Severity.WARNING, IssueCode.UNMAPPED_FIELD, f"{place}.{name}",
                detail="nothing of this resource is written",
            )  # fmt: skip
            continue
        _Walk(run, name, ignored).element(resource, (), name)


class _Walk:
    def __init__(self, run: Run, kind: str, ignored: dict[str, str]) -> None:
        self._run = run
        self._kind = kind
        self._ignored = ignored

    def element(self, value: dict[str, object], inherited: Iterable[Tree], path: str) -> None:
        """An object of which something was looked at."""
        trees = [*inherited, *self._run.seen.get(id(value), ())]
        if any("*" in tree for tree in trees) or len(self._run.issues) >= MAX_ISSUES:
            return
        is_coded = any("code" in tree for tree in trees)
        for key, inner in value.items():
            if key in _QUIET or (is_coded and key in _OF_CODES):
                continue
            if key == "text" and isinstance(inner, dict) and "div" in inner:
                continue
            if key == "extension" and isinstance(inner, list):
                self._extensions(inner, trees, f"{path}.{key}")
                continue
            place = f"{path}.{key}" if key.isidentifier() else f"{path}.?"
            if isinstance(inner, list):
                for i, one in enumerate(inner):
                    self._child(one, _below(trees, key, i), f"{place}[{i}]")
            else:
                self._child(inner, _below(trees, key, 0), place)

    def _extensions(self, items: list[object], trees: list[Tree], path: str) -> None:
        for i, one in enumerate(items):
            url = one.get("url") if isinstance(one, dict) else None
            name = f"{EXTENSION}{url}"
            if not any(name in tree or "extension" in tree for tree in trees):
                self._tell(f"{path}[{i}]")

    def _child(self, value: object, below: list[Tree], path: str) -> None:
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


def _below(trees: list[Tree], key: str, number: int) -> list[Tree]:
    return [tree[name] for tree in trees for name in tree if _fits(key, number, name)]


def _fits(key: str, number: int, name: str) -> bool:
    name, _, index = name.partition("@")
    if index and index != str(number):
        return False
    if key.removeprefix("_") == name:
        return True
    return name in _CHOICES and key.startswith(name) and key[len(name) : len(name) + 1].isupper()


__all__ = ["tell_leftovers"]
