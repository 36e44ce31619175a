"""Conditions of rules: the closed language of filters, on the segments around a rule and the value that it looks at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from adapters.hl7v2.mapping.errors import TablesError
from adapters.hl7v2.mapping.frames import Frame, below, leaf
from adapters.hl7v2.mapping.sources import EVERY, Kind, Source, parse_source
from schemas.expression import ExpressionError, compile_expression
from schemas.expression_syntax import parse
from schemas.expression_tree import Compare, Every, Function, Node

_BLANKS: Final = frozenset({""})
_SEGMENT_LETTERS: Final = 3
Test = Callable[[Frame], bool]


class FramePaths:
    """What paths mean for a frame. Remembers whether one is relative, and which leaves are read."""

    def __init__(self, where: str) -> None:
        self._where = where
        self.sources: list[Source] = []

    @property
    def blanks(self) -> frozenset[str]:
        """Nulls are empty texts here."""
        return _BLANKS

    @property
    def is_relative(self) -> bool:
        """Whether the condition looks at the value that the rule stands on."""
        return any(one.kind is Kind.RELATIVE for one in self.sources)

    def compile(self, text: str) -> Callable[[Frame], Sequence[str]]:
        """The texts of a path. Raises `TablesError`."""
        if len(text) == _SEGMENT_LETTERS and text.isupper():
            return lambda frame: [text] if frame.env.nearest(frame.view, text) else []
        source = parse_source(text, self._where)
        self.sources.append(source)
        component, subcomponent = source.component, source.subcomponent
        if source.kind is Kind.PARAMETER:
            return lambda frame: [frame.env.context.parameters.get(source.name, "")]
        if source.kind is Kind.RELATIVE:
            return lambda frame: _texts(frame.parts or [], component, subcomponent)
        return _field_texts(source, is_indexed="[" in text and "[*]" not in text)


def _texts(parts: list[str | list[str]], component: int, subcomponent: int) -> list[str]:
    if component and subcomponent:
        return [leaf(parts, component, subcomponent)]
    if component == 1 and parts and isinstance(parts[0], str):
        return [parts[0]]
    found: list[str] = []
    for part in below(parts, component, 0):
        if isinstance(part, str):
            found.append(part)
        else:
            found.extend(part)
    return found


def _field_texts(source: Source, *, is_indexed: bool) -> Callable[[Frame], Sequence[str]]:
    segment, field = source.segment, source.field
    component, subcomponent = source.component, source.subcomponent
    only = source.repetition if is_indexed else EVERY

    def find(frame: Frame) -> Sequence[str]:
        view = frame.view
        if view.name != segment:
            other = frame.env.nearest(view, segment)
            if other is None:
                return ()
            view = other
        repetitions = view.repetitions(field)
        if not component:
            # a field stands for one value in each repetition, as it does for `count`
            return (
                [leaf(one, 1, 1) or next(iter(_first(one)), "") for one in repetitions]
                if not only
                else [leaf(one, 1, 1) for one in repetitions[only - 1 : only]]
            )
        chosen = repetitions[only - 1 : only] if only else repetitions
        return [leaf(one, component, subcomponent) for one in chosen]

    return find


def _first(parts: list[str | list[str]]) -> list[str]:
    return [one for one in _texts(parts, 0, 0) if one][:1]


def compile_condition(text: str, where: str) -> tuple[Test, FramePaths]:
    """Compile a condition; the paths say what it looks at. Raises `TablesError` with a caret under the place."""
    paths = FramePaths(where)
    try:
        return compile_expression(text, paths), paths
    except ExpressionError as err:
        raise TablesError(f"{where}: when: {err}") from None


def constants_of(text: str) -> dict[str, frozenset[str]]:
    """By path: the texts of which one must be there for the condition to hold; of whole fields only."""
    found: dict[str, frozenset[str]] = {}
    tree = parse(text)
    parts: Sequence[Node] = tree.parts if isinstance(tree, Every) else (tree,)
    for node in parts:
        if not isinstance(node, Compare) or node.is_negated or node.operator not in ("=", "in"):
            continue
        texts = frozenset(one for one in node.literals if isinstance(one, str))
        is_plain = node.value.function is Function.VALUES and len(texts) == len(node.literals)
        if is_plain and "" not in texts:
            found.setdefault(node.value.path, texts)
    return found


__all__ = ["FramePaths", "Test", "compile_condition", "constants_of"]
