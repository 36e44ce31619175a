"""Which segments belong together: views by group, anchors of resources, and what belongs to an anchor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from adapters.hl7v2.codec import Message
from adapters.hl7v2.codec.segment import Segment
from adapters.hl7v2.mapping.frames import Env, Scope, View
from adapters.hl7v2.mapping.model import ResourceRule, Where
from adapters.hl7v2.mapping.protocol import Issue


class GroupLike(Protocol):
    """A group of a message structure: segments and groups in their order."""

    @property
    def name(self) -> str:
        """Its name in the structure."""
        ...

    @property
    def items(self) -> Sequence[object]:
        """Segments and groups."""
        ...


class ReadingLike(Protocol):
    """A message, put into its structure."""

    @property
    def structure(self) -> str:
        """`ADT_A01`; empty when none fits."""
        ...

    @property
    def root(self) -> GroupLike:
        """All segments of the message."""
        ...

    @property
    def issues(self) -> Sequence[Issue]:
        """Where the message deviates."""
        ...


class StructureReader(Protocol):
    """Puts messages into their structure: `structure.Structures`."""

    def read(self, message: Message) -> ReadingLike:
        """Never raises on content."""
        ...


def place(env: Env, root: GroupLike) -> int:
    """Make the views of a message; returns how many there are."""
    views = env.views
    position = 0

    def walk(items: Iterable[object], scope: Scope) -> None:
        nonlocal position
        for item in items:
            if isinstance(item, Segment):
                found = views.get(item.name)
                if found is None:
                    found = views[item.name] = []
                found.append(View(env, item, scope, position, len(found) + 1))
                position += 1
            else:
                inner = Scope(item.name, scope, position)  # type: ignore[attr-defined]  # a group
                walk(item.items, inner)  # type: ignore[attr-defined]  # a group
        scope.last = position - 1

    walk(root.items, Scope(root.name, None, 0))
    return position


def anchors(env: Env, rule: ResourceRule) -> list[View]:
    """The segments that a resource is made from, in the order of the message."""
    found: list[View] = []
    earlier: list[str] = []
    for group, segment in rule.anchors:
        for view in env.views.get(segment, ()):
            if group and not _is_inside(view, group):
                continue
            if rule.outside and any(_is_inside(view, one) for one in rule.outside):
                continue
            if any(_inside_group(env, view, name) for name in earlier):
                continue
            found.append(view)
        earlier.append(segment)
    if len(rule.anchors) > 1:
        found.sort(key=lambda view: view.position)
    return found[:1] if rule.once else found


def _is_inside(view: View, group: str) -> bool:
    scope: Scope | None = view.scope
    while scope is not None:
        if scope.name == group:
            return True
        scope = scope.parent
    return False


def related(env: Env, anchor: View, name: str, where: Where) -> Sequence[View]:
    """The segments of a name that belong to an anchor."""
    if name == anchor.name and where is not Where.MESSAGE:
        return (anchor,)
    found = env.views.get(name)
    if not found:
        return ()
    if where is Where.MESSAGE:
        return found
    if where is Where.AFTER:
        return _following(env, anchor, found)
    inside = _inside_group(env, anchor, name)
    if inside:
        return inside
    if where is Where.AROUND:
        return _around(env, anchor, found)
    scope = anchor.scope.parent
    while scope is not None:
        direct = [view for view in found if view.scope is scope]
        if direct:
            return direct
        scope = scope.parent
    return ()


def _inside_group(env: Env, anchor: View, name: str) -> list[View]:
    """Those in the anchor's group and the groups within, up to the next anchor of its kind."""
    found = env.views.get(name)
    if not found:
        return []
    scope = anchor.scope
    first, last = scope.first, scope.last
    same = env.views[anchor.name]
    if len(same) > 1:
        siblings = [view.position for view in same if view.scope is scope]
        at = siblings.index(anchor.position)
        if at:
            first = anchor.position
        if at + 1 < len(siblings):
            last = siblings[at + 1] - 1
    inner = _scopes_of_others(env, anchor, scope)
    return [
        view for view in found if first <= view.position <= last and not _is_within(view, inner)
    ]


def _around(env: Env, anchor: View, found: Sequence[View]) -> Sequence[View]:
    """Those in the nearest group around that has any, groups beside the anchor's included; never all the message."""
    scope = anchor.scope.parent
    while scope is not None and scope.parent is not None:
        others = _scopes_of_others(env, anchor, scope)
        chosen = [
            view
            for view in found
            if scope.first <= view.position <= scope.last and not _is_within(view, others)
        ]
        if chosen:
            return chosen
        scope = scope.parent
    return ()


def _scopes_of_others(env: Env, anchor: View, scope: Scope) -> list[Scope]:
    """The groups within a group that another anchor has for itself: what is in them belongs to that one."""
    same = env.views[anchor.name]
    if len(same) == 1:
        return []
    return [
        view.scope
        for view in same
        if view.scope is not scope
        and view.scope is not anchor.scope
        and scope.first <= view.position <= scope.last
    ]


def _is_within(view: View, scopes: Sequence[Scope]) -> bool:
    return any(scope.first <= view.position <= scope.last for scope in scopes)


def _following(env: Env, anchor: View, found: Sequence[View]) -> list[View]:
    wanted = anchor.position + 1
    chosen = []
    for view in found:
        if view.position == wanted:
            chosen.append(view)
            wanted += 1
        elif view.position > wanted:
            break
    return chosen


__all__ = ["GroupLike", "ReadingLike", "StructureReader", "anchors", "place", "related"]
