"""Patterns of `*` (any characters) and `?` (one), matched against a whole text without backtracking."""

from __future__ import annotations

import re
from collections.abc import Callable


def compile_glob(pattern: str) -> Callable[[str], bool]:
    """A test for texts that have the pattern's shape from start to end. `*` and `?` cannot be escaped.

    Each piece between stars has a fixed length and is searched for once, from left to right: time is linear in the
    text for any text.
    """
    first, *others = pattern.split("*")
    head = _piece(first)
    if not others:
        return lambda text: len(text) == len(first) and head.match(text) is not None
    *inner, last = others
    tail = _piece(last)
    middle = [_piece(piece) for piece in inner if piece]

    def is_match(text: str) -> bool:
        stop = len(text) - len(last)
        if stop < len(first) or not head.match(text) or not tail.match(text, stop):
            return False
        at = len(first)
        for piece in middle:
            found = piece.search(text, at, stop)
            if found is None:
                return False
            at = found.end()
        return True

    return is_match


def _piece(text: str) -> re.Pattern[str]:
    return re.compile("".join("." if c == "?" else re.escape(c) for c in text), re.DOTALL)


__all__ = ["compile_glob"]
