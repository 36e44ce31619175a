"""Makers: from a value of the message to a FHIR value, by a function, a code table or a data type document."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast

from adapters.hl7v2.mapping.coding import (
    Lookup,
    coding_of,
    give_system,
    is_kept,
    plain_coding,
    replace_coding,
)
from adapters.hl7v2.mapping.frames import Entry, Frame, leaf
from adapters.hl7v2.mapping.functions import CODED, FUNCTIONS, Function, TextFunction, ValueFunction
from adapters.hl7v2.mapping.protocol import IssueCode, Json, Severity
from adapters.hl7v2.mapping.targets import VALUE

Leaves = frozenset[tuple[int, int]]
ALL: Final[Leaves] = frozenset({(0, 0)})
FIRST: Final[Leaves] = frozenset({(1, 1)})
Run = Callable[[Frame], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Maker:
    """How a rule's value is made. Exactly one of `text` (of a leaf) and `value` (of a frame)."""

    gives: frozenset[str]
    """FHIR types of elements that take it."""
    reads: Leaves
    text: TextFunction | None = None
    value: ValueFunction | None = None
    is_document: bool = False
    takes_all: bool = False
    remembered: dict[bytes, Json] | None = None
    """Values by the bytes they were made of, where nothing but these decides; codes repeat from message to message."""


def function_maker(name: str, lookup: Lookup | None, system: str) -> Maker:
    """The maker of a registered function, `Coding` and `CodeableConcept` included."""
    if name in CODED:
        return Maker(gives=frozenset({name}), reads=FIRST, text=_coded(name, lookup, system))
    function = FUNCTIONS[name]
    if function.value is not None:
        return Maker(
            gives=function.gives, reads=ALL, value=function.value, takes_all=function.takes_all
        )
    text = cast("TextFunction", function.text)
    return Maker(
        gives=function.gives,
        reads=FIRST,
        text=_looked_up(text, lookup, function, name) if lookup else text,
    )


def _looked_up(text: TextFunction, lookup: Lookup, function: Function, name: str) -> TextFunction:
    can_keep = name != "code"

    def make(value: str, frame: Frame) -> Json:
        if function.is_naming and value not in lookup.table.rows:
            made = text(value, frame)
            if made is not None:
                return made
            lookup.find(value, frame)
            return None
        coded = lookup.find(value, frame)
        if coded is None:
            return None
        if is_kept(coded):
            return text(value, frame) if can_keep else None
        return text(coded.code, frame)

    return make


def _coded(name: str, lookup: Lookup | None, system: str) -> TextFunction:
    def make(value: str, frame: Frame) -> Json:
        coding = plain_coding(value, system)
        if lookup is not None:
            coded = lookup.find(value, frame)
            if coded is None:
                return None
            if not is_kept(coded):
                found = coding_of(coded)
                if name == "Coding":
                    return found
                return {"coding": [found, coding] if lookup.keeps_original else [found]}
        if name == "Coding":
            return coding
        return {"coding": [coding], "text": value} if lookup else {"coding": [coding]}

    return make


def document_maker(
    run: Run,
    target: str,
    reads: Leaves,
    lookup: Lookup | None,
    system: str,
    *,
    is_primitive: bool,
    is_remembered: bool,
) -> Maker:
    """The maker of a data type document. `is_remembered`: what it makes depends on the value alone."""

    def primitive(frame: Frame) -> Json:
        frame.out = {}
        run(frame)
        value = frame.out.get(VALUE)
        if lookup is None or not isinstance(value, str):
            return value
        coded = lookup.find(value, frame)
        if coded is None or (is_kept(coded) and target == "code"):
            return None
        return value if is_kept(coded) else coded.code

    def plain(frame: Frame) -> Json:
        frame.out = {}
        run(frame)
        return frame.out or None

    def coded(frame: Frame) -> Json:
        frame.out = {}
        run(frame)
        out = frame.out if lookup is None else _replaced(lookup, target, frame.out, frame)
        if system and out:
            give_system(out, target, system)
        return out or None

    value = primitive if is_primitive else coded if lookup or system else plain
    return Maker(
        gives=frozenset({target}),
        reads=reads,
        value=value,
        is_document=True,
        remembered={} if is_remembered else None,
    )


def _replaced(
    lookup: Lookup, target: str, out: dict[str, Json], frame: Frame
) -> dict[str, Json] | None:
    """A coded value with the row of its first code in the coding's place."""
    text = leaf(frame.parts or [], 1, 1)
    if not text:
        return out
    coded = lookup.find(text, frame)
    if coded is None:
        return None
    if not is_kept(coded):
        return replace_coding(out, coded, target, keeps_original=lookup.keeps_original)
    if target == "CodeableConcept" and out and "text" not in out:
        codings = out.get("coding")
        first = codings[0] if isinstance(codings, list) and codings else None
        display = first.get("display") if isinstance(first, dict) else None
        out["text"] = display or text
    return out


def creating_maker(run: Run, kind: str, reads: Leaves) -> Maker:
    """The maker of a reference to a resource that is made of the source."""

    def make(frame: Frame) -> Json:
        owner = frame.entry
        created = Entry(kind, "", frame.view, len(frame.env.created))
        frame.entry = created
        frame.out = created.body
        run(frame)
        if len(created.body) == 1:
            return None
        frame.env.created.append(created)
        return linked(frame, created, owner)

    return Maker(gives=frozenset({"Reference"}), reads=reads, value=make)


def linked(frame: Frame, target: Entry, owner: Entry) -> dict[str, Json]:
    """A reference to an entry, filled in when ids are known."""
    reference: dict[str, Json] = {"reference": ""}
    frame.env.links.append((reference, target, owner))
    return reference


def missing_reference(frame: Frame, name: str, rule: str) -> None:
    """Say that a reference has nothing to refer to."""
    frame.env.issue(
        Severity.INFORMATION,
        IssueCode.MISSING,
        frame.address,
        rule=rule,
        detail=f"no {name} to refer to",
    )


__all__ = [
    "ALL",
    "FIRST",
    "Leaves",
    "Maker",
    "creating_maker",
    "document_maker",
    "function_maker",
    "linked",
    "missing_reference",
]
