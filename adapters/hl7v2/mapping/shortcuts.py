"""Shorter ways for the usual rules: one source, read directly. They do what `rules` does, without its generality.

When origins are asked for, the general way is taken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from adapters.hl7v2.mapping.conditions import Test
from adapters.hl7v2.mapping.frames import Frame, Parts, Step, below, is_valued, spot
from adapters.hl7v2.mapping.functions import FUNCTIONS, TextFunction, ValueFunction
from adapters.hl7v2.mapping.makers import Maker
from adapters.hl7v2.mapping.protocol import Json
from adapters.hl7v2.mapping.rules import Naming, refuse
from adapters.hl7v2.mapping.sources import EVERY, Kind, Source
from adapters.hl7v2.mapping.targets import Key, Target, copied
from schemas.errors import MeshError

Pick = Callable[[Parts], str]
_IDENTITY = FUNCTIONS["string"].text


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    """A rule that a shortcut may carry out."""

    source: Source
    target: Target
    naming: Naming
    test: Test | None
    general: Step


def shortcut(plain: Plain, maker: Maker, segment: str) -> Step | None:
    """The short way of a rule without a default whose condition is not about a repetition; None when there is none."""
    source = plain.source
    if maker.takes_all or source.kind is Kind.PARAMETER:
        return None
    if source.kind is Kind.FIELD and source.segment != segment:
        return None
    if maker.text is not None:
        if source.kind is Kind.RELATIVE:
            return _relative_text(plain, maker.text)
        if source.repetition == EVERY:
            return _every_text(plain, maker.text)
        return _field_text(plain, maker.text)
    if maker.is_document and maker.value is not None:
        if source.kind is Kind.RELATIVE:
            return None
        step = _field_document(plain, maker.value)
        if maker.remembered is None or source.component or source.repetition == EVERY:
            return step
        return _remembering(plain, step, maker)
    return None


def _pick(source: Source) -> Pick:
    """Reads the leaf that a source names."""
    at, inner = (source.component or 1) - 1, (source.subcomponent or 1) - 1

    def pick(parts: Parts) -> str:
        if at >= len(parts):
            return ""
        part = parts[at]
        if isinstance(part, str):
            return "" if inner else part
        return part[inner] if inner < len(part) else ""

    return pick


def _writer(target: Target, source: Source) -> Callable[[Frame, Json], object]:
    name = target.is_plain
    write, needs_key = target.put, target.needs_key
    key: Key = (source.component,)
    if name and target.element is not None and target.element.is_primitive:

        def put(frame: Frame, value: Json) -> object:
            out = frame.out
            if name in out and out[name] != value:
                frame.env.discarded.append(out[name])
            out[name] = value
            return None

        return put
    if not needs_key:
        return lambda frame, value: write(frame.out, value, frame, ())
    if source.kind is Kind.RELATIVE:
        return lambda frame, value: write(frame.out, value, frame, key)
    field, repetition = source.field, source.repetition
    return lambda frame, value: write(
        frame.out, value, frame, (frame.view.position, field, repetition)
    )


def constant_shortcut(plain: Plain, constant: Json) -> Step | None:
    """The short way of a constant that stands for a valued leaf of a data type; None when there is none."""
    source, test, general, target = plain.source, plain.test, plain.general, plain.target
    if source.kind is not Kind.RELATIVE or isinstance(constant, dict | list):
        return None
    component, subcomponent, put = source.component, source.subcomponent, _writer(target, source)

    def step(frame: Frame) -> None:
        if not is_valued(below(frame.parts or [], component, subcomponent)):
            return
        if frame.env.origins is not None:
            general(frame)
        elif test is None or test(frame):
            put(frame, constant)

    return step


def _relative_text(plain: Plain, function: TextFunction) -> Step:
    source, test, general = plain.source, plain.test, plain.general
    pick, put, naming = _pick(source), _writer(plain.target, source), plain.naming
    is_identity = function is _IDENTITY
    component, subcomponent = source.component or 1, source.subcomponent or 1

    def step(frame: Frame) -> None:
        text = pick(frame.parts or [])
        if not text or (test is not None and not test(frame)):
            return
        if frame.env.origins is not None:
            general(frame)
            return
        if is_identity:
            put(frame, text)
            frame.view.read.add(frame.at + component * frame.unit + subcomponent)
            return
        frame.source = source
        try:
            value = function(text, frame)
        except (MeshError, ValueError) as err:
            refuse(frame, naming, err)
            value = None
        if value is not None and value != "":
            put(frame, value)
        elif not frame.is_told:
            return
        frame.view.read.add(frame.at + component * frame.unit + subcomponent)

    return step


def _field_text(plain: Plain, function: TextFunction) -> Step:
    source, test, general = plain.source, plain.test, plain.general
    pick, put, naming = _pick(source), _writer(plain.target, source), plain.naming
    field, at = source.field, source.repetition - 1
    place = spot(field, at + 1, source.component or 1, source.subcomponent or 1)

    def step(frame: Frame) -> None:
        view = frame.view
        found = view.cut.get(field)
        if found is None:
            found = view.repetitions(field)
        if len(found) <= at or (test is not None and not test(frame)):
            return
        if frame.env.origins is not None:
            general(frame)
            return
        text = pick(found[at])
        if not text:
            return
        frame.source = source
        try:
            value = function(text, frame)
        except (MeshError, ValueError) as err:
            refuse(frame, naming, err)
            value = None
        if value is not None and value != "":
            put(frame, value)
        elif not frame.is_told:
            return
        view.read.add(place)

    return step


def _every_text(plain: Plain, function: TextFunction) -> Step:
    source, test, general, target = plain.source, plain.test, plain.general, plain.target
    pick, naming, field = _pick(source), plain.naming, source.field
    component, subcomponent = source.component or 1, source.subcomponent or 1

    def step(frame: Frame) -> None:
        view = frame.view
        found = view.cut.get(field)
        if found is None:
            found = view.repetitions(field)
        if not found or (test is not None and not test(frame)):
            return
        if frame.env.origins is not None:
            general(frame)
            return
        for number, parts in enumerate(found, 1):
            text = pick(parts)
            if not text:
                continue
            frame.source = source
            try:
                value = function(text, frame)
            except (MeshError, ValueError) as err:
                refuse(frame, naming, err)
                value = None
            if value is not None and value != "":
                target.put(frame.out, value, frame, (view.position, field, number))
            elif not frame.is_told:
                continue
            view.read.add(spot(field, number, component, subcomponent))

    return step


MAX_REMEMBERED = 4_096
_MAX_REMEMBERED_BYTES = 256


def _remembering(plain: Plain, step: Step, maker: Maker) -> Step:
    """Take a coded value from memory when it was made of the same bytes before, without a word to say about it."""
    source, target, test = plain.source, plain.target, plain.test
    field, key = source.field, (0, source.field, 1)
    remembered = maker.remembered if maker.remembered is not None else {}
    value_of = maker.value
    if value_of is None or source.repetition != 1 or target.needs_key:
        return step

    def quick(frame: Frame) -> None:
        view = frame.view
        fields = view.fields
        raw = fields[field] if field < len(fields) else b""
        if not raw or (test is not None and not test(frame)):
            return
        env = frame.env
        known = remembered.get(raw)
        if known is not None and env.origins is None and env.is_usual:
            view.read |= known[1]
            target.put(frame.out, copied(known[0]), frame, key)
            return
        before, had_gaps = len(env.issues), env.has_gaps
        env.has_gaps = False
        step(frame)
        is_silent = len(env.issues) == before and not env.has_gaps and not env.left_out
        env.has_gaps = env.has_gaps or had_gaps
        if (
            not is_silent
            or not env.is_usual
            or len(raw) > _MAX_REMEMBERED_BYTES
            or not raw.isascii()
        ):
            return
        found = view.repetitions(field)
        if not found or env.origins is not None:
            return
        at = Frame(env, frame.entry, view, {}, found[0], field, 1)
        read, view.read = view.read, set()
        made = value_of(at)
        places, view.read = frozenset(view.read), read
        if made is not None:
            if len(remembered) >= MAX_REMEMBERED:
                remembered.clear()
            remembered[raw] = (made, places)

    return quick


def _field_document(plain: Plain, function: ValueFunction) -> Step:
    source, test, general, target = plain.source, plain.test, plain.general, plain.target
    field, only, naming = source.field, source.repetition, plain.naming
    component, subcomponent = source.component, source.subcomponent

    def step(frame: Frame) -> None:
        view = frame.view
        found = view.cut.get(field)
        if found is None:
            found = view.repetitions(field)
        if len(found) < only or not found or (test is not None and not test(frame)):
            return
        env = frame.env
        if env.origins is not None:
            general(frame)
            return
        number = only or 1
        for parts in found if only == EVERY else found[only - 1 : only]:
            value_parts = below(parts, component, subcomponent) if component else parts
            if is_valued(value_parts):
                at = Frame(
                    env,
                    frame.entry,
                    view,
                    frame.out,
                    value_parts,
                    field,
                    number,
                    component,
                    subcomponent,
                )
                try:
                    value = function(at)
                except (MeshError, ValueError) as err:
                    refuse(at, naming, err)
                    at.took_all()
                    value = None
                if value is not None:
                    target.put(frame.out, value, frame, (view.position, field, number))
            number += 1

    return step


__all__ = ["Plain", "constant_shortcut", "shortcut"]
