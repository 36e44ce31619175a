"""What rules run on: segments in their groups, resources in the making, and the place where a rule stands."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from adapters.hl7v2.codec import Message
from adapters.hl7v2.codec.delimiters import DEFAULT_DELIMITERS
from adapters.hl7v2.codec.errors import CharsetError
from adapters.hl7v2.codec.segment import SELF_DESCRIBING, Segment
from adapters.hl7v2.mapping.leaves import (
    COMPONENT_BITS,
    FIELD_BITS,
    NEXT,
    PARTS,
    REPETITION_BITS,
    SHORT,
    UNIT,
    Parts,
    below,
    clean,
    complex_finder,
    cut_text,
    is_valued,
    leaf,
    separators,
    special_finder,
    spot,
)
from adapters.hl7v2.mapping.protocol import (
    Issue,
    IssueCode,
    Json,
    MapContext,
    Resource,
    Severity,
)
from adapters.hl7v2.mapping.remembered import Remembered
from adapters.hl7v2.mapping.sources import Source
from schemas.errors import MeshError

MAX_ISSUES: Final = 1_000
"""Per message; the rest is counted in one last issue."""


def place_address(view: View, place: int) -> str:
    """`OBX[3]-5[2].1` of a place: a spot whose component and subcomponent may be 0; empty for the place 0."""
    if not place:
        return ""
    field, repetition = place >> FIELD_BITS & PARTS, place >> REPETITION_BITS
    component, subcomponent = place >> COMPONENT_BITS & PARTS, place & PARTS
    if not field:
        return view.address
    text = f"{view.address}-{field}"
    if repetition > 1:
        text += f"[{repetition}]"
    if component:
        text += f".{component}"
    return f"{text}.{subcomponent}" if subcomponent else text


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """What issues and origins say of a rule."""

    rule: str
    layer: str
    is_constant: bool = False
    """Whether its value is the table's, and says nothing of what the source holds."""


class Scope:
    """A group: the segments from `first` to `last` are in it or in groups within."""

    __slots__ = ("direct", "first", "last", "name", "near", "parent", "unclaimed")

    def __init__(self, name: str, parent: Scope | None, first: int) -> None:
        self.direct: dict[str, list[View]] = {}
        """The segments directly in it, by name."""
        self.unclaimed: dict[tuple[str, str], list[View]] = {}
        """By two names: segments of the first that no group within with one of the second has for itself."""
        self.near: dict[tuple[str, str, bool], list[int]] = {}
        """By a group within and a name (of segments, or of resources): indices of those that are in no repetition of
        that group. Made when it is asked for."""
        self.name = name
        self.parent = parent
        self.first = first
        self.last = first


class View:
    """A segment of the message, its fields cut when they are asked for."""

    __slots__ = (
        "cut", "env", "fields", "name", "near", "near_entries", "number", "position", "read", "scope", "segment",
        "shape",
    )  # fmt: skip

    def __init__(
        self, env: Env, segment: Segment, scope: Scope, position: int, number: int
    ) -> None:
        self.env = env
        self.segment = segment
        self.name = segment.name
        self.scope = scope
        self.position = position
        self.number = number
        self.read: set[int] = set()
        """The leaves (`spot`) whose text is in what was made, or in an issue."""
        self.near: dict[str, View | None] = {}
        self.near_entries: dict[str, Entry | None] = {}
        """The nearest segments and resources by name, as far as they were asked for."""
        self.cut: dict[int, list[Parts]] = {}
        """Repetitions by field, as far as they were asked for."""
        try:
            self.fields = segment.fields
        except MeshError as err:
            self.fields = []
            env.issue(Severity.ERROR, IssueCode.BAD_VALUE, self.address, detail=err.code)
        self.shape = bytes(map(bool, self.fields))
        """Of each field whether it holds anything."""

    def repetitions(self, field: int) -> list[Parts]:
        """A field's repetitions, trimmed; nulls and spaces are empty. What cannot be read is empty and an issue."""
        cut = self.cut.get(field)
        if cut is None:
            fields = self.fields
            raw = fields[field] if field < len(fields) else b""
            if not raw:
                cut = []
            elif self.env.is_special(raw) is None:
                cut = [[raw.decode("ascii")]]
            else:
                cut = self._read(field)
            self.cut[field] = cut
        return cut

    def _read(self, field: int) -> list[Parts]:
        raw = self.fields[field]
        marks = None if self.name in SELF_DESCRIBING and field <= 2 else self.env.simple_marks
        if marks is not None and len(raw) <= SHORT and self.env.is_complex(raw) is None:
            # a short text of letters and separators alone: no set of characters, escape or limit is in question
            return cut_text(raw.decode("ascii"), *marks)
        try:
            cut = self.env.message.parts(self.segment, field)
        except MeshError as err:
            code = IssueCode.CHARSET if isinstance(err, CharsetError) else IssueCode.BAD_VALUE
            self.env.issue(Severity.ERROR, code, f"{self.address}-{field}", detail=err.code)
            return []
        for repetition in cut:
            clean(repetition)
        return cut

    @property
    def address(self) -> str:
        """`OBX[3]`; `PID` when it is the first."""
        return self.name if self.number == 1 else f"{self.name}[{self.number}]"


Origin = tuple[object, object, object, View, int, Naming]
"""Of a written value: its container, the key in it, the value, its segment, its place there, its rule."""


class Entry:
    """A resource in the making."""

    __slots__ = (
        "anchor", "body", "dropped", "id", "is_created", "key", "name", "order", "parent", "place",
        "query", "recalled", "rule", "same", "type",
    )  # fmt: skip

    def __init__(self, kind: str, name: str, anchor: View, order: int, rule: object = None) -> None:
        self.type = kind
        self.name = name
        self.anchor = anchor
        self.order = order
        self.rule = rule
        self.body: Resource = {"resourceType": kind}
        self.id = ""
        self.key: tuple[str, str] | None = None
        """System and value of the identifier that makes the id."""
        self.query: str | None = None
        """The search for that identifier, once it was asked for."""
        self.dropped = False
        self.is_created = not name
        self.parent: Entry | None = None
        self.place = 0
        self.recalled: tuple[Remembered, int] | None = None
        """What it is remembered with, and its number there, as long as it is as it was made."""
        self.same: Entry | None = None
        """The entry that this one was made one with."""


class Recalled:
    """A remembered value as it stands in a message."""

    __slots__ = ("base", "entries", "remembered", "value", "view")

    def __init__(
        self, remembered: Remembered, value: Json, entries: list[Entry], view: View, base: int
    ) -> None:
        self.remembered = remembered
        self.value = value
        self.entries = entries
        self.view = view
        self.base = base


def _released(origin: Origin) -> None:
    raise RuntimeError("the message is mapped: nothing more is noted")


class Env:
    """One message being mapped."""

    __slots__ = (
        "context", "created", "dead", "dead_doubles", "discarded", "entries", "has_gaps", "is_complex", "is_special",
        "is_tainted", "is_usual", "issues", "known", "left_out", "links", "message", "moved", "note", "ordered",
        "origins", "owned", "positions", "recalled", "resource_positions", "resources", "simple_marks", "views",
    )  # fmt: skip

    def __init__(self, message: Message, context: MapContext) -> None:  # noqa: PLR0915  # a list of what there is
        self.message = message
        self.context = context
        marks = message.delimiters
        self.is_special = special_finder(marks)
        self.is_complex = complex_finder(marks)
        self.simple_marks = separators(marks)
        """Separators of repetitions, components and subcomponents, where a message has all of them."""
        self.is_usual = message.delimiters == DEFAULT_DELIMITERS
        """Whether equal bytes of two such messages mean the same."""
        self.views: dict[str, list[View]] = {}
        self.positions: dict[str, list[int]] = {}
        """Those of `views`."""
        self.ordered: list[View] = []
        """All segments, by their positions."""
        self.entries: list[Entry] = []
        self.resources: dict[str, list[Entry]] = {}
        """By the name in the message document, in the order of their anchors."""
        self.resource_positions: dict[str, list[int]] = {}
        """Those of the anchors of `resources`."""
        self.owned: dict[tuple[str, str], dict[int, list[tuple[int, Entry]]]] = {}
        """By two names of resources: by identity of one of the second name those of the first, with their numbers,
        that it is the nearest for. Made when it is asked for."""
        self.created: list[Entry] = []
        self.links: list[tuple[dict[str, Json], Entry, Entry]] = []
        """Reference, its target, its owner."""
        self.issues: list[Issue] = []
        self.left_out = 0
        self.has_gaps = False
        self.discarded: list[Json] = []
        """Values that others took the place of; of objects an empty text."""
        self.dead: list[object] = []
        """Objects and lists that are not given out after all; what is in them may still have been moved elsewhere."""
        self.dead_doubles: list[tuple[Entry, object]] = []
        """Those of resources that were made one with others."""
        self.origins: list[Origin] = []
        """Of each written value: its container, the key in it, the value, its segment, its place there, its rule."""
        self.note = self.origins.append
        self.recalled: list[Recalled] = []
        """Values that were made before, with origins of their own."""
        self.moved: dict[int, tuple[object, object]] = {}
        """By identity: an object that was merged into another, and that one; kept with the origins."""
        self.is_tainted = False
        """Whether what is being made depends on more than the value that it is made of."""
        self.known: dict[int, list[Entry]] = {}
        """By identity of something remembered: the resources that were made of it for this message."""

    def release(self) -> None:
        """Cut the circles between segments, groups and this, so that all of it goes at once, without the collector."""
        for view in self.ordered:
            view.scope.direct.clear()
            view.near.clear()
            view.near_entries.clear()
            del view.env, view.scope
        self.note = _released

    def discard(self, old: object) -> None:
        """Note that another value took the place of this one."""
        if isinstance(old, dict | list):
            self.discarded.append("")
            self.dead.append(old)
        else:
            self.discarded.append(old)  # type: ignore[arg-type]  # a text, number or boolean

    def issue(
        self,
        severity: Severity,
        code: IssueCode,
        where: str,
        *,
        rule: str = "",
        table: str = "",
        detail: str = "",
    ) -> None:
        """Add an issue; beyond a bound they are only counted."""
        if len(self.issues) >= MAX_ISSUES:
            self.left_out += 1
            return
        self.issues.append(
            Issue(severity=severity, code=code, where=where, rule=rule, table=table, detail=detail)
        )

    def nearest(self, view: View, name: str) -> View | None:
        """The nearest segment of a name: in the group the last before, else the first after; else the group around.

        Never one in another repetition of a group that the segment is in.
        """
        found = self.views.get(name)
        if not found:
            return None
        scope = view.scope
        if len(found) == 1 and (found[0].scope is scope or found[0].scope.parent is None):
            return found[0]
        near = view.near
        if name not in near:
            index = nearest_index(
                self.positions[name], view, (name, False), lambda one: found[one].scope
            )
            near[name] = None if index is None else found[index]
        return near[name]

    def nearest_entry(self, view: View, name: str) -> Entry | None:
        """The nearest resource of a name in the message document, by the segment that it is made from."""
        found = self.resources.get(name)
        if not found:
            return None
        scope = view.scope
        if len(found) == 1:
            own = found[0].anchor.scope
            if own is scope or own.parent is None:
                return found[0]
        near = view.near_entries
        if name not in near:
            index = nearest_index(
                self.resource_positions[name],
                view,
                (name, True),
                lambda one: found[one].anchor.scope,
            )
            near[name] = None if index is None else found[index]
        return near[name]


def nearest_index(
    positions: Sequence[int],
    view: View,
    key: tuple[str, bool],
    scope_of: Callable[[int], Scope],
) -> int | None:
    """The index of the position that is nearest to a segment, by its groups.

    None when all that there are belong to other repetitions of its groups. `positions` rise; `scope_of` says where the
    one with an index is, and `key` tells one list of positions from another.
    """
    scope = view.scope
    here = view.position
    first = bisect_left(positions, scope.first)
    end = bisect_right(positions, scope.last, first)
    if first < end:
        return max(first, bisect_right(positions, here, first, end) - 1)
    while scope.parent is not None:
        inner, scope = scope, scope.parent
        first = bisect_left(positions, scope.first)
        end = bisect_right(positions, scope.last, first)
        if first == end:
            continue
        chosen = scope.near.get((inner.name, *key))
        if chosen is None:
            chosen = scope.near[inner.name, *key] = [
                one for one in range(first, end) if not _is_in(scope_of(one), inner.name, scope)
            ]
        if chosen:
            after = bisect_right(chosen, here, key=positions.__getitem__)
            return chosen[max(0, after - 1)]
    return None


def _is_in(scope: Scope | None, name: str, around: Scope) -> bool:
    """Whether a group is, or is within, one of a name that stands directly in another."""
    while scope is not None and scope is not around:
        if scope.parent is around:
            return scope.name == name
        scope = scope.parent
    return False


class Frame:
    """Where a rule stands: a segment, or a value in it, and what is being filled."""

    __slots__ = (
        "at", "base", "component", "entry", "env", "field", "labels", "out", "parts", "repetition", "source",
        "subcomponent", "unit", "view",
    )  # fmt: skip

    def __init__(
        self,
        env: Env,
        entry: Entry,
        view: View,
        out: dict[str, Json],
        parts: Parts | None = None,
        field: int = 0,
        repetition: int = 0,
        component: int = 0,
        subcomponent: int = 0,
    ) -> None:
        self.env = env
        self.entry = entry
        self.view = view
        self.out = out
        self.parts = parts
        self.field = field
        self.repetition = repetition
        self.component = component
        self.subcomponent = subcomponent
        self.labels: dict[object, dict[str, Json]] | None = None
        self.source: Source | None = None
        """What the rule that runs reads, for its address."""
        if field:
            # a leaf of the value is the spot at + component * unit + subcomponent
            start = (repetition << REPETITION_BITS) + (field << FIELD_BITS)
            if not component:
                self.at = self.base = start
                self.unit = UNIT
            else:
                # the place of all of the value, and of its component n: base + n * unit
                self.base = start + component * UNIT + subcomponent
                self.at, self.unit = self.base - 1, 0 if subcomponent else 1
        else:
            self.at = self.base = self.unit = 0

    def took(self, component: int = 1, subcomponent: int = 1) -> None:
        """Note that a leaf of the value is in what is made of it."""
        self.view.read.add(self.at + component * self.unit + subcomponent)

    def took_all(self) -> None:
        """Note that all of the value is in what is made of it, or told by an issue."""
        for component, part in enumerate(self.parts or [], 1):
            for subcomponent in range(1, 2 if isinstance(part, str) else len(part) + 1):
                self.took(component, subcomponent)

    @property
    def is_told(self) -> bool:
        """Whether the last issue is about this very place."""
        issues = self.env.issues
        return bool(issues) and issues[-1].where == self.address

    @property
    def address(self) -> str:
        """`OBX[3]-5[2].1`, for issues and origins."""
        text, source = self.view.address, self.source
        field, repetition = self.field, self.repetition
        numbers = [one for one in (self.component, self.subcomponent) if one]
        if source is not None:
            if self.parts is None:
                field, repetition = source.field, source.repetition
            numbers = [*numbers, *(one for one in (source.component, source.subcomponent) if one)]
        if not field:
            return text
        text += f"-{field}"
        if repetition > 1:
            text += f"[{repetition}]"
        return ".".join([text, *map(str, numbers[:2])])


Step = Callable[[Frame], None]
Parameters = Mapping[str, str]

__all__ = [
    "NEXT",
    "PARTS",
    "UNIT",
    "Entry",
    "Env",
    "Frame",
    "Naming",
    "Parts",
    "Recalled",
    "Scope",
    "Step",
    "View",
    "below",
    "is_valued",
    "leaf",
    "nearest_index",
    "place_address",
    "spot",
]
