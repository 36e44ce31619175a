"""Message documents of the way to HL7 v2: which segments come from which resources, layer over layer."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from adapters.hl7v2.mapping.errors import TablesError, nearest
from adapters.hl7v2.mapping.model import Place
from adapters.hl7v2.mapping.protocol import Json
from adapters.hl7v2.mapping.reading import Reader
from adapters.hl7v2.reverse.model import MessageDocument, Once, Step, Use

MAX_LEVELS: Final = 8
_STEP_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,40}\Z")
_TYPE: Final = re.compile(r"[A-Z][A-Z0-9]{2}\Z")
_KEYS: Final = frozenset(
    {"message", "type", "events", "event", "when", "rank", "steps", "override", "disable", "insert", "note"}
)  # fmt: skip
_STEP_KEYS: Final = frozenset(
    {"name", "each", "belongs", "when", "documents", "once", "required", "always", "steps", "note"}
)
_RESERVED: Final = frozenset(
    {"bundle", "resource", "rootResource", "context", "sct", "loinc", "ucum"}
)


def read_message(value: Json, place: Place, earlier: MessageDocument | None) -> MessageDocument:
    """One message document, laid over that of earlier layers. Raises `TablesError`."""
    reader = Reader(value, str(place), _KEYS)
    name = reader.name("message")
    reader.where = f"{place}: {name}"
    if earlier is not None and "steps" in reader.value:
        raise TablesError(
            f"{reader.where}: steps: an earlier layer has them; change them by 'override', 'disable' and 'insert'"
        )
    steps = earlier.steps if earlier else _steps(reader, "steps", 0)
    steps = _changed(reader, steps)
    _check_names(steps, reader.where)
    document = MessageDocument(
        name=name,
        place=place,
        type=reader.text("type") or (earlier.type if earlier else ""),
        events=reader.pairs("events") or (earlier.events if earlier else {}),
        event=reader.texts("event") or (earlier.event if earlier else ()),
        when=reader.text("when") or (earlier.when if earlier else ""),
        rank=_rank(reader, earlier.rank if earlier else 0),
        steps=steps,
    )
    if not _TYPE.match(document.type):
        raise reader.error("type", "three capital letters, such as ORU, are expected")
    return document


def walk(steps: Sequence[Step]) -> Iterator[Step]:
    """All steps, those below after the one above."""
    for step in steps:
        yield step
        yield from walk(step.steps)


def _rank(reader: Reader, earlier: int) -> int:
    value = reader.value.get("rank", earlier)
    if not isinstance(value, int) or isinstance(value, bool):
        raise reader.error("rank", "a whole number is expected")
    return value


def _steps(reader: Reader, key: str, level: int) -> tuple[Step, ...]:
    if level >= MAX_LEVELS:
        raise TablesError(f"{reader.where}: more than {MAX_LEVELS} levels of steps")
    return tuple(_step(one, reader.where, level) for one in reader.items(key))


def _step(value: Json, where: str, level: int) -> Step:
    reader = Reader(value, f"{where}: step", _STEP_KEYS)
    name = reader.name("name")
    reader.where = f"{where}: step {name}"
    if not _STEP_NAME.match(name) or name in _RESERVED:
        raise reader.error(
            "name", "a word in small letters that is no variable of FHIRPath is expected"
        )
    step = Step(
        name=name,
        each=reader.texts("each"),
        belongs=reader.text("belongs"),
        when=reader.text("when"),
        documents=tuple(_use(one, reader) for one in reader.items("documents")),
        once=Once(reader.one_of("once", ("first", "only"))),
        required=reader.flag("required"),
        always=reader.flag("always"),
        steps=_steps(reader, "steps", level + 1),
    )
    if not step.documents and not step.steps:
        raise TablesError(f"{reader.where}: 'documents' or 'steps' is missing")
    if step.belongs and not step.each:
        raise TablesError(f"{reader.where}: 'belongs' needs 'each'")
    return step


def _use(value: Json, reader: Reader) -> Use:
    if isinstance(value, str) and value.strip():
        return Use(document=value.strip())
    inner = Reader(value, f"{reader.where}: documents", {"document", "of"})
    return Use(document=inner.text("document", required=True), of=inner.text("of", required=True))


def _changed(reader: Reader, steps: tuple[Step, ...]) -> tuple[Step, ...]:
    for name in reader.texts("disable"):
        _demand(name, steps, reader, "disable")
        steps = _replaced(steps, name, ())
    for value in reader.items("override"):
        step = _step(value, reader.where, 1)
        _demand(step.name, steps, reader, "override")
        steps = _replaced(steps, step.name, (step,))
    for value in reader.items("insert"):
        inner = Reader(value, f"{reader.where}: insert", {"after", "step", "note"})
        after = inner.text("after", required=True)
        _demand(after, steps, reader, "insert")
        old = next(one for one in walk(steps) if one.name == after)
        steps = _replaced(steps, after, (old, _step(inner.value.get("step"), reader.where, 1)))
    return steps


def _demand(name: str, steps: tuple[Step, ...], reader: Reader, key: str) -> None:
    known = [one.name for one in walk(steps)]
    if name not in known:
        raise TablesError(
            f"{reader.where}: {key}: no earlier layer has the step {name!r}{nearest(name, known)}"
        )


def _replaced(steps: tuple[Step, ...], name: str, by: tuple[Step, ...]) -> tuple[Step, ...]:
    out: list[Step] = []
    for step in steps:
        if step.name == name:
            out += by
        else:
            out.append(replace(step, steps=_replaced(step.steps, name, by)))
    return tuple(out)


def _check_names(steps: tuple[Step, ...], where: str) -> None:
    seen: set[str] = set()
    for step in walk(steps):
        if step.name in seen:
            raise TablesError(f"{where}: the step {step.name!r} stands twice")
        seen.add(step.name)


__all__ = ["read_message", "walk"]
