"""Which segments belong together: views by group, anchors of resources, and what belongs to an anchor."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from adapters.hl7v2.codec import Message
from adapters.hl7v2.codec.segment import Segment
from adapters.hl7v2.mapping.frames import Env, Scope, View
from adapters.hl7v2.mapping.model import ResourceRule, Where
from adapters.hl7v2.mapping.protocol import Issue

_GOING_ON: Final = ("PD1", "PRT", "PV2", "TQ1", "TQ2", "CTD", "TCD", "RXR")
"""Segments that have no notes of their own: a note behind them is on the segment that they go on with."""


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
    _walk(env, root.items, Scope(root.name, None, 0))
    return len(env.ordered)


def _walk(env: Env, items: Iterable[object], scope: Scope) -> None:
    views, positions = env.views, env.positions
    for item in items:
        position = len(env.ordered)
        if isinstance(item, Segment):
            name = item.name
            found = views.get(name)
            if found is None:
                found = views[name] = []
                positions[name] = []
            view = View(env, item, scope, position, len(found) + 1)
            found.append(view)
            env.ordered.append(view)
            positions[name].append(position)
            scope.direct.setdefault(name, []).append(view)
        else:
            inner = Scope(item.name, scope, position)  # type: ignore[attr-defined]  # a group
            _walk(env, item.items, inner)  # type: ignore[attr-defined]  # a group
    scope.last = len(env.ordered) - 1


def anchors(env: Env, rule: ResourceRule) -> list[View]:
    """The segments that a resource is made from, in the order of the message."""
    found: list[View] = []
    earlier: list[str] = []
    claimed: set[int] = set()
    last = len(rule.anchors) - 1
    for number, (group, segment) in enumerate(rule.anchors):
        for view in env.views.get(segment, ()):
            if group and not _is_inside(view, group):
                continue
            if rule.outside and any(_is_inside(view, one) for one in rule.outside):
                continue
            if view.position in claimed or any(_inside_group(env, view, one) for one in earlier):
                continue
            found.append(view)
        earlier.append(segment)
        if number < last:
            _claim(env, segment, {name for _, name in rule.anchors[number + 1 :]}, claimed)
    if last:
        found.sort(key=lambda view: view.position)
    return found[:1] if rule.once else found


def _claim(env: Env, segment: str, names: set[str], claimed: set[int]) -> None:
    """Add the positions of what belongs to segments of a name: it makes no resource of its own."""
    for view in env.views.get(segment, ()):
        for name in names - {segment}:
            claimed.update(one.position for one in _inside_group(env, view, name))


def _is_inside(view: View, group: str) -> bool:
    scope: Scope | None = view.scope
    while scope is not None:
        if scope.name == group:
            return True
        scope = scope.parent
    return False


def related(
    env: Env, anchor: View, name: str, where: Where, outside: frozenset[str] = frozenset()
) -> Sequence[View]:
    """The segments of a name that belong to an anchor, but for those in groups that are left out."""
    found = _related(env, anchor, name, where)
    if not outside:
        return found
    return [view for view in found if not any(_is_inside(view, one) for one in outside)]


def _related(env: Env, anchor: View, name: str, where: Where) -> Sequence[View]:
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
        return _around(env, anchor, name)
    scope = anchor.scope.parent
    while scope is not None:
        direct = scope.direct.get(name)
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
    siblings = scope.direct[anchor.name]
    if len(siblings) > 1:
        if siblings[0] is not anchor:
            first = anchor.position
        after = bisect_right(siblings, anchor.position, key=_position)
        if after < len(siblings):
            last = siblings[after].position - 1
    return _unclaimed(env, name, anchor.name, scope, first, last)


def _around(env: Env, anchor: View, name: str) -> Sequence[View]:
    """Those in the nearest group around that has any, groups beside the anchor's included; never all the message."""
    scope = anchor.scope.parent
    while scope is not None and scope.parent is not None:
        key = (name, anchor.name)
        chosen = scope.unclaimed.get(key)
        if chosen is None:
            chosen = _unclaimed(env, name, anchor.name, scope, scope.first, scope.last)
            scope.unclaimed[key] = chosen
        if chosen:
            return chosen
        scope = scope.parent
    return ()


def _unclaimed(env: Env, name: str, anchor: str, scope: Scope, first: int, last: int) -> list[View]:
    """The segments of a stretch that are in no group within which has an anchor for itself: they belong to that one."""
    positions = env.positions[name]
    found = env.views[name][bisect_left(positions, first) : bisect_right(positions, last)]
    if len(env.views[anchor]) == 1:
        return found
    return [view for view in found if not _is_claimed(view, anchor, scope)]


def _is_claimed(view: View, anchor: str, scope: Scope) -> bool:
    inner: Scope | None = view.scope
    while inner is not None and inner is not scope:
        if anchor in inner.direct:
            return True
        inner = inner.parent
    return False


def _position(view: View) -> int:
    return view.position


def _following(env: Env, anchor: View, found: Sequence[View]) -> Sequence[View]:
    """Those that follow directly, or behind segments that only go on with what the anchor says."""
    positions = env.positions[found[0].name]
    at = bisect_left(positions, anchor.position + 1)
    going_on = [env.positions[name] for name in _GOING_ON if name in env.positions]
    chosen: list[View] = []
    wanted = anchor.position + 1
    while at < len(found):
        if positions[at] == wanted:
            chosen.append(found[at])
            at += 1
        elif not any(_holds(one, wanted) for one in going_on):
            break
        wanted += 1
    return chosen


def _holds(positions: Sequence[int], wanted: int) -> bool:
    at = bisect_left(positions, wanted)
    return at < len(positions) and positions[at] == wanted


__all__ = ["GroupLike", "ReadingLike", "StructureReader", "anchors", "place", "related"]
