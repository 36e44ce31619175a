"""A closed language for conditions: `MSH-9.1 in ('ADT', 'ORM') and PID-3 valued`.

Parsed and type-checked when a configuration is loaded, compiled to closures; nothing in it can call, loop or reach an
attribute. The grammar is in `schemas.expression_syntax`; what a path means is the `PathCompiler`'s.

A path stands for all values it finds. A test holds when it holds for one of them; `!=`, `not in` and `not valued` are
the negations of `=`, `in` and `valued`, so they also hold when there is no value. `<`, `>` and comparisons with a
number look at values that are decimal numbers; others do not match.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Generic, Protocol, TypeVar

from schemas.errors import MeshError
from schemas.expression_glob import compile_glob
from schemas.expression_syntax import parse
from schemas.expression_tree import (
    Compare,
    Every,
    ExpressionError,
    Function,
    Matches,
    Node,
    Not,
    Some,
    StartsWith,
    Value,
    Valued,
)

SubjectT = TypeVar("SubjectT")
SubjectT_contra = TypeVar("SubjectT_contra", contravariant=True)

_NUMBER: Final = re.compile(r"\s*[+-]?(?:\d{1,30}(?:\.\d{0,30})?|\.\d{1,30})\s*\Z", re.ASCII)
_LONGEST_NUMBER: Final = 64
_ORDER: Final[dict[str, Callable[[float, float], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class PathCompiler(Protocol[SubjectT_contra]):
    """Gives paths their meaning for one kind of subject."""

    @property
    def blanks(self) -> frozenset[str]:
        """Values that do not count as values for `valued`, `count` and `length`; the empty text among them."""
        ...

    def compile(self, text: str) -> Callable[[SubjectT_contra], Sequence[str]]:
        """Return a function that finds a path's values in a subject. Raises `MeshError` when the path is wrong."""
        ...


def compile_expression(text: str, paths: PathCompiler[SubjectT]) -> Callable[[SubjectT], bool]:
    """Compile a condition to a function. Raises `ExpressionError`, which shows the place with a caret."""
    return _Compiler(text, paths).node(parse(text))


class _Compiler(Generic[SubjectT]):
    def __init__(self, text: str, paths: PathCompiler[SubjectT]) -> None:
        self._text = text
        self._paths = paths
        self._blanks = paths.blanks

    def node(self, node: Node) -> Callable[[SubjectT], bool]:
        match node:
            case Every(parts):
                every = [self.node(part) for part in parts]
                return lambda subject: all(test(subject) for test in every)
            case Some(parts):
                some = [self.node(part) for part in parts]
                return lambda subject: any(test(subject) for test in some)
            case Not(inner):
                return _negated(self.node(inner))
            case Valued():
                test = self._valued(node.value)
                return _negated(test) if node.is_negated else test
            case Compare():
                test = self._comparison(node)
                return _negated(test) if node.is_negated else test
            case StartsWith():
                prefix = node.prefix
                return self._any(node.value, lambda text: text.startswith(prefix))
            case Matches():
                return self._any(node.value, compile_glob(node.pattern))

    def _valued(self, value: Value) -> Callable[[SubjectT], bool]:
        blanks = self._blanks
        return self._any(value, lambda text: text not in blanks)

    def _comparison(self, node: Compare) -> Callable[[SubjectT], bool]:
        texts = frozenset(one for one in node.literals if isinstance(one, str))
        numbers = frozenset(one for one in node.literals if not isinstance(one, str))
        if node.operator in _ORDER:
            order, (limit,) = _ORDER[node.operator], numbers
            return self._any_number(node.value, lambda number: order(number, limit))
        if node.value.is_number or not texts:
            return self._any_number(node.value, lambda number: number in numbers)
        if not numbers:
            return self._any(node.value, lambda text: text in texts)
        return self._any(
            node.value, lambda text: text in texts or any(n in numbers for n in _numbers((text,)))
        )

    def _any(self, value: Value, test: Callable[[str], bool]) -> Callable[[SubjectT], bool]:
        find = self._path(value)
        return lambda subject: any(test(text) for text in find(subject))

    def _any_number(
        self, value: Value, test: Callable[[float], bool]
    ) -> Callable[[SubjectT], bool]:
        find, blanks = self._path(value), self._blanks
        match value.function:
            case Function.VALUES:
                return lambda subject: any(test(n) for n in _numbers(find(subject)))
            case Function.COUNT:
                return lambda subject: test(sum(text not in blanks for text in find(subject)))
            case Function.LENGTH:
                return lambda subject: any(
                    test(len(text)) for text in find(subject) if text not in blanks
                )

    def _path(self, value: Value) -> Callable[[SubjectT], Sequence[str]]:
        try:
            return self._paths.compile(value.path)
        except MeshError as err:
            raise ExpressionError(str(err), self._text, value.position) from None


def _negated(test: Callable[[SubjectT], bool]) -> Callable[[SubjectT], bool]:
    return lambda subject: not test(subject)


def _numbers(texts: Iterable[str]) -> Iterable[float]:
    return (float(text) for text in texts if len(text) <= _LONGEST_NUMBER and _NUMBER.match(text))


__all__ = ["ExpressionError", "PathCompiler", "compile_expression"]
