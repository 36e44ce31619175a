"""Rules to closures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from adapters.hl7v2.mapping.conditions import Test
from adapters.hl7v2.mapping.frames import (
    UNIT,
    Entry,
    Env,
    Frame,
    Naming,
    Parts,
    Step,
    View,
    below,
    is_valued,
    leaf,
    spot,
)
from adapters.hl7v2.mapping.functions import TextFunction, ValueFunction
from adapters.hl7v2.mapping.makers import Maker, linked
from adapters.hl7v2.mapping.protocol import IssueCode, Json, Severity
from adapters.hl7v2.mapping.sources import EVERY, Kind, Source
from adapters.hl7v2.mapping.targets import Key, Target, copied
from schemas.errors import MeshError

Hit = tuple[View, int, Parts]
"""A segment, the number of a repetition (0 where there is none) and its parts."""
Hits = Callable[[Frame], Sequence[Hit]]
Emit = Callable[[Frame, "Read", View, int, Parts], bool]
"""Makes and writes the value of one hit; says whether there was one."""
_NOTHING: Final[Sequence[Hit]] = ()
PARAMETER_PLACE: Final = 1
"""In no field of a segment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """A source, compiled."""

    source: Source
    hits: Hits

    def key(self, view: View, repetition: int) -> Key:
        """What values of one source repetition have in common."""
        if self.source.kind is Kind.FIELD:
            return (view.position, self.source.field, repetition)
        return (self.source.component,)


def compile_read(source: Source, segment: str) -> Read:
    """Compile how a source is read. `segment` is that of the document."""
    if source.kind is Kind.PARAMETER:
        name = source.name

        def parameter(frame: Frame) -> Sequence[Hit]:
            text = frame.env.context.parameters.get(name, "")
            return ((frame.view, 0, [text]),) if text else _NOTHING

        return Read(source=source, hits=parameter)
    if source.kind is Kind.RELATIVE:

        def relative(frame: Frame) -> Sequence[Hit]:
            return ((frame.view, frame.repetition, frame.parts or []),)

        return Read(source=source, hits=relative)
    return Read(source=source, hits=_field_hits(source, segment))


def _field_hits(source: Source, segment: str) -> Hits:
    name, field, only = source.segment, source.field, source.repetition
    is_own = name == segment

    def hits(frame: Frame) -> Sequence[Hit]:
        view: View | None = frame.view
        if not is_own and view is not None and view.name != name:
            view = frame.env.nearest(view, name)
        if view is None:
            return _NOTHING
        repetitions = view.repetitions(field)
        if not repetitions:
            return _NOTHING
        if only == EVERY:
            return [(view, i, parts) for i, parts in enumerate(repetitions, 1)]
        if only > len(repetitions):
            return _NOTHING
        return ((view, only, repetitions[only - 1]),)

    return hits


def _frame_of(frame: Frame, read: Read, view: View, repetition: int, parts: Parts) -> Frame:
    """A frame on a hit's value; its `out` is to be set."""
    source = read.source
    field = source.field or frame.field
    component, subcomponent = source.component, source.subcomponent
    if source.kind is Kind.RELATIVE and frame.component:
        component, subcomponent = frame.component, component
    return Frame(
        frame.env,
        frame.entry,
        view,
        frame.out,
        below(parts, source.component, source.subcomponent),
        field,
        repetition,
        component,
        subcomponent,
    )


def refuse(frame: Frame, naming: Naming, err: Exception) -> None:
    """Say that a rule could not read a value."""
    frame.env.issue(
        Severity.ERROR, IssueCode.BAD_VALUE, frame.address, rule=naming.rule, detail=_reason(err)
    )


def _reason(err: Exception) -> str:
    """Why, without the value: messages of the standard library may hold it."""
    if isinstance(err, MeshError):
        return err.code
    text = str(err)
    return (
        text if text.startswith(("no ", "neither ", "a number ", "a uri ")) else type(err).__name__
    )


def write_value(
    frame: Frame, target: Target, value: Json, key: Key, naming: Naming, view: View, place: int
) -> Json:
    """Write a value, and note where it comes from: a segment and a place in it, 0 for a constant."""
    container, name, placed = target.write(frame, value, key)
    frame.env.note((container, name, value, view, place, naming))
    return placed


def is_told(frame: Frame) -> bool:
    """Whether the last issue is about this very place."""
    return frame.is_told


def _place(frame: Frame, source: Source, repetition: int) -> int:
    """The place that a source names."""
    component, subcomponent = source.component, source.subcomponent
    if source.kind is Kind.FIELD:
        return spot(source.field, repetition, component, subcomponent)
    if source.kind is Kind.PARAMETER:
        return PARAMETER_PLACE
    return frame.base + component * frame.unit + (subcomponent if frame.unit == UNIT else 0)


def emit_text(function: TextFunction, target: Target, naming: Naming) -> Emit:
    """Of a leaf's text by a text function."""
    needs_key = target.needs_key

    def emit(frame: Frame, read: Read, view: View, repetition: int, parts: Parts) -> bool:
        source = read.source
        text = leaf(parts, source.component, source.subcomponent)
        if not text:
            return False
        at = _frame_of(frame, read, view, repetition, parts)
        try:
            value = function(text, at)
        except (MeshError, ValueError) as err:
            refuse(at, naming, err)
            value = None
        if value is None or value == "":
            if at.is_told:
                _note_read(frame, source, view, repetition)
            return False
        key = read.key(view, repetition) if needs_key else None
        place = _place(frame, source, repetition)
        write_value(frame, target, value, key, naming, view, place)
        _note_read(frame, source, view, repetition)
        return True

    return emit


def _note_read(frame: Frame, source: Source, view: View, repetition: int) -> None:
    """Note that the leaf that a source names is in what was made, or told."""
    component, subcomponent = source.component or 1, source.subcomponent or 1
    if source.kind is Kind.FIELD:
        view.read.add(spot(source.field, repetition, component, subcomponent))
    elif source.kind is Kind.RELATIVE:
        frame.took(component, subcomponent)


def emit_value(
    function: ValueFunction, target: Target, naming: Naming, *, is_document: bool
) -> Emit:
    """Of a value with parts: by a value function, a document, or a created resource."""
    needs_key = target.needs_key

    def emit(frame: Frame, read: Read, view: View, repetition: int, parts: Parts) -> bool:
        at = _frame_of(frame, read, view, repetition, parts)
        if not is_valued(at.parts or []):
            return False
        env = frame.env
        start = len(env.origins)
        try:
            value = function(at)
        except (MeshError, ValueError) as err:
            refuse(at, naming, err)
            at.took_all()
            del env.origins[start:]
            return False
        if value is None or value == "":
            return False
        key = read.key(view, repetition) if needs_key else None
        if is_document and isinstance(value, dict):
            target.write(frame, value, key)
            return True
        place = _place(frame, read.source, repetition)
        placed = write_value(frame, target, value, key, naming, view, place)
        relink(env, value, placed)
        return True

    return emit


def relink(env: Env, value: Json, placed: Json) -> None:
    """Fill in a reference that was merged into another object there."""
    links = env.links
    if placed is value or not links or links[-1][0] is not value or not isinstance(placed, dict):
        return
    _, target, owner = links[-1]
    links[-1] = (placed, target, owner)


def emit_const(value: Json, target: Target, naming: Naming) -> Emit:
    """A constant for each valued hit."""
    is_object = isinstance(value, dict | list)

    def emit(frame: Frame, read: Read, view: View, repetition: int, parts: Parts) -> bool:
        source = read.source
        if not is_valued(below(parts, source.component, source.subcomponent)):
            return False
        key = read.key(view, repetition) if target.needs_key else None
        place = _place(frame, source, repetition)
        made = copied(value) if is_object else value
        write_value(frame, target, made, key, naming, view, place)
        return True

    return emit


def nearest_entry(frame: Frame, name: str, view: View) -> Entry | None:
    """The nearest resource of a name."""
    return frame.env.nearest_entry(view, name)


def emit_ref(name: str, target: Target, naming: Naming) -> Emit:
    """A reference to the nearest resource of a name, for each valued hit."""

    def emit(frame: Frame, read: Read, view: View, repetition: int, parts: Parts) -> bool:
        source = read.source
        if not is_valued(below(parts, source.component, source.subcomponent)):
            return False
        key = read.key(view, repetition) if target.needs_key else None
        place = _place(frame, source, repetition)
        return write_reference(frame, name, target, key, naming, view, place)

    return emit


def write_reference(
    frame: Frame, name: str, target: Target, key: Key, naming: Naming, view: View, place: int
) -> bool:
    """Write a reference to the nearest resource of a name, if there is one."""
    entry = nearest_entry(frame, name, frame.view)
    if entry is None or entry is frame.entry:
        return False
    value = linked(frame, entry, frame.entry)
    placed = write_value(frame, target, value, key, naming, view, place)
    relink(frame.env, value, placed)
    return True


def always(act: Callable[[Frame], object]) -> Step:
    """A step without a source."""

    def step(frame: Frame) -> None:
        act(frame)

    return step


def each(reads: Sequence[Read], emit: Emit, *, first_only: bool) -> Callable[[Frame], bool]:
    """Emit for every hit of the first source that is valued."""

    def act(frame: Frame) -> bool:
        for read in reads:
            done = False
            for view, repetition, parts in read.hits(frame):
                if emit(frame, read, view, repetition, parts):
                    done = True
                    if first_only:
                        break
            if done:
                return True
        return False

    return act


def each_when(reads: Sequence[Read], emit: Emit, test: Test) -> Callable[[Frame], bool]:
    """As `each`, for conditions on the repetition that is looked at."""

    def act(frame: Frame) -> bool:
        for read in reads:
            done = False
            for view, repetition, parts in read.hits(frame):
                at = Frame(
                    frame.env,
                    frame.entry,
                    frame.view,
                    frame.out,
                    parts,
                    read.source.field,
                    repetition,
                )
                if test(at) and emit(frame, read, view, repetition, parts):
                    done = True
            if done:
                return True
        return False

    return act


def with_default(
    act: Callable[[Frame], bool], default: Json, target: Target, naming: Naming
) -> Callable[[Frame], bool]:
    """Write the default when there was nothing else."""

    def step(frame: Frame) -> bool:
        if not act(frame):
            write_value(frame, target, copied(default), (), naming, frame.view, 0)
        return True

    return step


def guarded(test: Test, act: Callable[[Frame], object]) -> Step:
    """Act only when the condition holds."""

    def step(frame: Frame) -> None:
        if test(frame):
            act(frame)

    return step


def maker_emit(maker: Maker, target: Target, naming: Naming) -> Emit:
    """The emit of a maker."""
    if maker.text is not None:
        return emit_text(maker.text, target, naming)
    if maker.value is None:
        raise ValueError("a maker has a function")
    return emit_value(maker.value, target, naming, is_document=maker.is_document)


__all__ = [
    "Emit",
    "Naming",
    "Read",
    "always",
    "compile_read",
    "each",
    "each_when",
    "emit_const",
    "emit_ref",
    "guarded",
    "is_told",
    "maker_emit",
    "nearest_entry",
    "refuse",
    "relink",
    "with_default",
    "write_reference",
    "write_value",
]
