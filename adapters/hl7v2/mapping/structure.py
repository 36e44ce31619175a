"""A message in its groups, also where it deviates from the standard: every segment ends up in exactly one place.

Segments are taken in their order. Each is put where the structure has it next: further on in the group that is open,
in a group within, in a new repetition, or in a group around. One that stands nowhere ahead goes where the structure
would have had it earlier, and one that stands nowhere at all stays with the group that is open; both are issues.
Linear in the number of segments.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from adapters.hl7v2.codec import Message, Segment
from adapters.hl7v2.mapping.grammar import Grammar, Node
from adapters.hl7v2.mapping.protocol import Issue, IssueCode, Severity

_MAX_KNOWN: Final = 512
"""When they are more, all are forgotten."""
_MAX_SEGMENTS: Final = 256
"""A message of more is placed each time."""


@dataclass(slots=True)
class Group:
    """A group as it stands in a message: segments and groups, in the order of the message."""

    name: str
    items: list[Segment | Group] = field(default_factory=list)

    def first(self, name: str) -> Segment | None:
        """The first segment of a name directly in the group."""
        return next(iter(self.all(name)), None)

    def all(self, name: str) -> list[Segment]:
        """The segments of a name directly in the group."""
        return [one for one in self.items if isinstance(one, Segment) and one.name == name]

    def groups(self, name: str) -> list[Group]:
        """The groups of a name directly in the group."""
        return [one for one in self.items if isinstance(one, Group) and one.name == name]

    def walk(self) -> Iterator[Segment]:
        """Every segment, groups within included."""
        for one in self.items:
            if isinstance(one, Group):
                yield from one.walk()
            else:
                yield one


@dataclass(frozen=True, slots=True)
class Reading:
    """A message, put into its structure."""

    structure: str
    """`ADT_A01`; empty when the type is unknown, and then all segments are in the root."""
    root: Group
    issues: tuple[Issue, ...]


class Structures:
    """Reads messages by the structures of the standard."""

    def __init__(self, grammar: Grammar) -> None:
        self._grammar = grammar
        self._known: dict[tuple[str, tuple[str, ...]], _Known] = {}
        """By structure and names of the segments: where they stand depends on nothing else."""

    @classmethod
    def load(cls) -> Structures:
        """By the structures that ship with medmesh."""
        return cls(Grammar.load())

    def read(self, message: Message) -> Reading:
        """Put every segment into its group. Never raises on content."""
        head = message.header
        structure = self._grammar.choose(
            head.message_code.strip(), head.trigger.strip(), head.text(9, 3).strip()
        )
        segments = message.segments()
        names = tuple([one.name for one in segments])
        known = self._known.get((structure, names))
        if known is None:
            known = self._placed(structure, segments)
            if len(segments) <= _MAX_SEGMENTS:
                if len(self._known) >= _MAX_KNOWN:
                    self._known.clear()
                self._known[structure, names] = known
        return Reading(
            structure=structure, root=_filled(known.root, iter(segments)), issues=known.issues
        )

    def _placed(self, structure: str, segments: list[Segment]) -> _Known:
        issues: list[Issue] = []
        if not structure:
            issues.append(_issue("MSH-9", "no structure is known for this type and event"))
        root = _Placer(self._grammar.node(structure), issues).run(segments)
        return _Known(_outline(root), tuple(issues))


_Outline = tuple[str, tuple["_Outline | None", ...]]
"""A group's name and what is in it: segments are None, in the order of the message."""


@dataclass(frozen=True, slots=True)
class _Known:
    """Where the segments of a message stand."""

    root: _Outline
    issues: tuple[Issue, ...]


def _outline(group: Group) -> _Outline:
    return group.name, tuple(
        _outline(one) if isinstance(one, Group) else None for one in group.items
    )


def _filled(outline: _Outline, segments: Iterator[Segment]) -> Group:
    """The group of an outline with the next segments."""
    name, inner = outline
    return Group(name, [next(segments) if one is None else _filled(one, segments) for one in inner])


class _Open:
    """A group that is being filled."""

    __slots__ = ("at", "group", "node")

    def __init__(self, node: Node) -> None:
        self.node = node
        self.group = Group(node.name)
        self.at = -1
        """The child that was filled last."""

    def allows(self, child: int) -> bool:
        """Whether a child can stand here now."""
        return child > self.at or (child == self.at and self.node.repeating[child])


class _Placer:
    """Puts the segments of one message into groups."""

    def __init__(self, node: Node, issues: list[Issue]) -> None:
        self._stack = [_Open(node)]
        self._issues = issues
        self._counts: dict[str, int] = {}
        self._names: list[str] = []
        self._at = 0
        """The number of the segment that is being placed."""
        self._looked: dict[int, tuple[int, bool]] = {}
        """By identity of a group's node: up to which segment its need was looked for, and whether it was there."""

    def run(self, segments: list[Segment]) -> Group:
        """The group of all segments."""
        self._names = [one.name for one in segments]
        for at, segment in enumerate(segments):
            name = segment.name
            self._at = at
            self._counts[name] = self._counts.get(name, 0) + 1
            if not self._stack[0].node.children:
                self._stack[0].group.items.append(segment)
            elif name.startswith("Z"):
                self._stack[-1].group.items.append(segment)
            else:
                self._place(segment)
        return self._stack[0].group

    def _place(self, segment: Segment) -> None:
        name = segment.name
        if self._opens(name) or self._opens(name, also_lacking=True) or self._is_within(name):
            pass
        elif self._is_behind(name):
            self._tell(name, "stands later than the structure has it")
        else:
            self._tell(name, "is not part of the structure here")
        self._stack[-1].group.items.append(segment)

    def _opens(self, name: str, *, also_lacking: bool = False) -> bool:
        """The next place that takes the segment: in the group that is open, else in a repetition of it, else around.

        A group that may be missing is opened only if what it must have comes too, or by `also_lacking`.
        """
        for depth in range(len(self._stack) - 1, -1, -1):
            here = self._stack[depth]
            for child in here.node.starts.get(name, ()):
                if here.allows(child) and (also_lacking or self._has_need(here, child, name)):
                    del self._stack[depth + 1 :]
                    self._enter(here, child, name)
                    return True
            if depth and here.node.repeats and name in here.node.heads:
                del self._stack[depth:]
                self._descend(here.node, name)
                return True
        return False

    def _has_need(self, here: _Open, child: int, name: str) -> bool:
        """Whether what a group must have follows its first segment, with nothing between that is not of the group."""
        node = here.node.children[child]
        if isinstance(node, str) or not node.needs:
            return True
        until, found = self._looked.get(id(node), (-1, False))
        if until <= self._at:
            repeats = node.repeating[0]
            until = self._at + 1
            while until < len(self._names):
                following = self._names[until]
                is_of_it = following in node.starts or following in node.holds
                if following == node.needs or not is_of_it or (following == name and not repeats):
                    break
                until += 1
            found = until < len(self._names) and self._names[until] == node.needs
            self._looked[id(node)] = (until, found)
        return found

    def _is_within(self, name: str) -> bool:
        """A group ahead that has the segment somewhere: what should stand before it there is missing."""
        for depth in range(len(self._stack) - 1, -1, -1):
            here = self._stack[depth]
            for child in here.node.holds.get(name, ()):
                if not here.allows(child):
                    continue
                del self._stack[depth + 1 :]
                here.at = child
                node = here.node.children[child]
                while isinstance(node, Node):
                    node = self._deeper(node, name)
                self._tell(name, "comes without the segment that opens its group")
                return True
        return False

    def _deeper(self, node: Node, name: str) -> Node | str:
        """Open a group on the way to a segment within; returns what it is reached by."""
        opened = self._open(node)
        child = (node.starts.get(name) or node.holds[name])[0]
        opened.at = child
        return node.children[child]

    def _is_behind(self, name: str) -> bool:
        """A place that the structure has already passed, in the innermost group that has one."""
        for depth in range(len(self._stack) - 1, -1, -1):
            node = self._stack[depth].node
            if any(node.children[child] == name for child in node.starts.get(name, ())):
                del self._stack[depth + 1 :]
                return True
        return False

    def _enter(self, here: _Open, child: int, name: str) -> None:
        here.at = child
        node = here.node.children[child]
        if isinstance(node, Node):
            self._descend(node, name)

    def _descend(self, node: Node, name: str) -> None:
        """Open a group, and those within that the segment opens too."""
        while True:
            opened = self._open(node)
            opened.at = node.starts[name][0]
            child = node.children[opened.at]
            if isinstance(child, str):
                return
            node = child

    def _open(self, node: Node) -> _Open:
        opened = _Open(node)
        self._stack[-1].group.items.append(opened.group)
        self._stack.append(opened)
        return opened

    def _tell(self, name: str, detail: str) -> None:
        number = self._counts[name]
        self._issues.append(_issue(name if number == 1 else f"{name}[{number}]", detail))


def _issue(where: str, detail: str) -> Issue:
    return Issue(severity=Severity.WARNING, code=IssueCode.STRUCTURE, where=where, detail=detail)


__all__ = ["Group", "Reading", "Structures"]
