r"""Segments in the making: fields, repetitions, components, subcomponents, and their bytes (HL7 v2.5.1 section 2.6).

Text is escaped at the leaf; line breaks become `\.br\`. A text that looks like a null (`""`) is written as a text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from adapters.hl7v2.codec.charset import Charset
from adapters.hl7v2.codec.delimiters import DEFAULT_DELIMITERS
from adapters.hl7v2.codec.errors import CharsetError
from adapters.hl7v2.codec.escape import escape
from adapters.hl7v2.mapping.errors import TablesError

Value: TypeAlias = "str | dict[int, Value]"
"""A leaf, or parts by number: components of a field, subcomponents of a component."""
MAX_NUMBER: Final = 99
_TARGET: Final = re.compile(
    r"(?:(?P<segment>[A-Z][A-Z0-9]{2})-(?P<field>\d{1,2})(?:\[(?P<repetition>\d{0,2}|[a-z]\w*)\])?)?"
    r"(?P<parts>(?:\.\d{1,2}){0,2})\Z"
)
_PLAIN: Final = re.compile(r"[\w .,:;/()+-]*\Z")
"""Nothing to escape in it, as in most texts."""
_BREAK: Final = re.compile(r"\r\n|\n|\r")
_NULL: Final = '""'


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a rule writes: `PID-3[].1`; in a data type document `.4.2`, or `.` for the whole."""

    field: int = 0
    repetition: str = "1"
    """A number; empty: one for each item; a word: one that all rules with the word share."""
    parts: tuple[int, ...] = ()


def parse_target(text: str, where: str, segment: str) -> Target:
    """`segment` is empty in data type documents. Raises `TablesError`."""
    found = None if text == "." else _TARGET.match(text)
    if text == "." and not segment:
        return Target()
    if (
        found is None
        or bool(found["field"]) is not bool(segment)
        or (found["segment"] or "") != segment
    ):
        example = f"{segment}-3[].1" if segment else ".1, .4.2 or ."
        raise TablesError(f"{where}: to: {text!r}; something like {example} is expected")
    parts = tuple(int(one) for one in found["parts"].split(".")[1:])
    number = int(found["field"] or 0)
    repetition = found["repetition"] if found["repetition"] is not None else "1"
    if (segment and not number) or 0 in parts or repetition == "0":
        raise TablesError(f"{where}: to: {text!r}; numbers begin at 1")
    return Target(field=number, repetition=repetition, parts=parts)


def put(into: Value | None, parts: tuple[int, ...], value: Value) -> Value:
    """Write a value below another one; objects merge, of leaves the last one stays."""
    if not parts:
        if isinstance(value, dict) and isinstance(into, dict):
            merged = dict(into)
            for number, inner in value.items():
                merged[number] = put(merged.get(number), (), inner)
            return merged
        return value
    holder: dict[int, Value] = (
        {} if into is None else {1: into} if isinstance(into, str) else dict(into)
    )
    holder[parts[0]] = put(holder.get(parts[0]), parts[1:], value)
    return holder


def first_leaf(value: Value) -> str:
    """The first text in a value."""
    while isinstance(value, dict):
        if not value:
            return ""
        value = value[min(value)]
    return value


def depth(value: Value) -> int:
    """0 for a text, 1 for components, 2 for components with subcomponents."""
    return (
        1 + max((depth(one) for one in value.values()), default=0) if isinstance(value, dict) else 0
    )


@dataclass(slots=True)
class SegmentBuilder:
    """One segment."""

    name: str
    fields: dict[int, list[Value]] = field(default_factory=dict)
    labels: dict[tuple[int, str], int] = field(default_factory=dict)
    has_content: bool = False
    """Whether something of a resource is in it."""

    @property
    def is_too_deep(self) -> bool:
        """Whether a value has parts below its subcomponents, which no message can hold."""
        return any(depth(one) > 2 for repetitions in self.fields.values() for one in repetitions)

    def write(self, target: Target, value: Value, label: str) -> None:
        """Write a value; `label` names the repetition that it shares with other rules."""
        repetitions = self.fields.setdefault(target.field, [])
        shared = (target.field, label)
        at = (
            self.labels.setdefault(shared, len(repetitions))
            if label
            else int(target.repetition) - 1
        )
        while len(repetitions) <= at:
            repetitions.append("")
        old = repetitions[at]
        repetitions[at] = put(None if old == "" else old, target.parts, value)

    def to_bytes(self, charset: Charset) -> bytes:
        """The line, without its end. Raises `CharsetError`, which names the field."""
        texts = [""] * max(self.fields, default=0)
        for number in self.fields:
            texts[number - 1] = self._text(number)
        if self.name == "MSH":
            marks = DEFAULT_DELIMITERS.encoding_characters.decode("ascii")
            texts = [marks, *texts[2:]]
        try:
            return charset.encode("|".join([self.name, *texts]))
        except CharsetError:
            for number in sorted(self.fields):
                charset.encode(self._text(number), location=f"{self.name}-{number}")
            raise

    def _text(self, number: int) -> str:
        return "~".join(text for one in self.fields.get(number, ()) if (text := _joined(one, 0)))


def _joined(value: Value, level: int) -> str:
    if isinstance(value, str):
        return escaped(value)
    if level > 1:
        return escaped(first_leaf(value))
    texts = [
        _joined(value[i], level + 1) if i in value else ""
        for i in range(1, max(value, default=0) + 1)
    ]
    mark = "^&"[level]
    return mark.join(texts).rstrip(mark)


def escaped(text: str) -> str:
    """One leaf as it stands in a message."""
    text = text.strip()
    if text == _NULL:
        return '\\X22\\"'
    if _PLAIN.match(text):
        return text
    return "\\.br\\".join(escape(line, DEFAULT_DELIMITERS) for line in _BREAK.split(text))


__all__ = [
    "SegmentBuilder",
    "Target",
    "Value",
    "depth",
    "escaped",
    "first_leaf",
    "parse_target",
    "put",
]
