"""Conditions of rules: the closed language of filters, on the segments around a rule and the value that it looks at."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Final

from adapters.hl7v2.mapping.errors import TablesError
from adapters.hl7v2.mapping.frames import Frame, Parts, View, below, is_valued, leaf
from adapters.hl7v2.mapping.sources import EVERY, Kind, Source, parse_source
from schemas.expression import ExpressionError, compile_expression
from schemas.expression_syntax import parse
from schemas.expression_tree import Compare, Every, Function, Node, Not, Some, Value, Valued

_BLANKS: Final = frozenset({""})
_SEGMENT_LETTERS: Final = 3
_ORDER: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
Test = Callable[[Frame], bool]


def _is_segment(path: str) -> bool:
    """Whether a path is a segment's name: it asks for the segment."""
    return len(path) == _SEGMENT_LETTERS and path.isupper()


class FramePaths:
    """What paths mean for a frame. Remembers whether one is relative, and which leaves are read."""

    def __init__(self, where: str) -> None:
        self._where = where
        self.sources: list[Source] = []
        self.looks_around = False
        """Whether it asks for segments."""

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
        if _is_segment(text):
            self.looks_around = True
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
            chosen = repetitions[only - 1 : only] if only else repetitions
            return [_comparable(one, 0) for one in chosen]
        chosen = repetitions[only - 1 : only] if only else repetitions
        return [leaf(one, component, subcomponent) for one in chosen]

    return find


def _first(parts: list[str | list[str]]) -> list[str]:
    return [one for one in _texts(parts, 0, 0) if one][:1]


@lru_cache(maxsize=4_096)
def _tree(text: str) -> Node:
    """A condition's tree: frozen, and asked for several times while tables are compiled."""
    return parse(text)


def compile_condition(text: str, where: str) -> tuple[Test, FramePaths]:
    """Compile a condition; the paths say what it looks at. Raises `TablesError` with a caret under the place."""
    paths = FramePaths(where)
    try:
        test = compile_expression(text, paths)
        return _quick(_tree(text), where) or test, paths
    except ExpressionError as err:
        raise TablesError(f"{where}: when: {err}") from None


def _quick(node: Node, where: str) -> Test | None:
    """A shorter way to the same answer for the usual tests; None where there is none."""
    match node:
        case Every(parts) | Some(parts):
            tests = [test for part in parts if (test := _quick(part, where)) is not None]
            if len(tests) < len(parts):
                return None
            return _every(tests) if isinstance(node, Every) else _some(tests)
        case Not(inner):
            test = _quick(inner, where)
            return None if test is None else _negated(test)
        case Valued() | Compare():
            test = _quick_leaf(node, where)
            return _negated(test) if test is not None and node.is_negated else test
        case _:
            return None


def _every(tests: Sequence[Test]) -> Test:
    first, *others = tests
    if len(others) == 1:
        second = others[0]
        return lambda frame: first(frame) and second(frame)

    def test(frame: Frame) -> bool:
        for one in tests:  # noqa: SIM110  # a generator costs more
            if not one(frame):
                return False
        return True

    return test


def _some(tests: Sequence[Test]) -> Test:
    def test(frame: Frame) -> bool:
        for one in tests:  # noqa: SIM110  # a generator costs more
            if one(frame):
                return True
        return False

    return test


def _negated(test: Test) -> Test:
    return lambda frame: not test(frame)


def _quick_leaf(node: Valued | Compare, where: str) -> Test | None:
    value = node.value
    if value.function is Function.VALUES and _is_segment(value.path):
        name = value.path
        if isinstance(node, Valued):
            return lambda frame: frame.env.nearest(frame.view, name) is not None
        return None
    if value.function is Function.COUNT and isinstance(node, Compare):
        return _quick_count(node, where)
    source = _quick_source(value, where)
    return None if source is None else _quick_test(node, source)


def _quick_count(node: Compare, where: str) -> Test | None:
    """How many repetitions of a field are valued."""
    limit, compare = node.literals[0], _ORDER.get(node.operator)
    if compare is None or isinstance(limit, str) or _is_segment(node.value.path):
        return None
    source = parse_source(node.value.path, where)
    if source.kind is not Kind.FIELD or source.component or "[" in node.value.path:
        return None
    segment, field = source.segment, source.field

    def test(frame: Frame) -> bool:
        view: View | None = frame.view
        if view is not None and view.name != segment:
            view = frame.env.nearest(view, segment)
        repetitions = view.repetitions(field) if view is not None else ()
        return compare(sum(map(is_valued, repetitions)), limit)

    return test


def _quick_source(value: Value, where: str) -> Source | None:
    if value.function is not Function.VALUES or _is_segment(value.path):
        return None
    source = parse_source(value.path, where)
    is_quick = source.kind is Kind.RELATIVE or (source.kind is Kind.FIELD and "[" not in value.path)
    return source if is_quick and not source.subcomponent else None


def _quick_test(node: Valued | Compare, source: Source) -> Test | None:
    component = source.component
    if isinstance(node, Compare):
        texts = frozenset(one for one in node.literals if isinstance(one, str))
        if len(texts) != len(node.literals):
            return None
        if source.kind is Kind.RELATIVE:
            return lambda frame: any(
                one in texts for one in _texts(frame.parts or [], component, 0)
            )
        return _field_test(source, lambda parts: _comparable(parts, component) in texts)
    if source.kind is Kind.RELATIVE:
        return lambda frame: _has(frame.parts or [], component)
    return _field_test(source, lambda parts: _has(parts, component))


def _comparable(parts: Parts, component: int) -> str:
    if not component and parts and parts[0] and isinstance(parts[0], str):
        return parts[0]
    text = leaf(parts, component, 0)
    return text if text or component else next(iter(_first(parts)), "")


def _has(parts: Parts, component: int) -> bool:
    if not component:
        return is_valued(parts)
    if component > len(parts):
        return False
    part = parts[component - 1]
    return bool(part) if isinstance(part, str) else any(part)


def _field_test(source: Source, test: Callable[[Parts], bool]) -> Test:
    segment, field = source.segment, source.field

    def find(frame: Frame) -> bool:
        view = frame.view
        if view.name != segment:
            other = frame.env.nearest(view, segment)
            if other is None:
                return False
            view = other
        shape = view.shape
        if field >= len(shape) or not shape[field]:
            return False
        repetitions = view.cut.get(field)
        if repetitions is None:
            repetitions = view.repetitions(field)
        if len(repetitions) == 1:
            return test(repetitions[0])
        return any(test(one) for one in repetitions)

    return find


def constants_of(text: str) -> dict[str, frozenset[str]]:
    """By path: the texts of which one must be there for the condition to hold; of whole fields only."""
    found: dict[str, frozenset[str]] = {}
    tree = _tree(text)
    parts: Sequence[Node] = tree.parts if isinstance(tree, Every) else (tree,)
    for node in parts:
        if not isinstance(node, Compare) or node.is_negated or node.operator not in ("=", "in"):
            continue
        texts = frozenset(one for one in node.literals if isinstance(one, str))
        is_plain = node.value.function is Function.VALUES and len(texts) == len(node.literals)
        if is_plain and "" not in texts:
            found.setdefault(node.value.path, texts)
    return found


def valued_of(text: str) -> list[str]:
    """The paths that must be valued for the condition to hold."""
    tree = _tree(text)
    parts: Sequence[Node] = tree.parts if isinstance(tree, Every) else (tree,)
    return [
        node.value.path
        for node in parts
        if isinstance(node, Valued)
        and not node.is_negated
        and node.value.function is Function.VALUES
        and not _is_segment(node.value.path)
    ]


__all__ = ["FramePaths", "Test", "compile_condition", "constants_of", "valued_of"]
