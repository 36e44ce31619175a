"""Which elements a path looks at: the names along it, as far as they can be read off its text."""

from __future__ import annotations

import re
from typing import Final, TypeAlias

Tree: TypeAlias = "dict[str, Tree]"
"""Element names, and what is looked at below them; nothing below: the element itself."""
_NAME: Final = re.compile(r"\.?(?P<name>[A-Za-z_]\w*)")
_TYPE: Final = re.compile(r"\s*([A-Za-z]\w*)\s*\)")
_URL: Final = re.compile(r"\s*'([^']*)'\s*\)")
EXTENSION: Final = "extension#"
"""In a tree, before the url of an extension."""


def tree_of(path: str) -> Tree:
    """`identifier.where(…).value` gives identifier, and value below it.

    A choice takes its type, `valueQuantity`; `name.first()` is `name@0`.
    """
    names: list[str] = []
    at = fresh = 0
    while found := _NAME.match(path, at):
        at, name = found.end(), found["name"]
        if path[at : at + 1] == "(":
            kind = _TYPE.match(path, at + 1)
            if name == "ofType" and kind and names:
                names[-1] += kind[1][0].upper() + kind[1][1:]
            elif name == "extension" and (url := _URL.match(path, at + 1)):
                names.append(f"{EXTENSION}{url[1]}")
            elif name == "first" and names and fresh == found.start():
                names[-1] += "@0"
            at = _after(path, at)
        elif name[0].islower() or name[0] == "_":
            names.append(name)
            fresh = at
        while path[at : at + 1] == "[":
            index = path[at + 1 : _after(path, at) - 1]
            if names and fresh == at and index.isdecimal():
                names[-1] += f"@{index}"
            at = _after(path, at)
    tree: Tree = {}
    for name in reversed(names):
        tree = {name: tree}
    return tree


def _after(path: str, at: int) -> int:
    """The place behind what is in brackets."""
    depth, quoted = 0, False
    for i in range(at, len(path)):
        character = path[i]
        if character == "'" and path[i - 1] != "\\":
            quoted = not quoted
        elif not quoted and character in "([":
            depth += 1
        elif not quoted and character in ")]":
            depth -= 1
            if not depth:
                return i + 1
    return len(path)


def cut_at_resolve(path: str) -> tuple[list[str], bool]:
    """The parts of a path between its calls of `resolve()`, and whether one of them stands where it cannot."""
    parts, depth, start, i, quoted = [], 0, 0, 0, False
    misplaced, plain = False, True
    while i < len(path):
        character = path[i]
        if character == "'" and path[i - 1 : i] != "\\":
            quoted = not quoted
        elif not quoted:
            depth += (character in "([") - (character in ")]")
            if path.startswith(".resolve()", i):
                misplaced = misplaced or depth > 0
                if not depth:
                    parts.append(path[start:i])
                    i += len(".resolve()")
                    start = i + 1 if path[i : i + 1] == "." else i
                    continue
            elif not depth and (character.isspace() or character in "=<>|&+*/~!,"):
                plain = False
        i += 1
    parts.append(path[start:])
    return parts, misplaced or (len(parts) > 1 and not plain)


__all__ = ["EXTENSION", "Tree", "cut_at_resolve", "tree_of"]
