"""Questions about a tree that decide how it is compiled."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from schemas.fhirpath.tree import (
    Binary,
    Call,
    Chain,
    Index,
    Literal,
    Member,
    Negative,
    Node,
    Several,
    TypeTest,
)

_ASK_TYPES: Final = frozenset(("is", "as", "ofType", "type", "children", "descendants"))


def parts(node: Node) -> Iterator[Node]:
    """The nodes directly below one."""
    match node:
        case Chain(start, steps):
            if start is not None:
                yield start
            for step in steps:
                if isinstance(step, Call):
                    yield from step.arguments
                elif isinstance(step, Index):
                    yield step.index
        case Negative(operand) | TypeTest(_, operand):
            yield operand
        case Binary(_, left, right):
            yield left
            yield right
        case Several(_, several):
            yield from several
        case _:
            return


def walk(tree: Node) -> Iterator[tuple[Node, int]]:
    """Every node and its depth, without recursion."""
    pending = [(tree, 1)]
    while pending:
        node, depth = pending.pop()
        yield node, depth
        pending.extend((part, depth + 1) for part in parts(node))


def height(tree: Node) -> int:
    """How deep the tree is."""
    return max(depth for _, depth in walk(tree))


def asks_types(tree: Node) -> bool:
    """Whether what the path finds depends on the types of elements."""
    return any(
        isinstance(node, TypeTest)
        or (
            isinstance(node, Chain)
            and any(isinstance(step, Call) and step.name in _ASK_TYPES for step in node.steps)
        )
        for node, _ in walk(tree)
    )


def member_of_focus(node: Node) -> str | None:
    """The name, when a node is one element of the focus and nothing else."""
    if isinstance(node, Chain) and node.start is None and len(node.steps) == 1:
        step = node.steps[0]
        if isinstance(step, Member) and not step.name[:1].isupper():
            return step.name
    return None


def literal_texts(node: Node) -> frozenset[str] | None:
    """The texts, when a node is a union of texts written in the path and of nothing else."""
    if not isinstance(node, Several) or node.operator != "|":
        return None
    found = [part.value for part in node.parts if isinstance(part, Literal)]
    texts = frozenset(value for value in found if isinstance(value, str))
    return (
        texts if len(found) == len(node.parts) and all(isinstance(v, str) for v in found) else None
    )


__all__ = ["asks_types", "height", "literal_texts", "member_of_focus", "parts", "walk"]
