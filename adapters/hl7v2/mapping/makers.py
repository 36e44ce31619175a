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
from adapters.hl7v2.mapping.memory import Memory
from adapters.hl7v2.mapping.protocol import IssueCode, Json, Severity
from adapters.hl7v2.mapping.targets import VALUE

_OF_CODING: Final = {1: (2, 3, 7), 4: (5, 6, 8), 10: (11, 12, 13)}
"""Components of a CWE that hold a code, and those that say more of it: display, system, its version."""
Run = Callable[[Frame], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Maker:
    """How a rule's value is made. Exactly one of `text` (of a leaf) and `value` (of a frame)."""

    gives: frozenset[str]
    """FHIR types of elements that take it."""
    text: TextFunction | None = None
    value: ValueFunction | None = None
    run: Run | None = None
    """Of a document that is only run, its object taken as it is: what to run."""
    is_document: bool = False
    takes_all: bool = False
    memory: Memory | None = None
    """Values that were made before."""


def function_maker(name: str, lookup: Lookup | None, system: str) -> Maker:
    """The maker of a registered function, `Coding` and `CodeableConcept` included."""
    if name in CODED:
        return Maker(gives=frozenset({name}), text=_coded(name, lookup, system))
    function = FUNCTIONS[name]
    if function.value is not None:
        return Maker(gives=function.gives, value=function.value, takes_all=function.takes_all)
    text = cast("TextFunction", function.text)
    return Maker(
        gives=function.gives,
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
    lookup: Lookup | None,
    system: str,
    *,
    is_primitive: bool,
    memory: Memory | None,
) -> Maker:
    """The maker of a data type document."""

    def primitive(frame: Frame) -> Json:
        frame.out = {}
        before = frame.view.read.copy() if lookup is not None else None
        start = len(frame.env.origins)
        run(frame)
        origins = frame.env.origins
        # what the document notes is about an object that is not given out: the rule notes the value again
        origins[start:] = [one for one in origins[start:] if one[0] is not frame.out]
        value = frame.out.get(VALUE)
        if lookup is None or not isinstance(value, str):
            return value
        coded = lookup.find(value, frame)
        if coded is None or (is_kept(coded) and target == "code"):
            if before is not None and not frame.is_told:
                frame.view.read = before
            return None
        return value if is_kept(coded) else coded.code

    def plain(frame: Frame) -> Json:
        frame.out = {}
        run(frame)
        return frame.out or None

    def coded(frame: Frame) -> Json:
        frame.out = {}
        before = frame.view.read.copy()
        run(frame)
        out = frame.out if lookup is None else _replaced(lookup, target, frame, before)
        if system and out:
            give_system(out, target, system)
        return out or None

    value = primitive if is_primitive else coded if lookup or system else plain
    return Maker(
        gives=frozenset({target}),
        value=value,
        run=run if value is plain else None,
        is_document=True,
        memory=memory,
    )


def _replaced(
    lookup: Lookup, target: str, frame: Frame, before: set[int]
) -> dict[str, Json] | None:
    """A coded value with the row of its first code in the coding's place; `before` was read before."""
    out = frame.out
    frame.source = None  # an issue is about the value, not about what was read of it last
    component = _component_with_row(lookup, target, frame)
    text = leaf(frame.parts or [], component, 1)
    if not text:
        return out
    coded = lookup.find(text, frame)
    if coded is None:
        if not frame.is_told:
            frame.view.read = before
        frame.env.dead.append(out)
        return None
    if not is_kept(coded):
        made = replace_coding(out, coded, target, text, keeps_original=lookup.keeps_original)
        frame.took(component)
        if not lookup.keeps_original:
            _give_back(frame, made, before, component)
        _note_replaced(frame, lookup, made, target, component)
        return made
    if target == "CodeableConcept" and out and "text" not in out:
        codings = out.get("coding")
        first = codings[0] if isinstance(codings, list) and codings else None
        display = first.get("display") if isinstance(first, dict) else None
        out["text"] = display or text
    return out


def _component_with_row(lookup: Lookup, target: str, frame: Frame) -> int:
    """Which code of a coded value a table knows: its first, else an alternate one; without any the first."""
    if target == "CodeableConcept":
        for component in _OF_CODING:
            if leaf(frame.parts or [], component, 1) in lookup.table.rows:
                return component
    return 1


def _give_back(frame: Frame, made: dict[str, Json], before: set[int], code: int) -> None:
    """What only the coding said that gave way is in nothing that is made."""
    for component in _OF_CODING[code]:
        text = leaf(frame.parts or [], component, 1)
        place = frame.at + component * frame.unit + 1
        if text and place not in before and made.get("text") != text:
            frame.view.read.discard(place)


def _note_replaced(
    frame: Frame, lookup: Lookup, made: dict[str, Json], target: str, component: int
) -> None:
    """Origins of what stands in a coding's place; what gave way is not given out."""
    note, view, naming = frame.env.note, frame.view, lookup.naming
    codings = made.get("coding")
    found = codings if isinstance(codings, list) else []
    coding = made if target == "Coding" else found[0]
    if isinstance(coding, dict):
        place = frame.base + component * frame.unit
        note((coding, "code", coding.get("code"), view, place, naming))
    if "text" in made and frame.unit:
        place = frame.base + _OF_CODING[component][0] * frame.unit
        note((made, "text", made["text"], view, place, naming))
    if target == "Coding":
        frame.env.dead.append(frame.out)
        return
    frame.env.moved[id(frame.out)] = (frame.out, made)
    old = frame.out.get("coding")
    frame.env.dead.extend(
        one
        for one in (old if isinstance(old, list) else [])
        if not any(one is new for new in found)
    )


def creating_maker(run: Run, kind: str, memory: Memory | None) -> Maker:
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

    return Maker(gives=frozenset({"Reference"}), value=make, memory=memory)


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
    "Maker",
    "creating_maker",
    "document_maker",
    "function_maker",
    "linked",
    "missing_reference",
]
