"""One segment: bytes that stay whole until a field is asked for."""

from __future__ import annotations

from enum import Enum
from typing import Final

from adapters.hl7v2.codec.cutting import cut
from adapters.hl7v2.codec.delimiters import Delimiters
from adapters.hl7v2.codec.errors import LimitExceeded, PathError
from adapters.hl7v2.codec.limits import Limits

SELF_DESCRIBING: Final = frozenset({"MSH", "FHS", "BHS"})
"""Segments whose first field is the separator and whose second the encoding characters: never split, never escaped."""
NULL: Final = b'""'
"""An explicit null: the receiver shall delete what it has (HL7 v2.5.1 section 2.5.3)."""


class Presence(Enum):
    """What stands at an address."""

    ABSENT = "absent"
    """The segment, field, repetition or component is not there."""
    EMPTY = "empty"
    """It is there and holds nothing: the sender says nothing."""
    NULL = "null"
    """It holds `""`: the sender asks to delete."""
    VALUED = "valued"


class Segment:
    """A segment of a message, in bytes that can be split by delimiter bytes. Escapes are untouched here.

    `line` counts from 0, junk and blank lines included. Made by `Message`; edits go through `Message.set`.
    """

    __slots__ = ("_fields", "_limits", "_marks", "_raw", "_split", "is_edited", "line", "name")

    def __init__(self, raw: bytes, marks: Delimiters, limits: Limits, line: int) -> None:
        self.name = raw[:3].decode("ascii")
        self.line = line
        self.is_edited = False
        self._raw = raw
        self._marks = marks
        self._limits = limits
        self._fields: list[bytes] | None = None
        self._split: dict[int, list[bytes]] | None = None

    @property
    def fields(self) -> list[bytes]:
        """`fields[n]` is field n, `fields[0]` the name. Do not change it. Raises `LimitExceeded`."""
        fields = self._fields
        if fields is None:
            mark, limit = self._marks.field, self._limits.max_fields
            fields = cut(self._raw, mark, limit)
            if fields is None:
                raise LimitExceeded(f"more than {limit} fields in a segment", location=self.name)
            if self.name in SELF_DESCRIBING:
                fields.insert(1, mark)
            self._fields = fields
        return fields

    def repetitions(self, number: int) -> list[bytes]:
        """The repetitions of a field; [] when it is absent or empty. Raises `LimitExceeded`."""
        fields = self._fields or self.fields
        if number >= len(fields):
            return []
        value, mark = fields[number], self._marks.repetition
        if not value:
            return []
        if not mark or mark not in value or self._is_whole(number):
            if len(value) > self._limits.max_field_bytes:
                raise self._too_large(number)
            return [value]
        if self._split is None:
            self._split = {}
        split = self._split.get(number)
        if split is None:
            split = self._split[number] = self._cut(value, mark, number)
        return split

    def value(
        self, number: int, repetition: int = 1, component: int = 0, subcomponent: int = 0
    ) -> bytes | None:
        """Bytes at an address, as sent; None when it is absent. A value without separators is its own first part."""
        fields = self._fields or self.fields
        if number >= len(fields):
            return None
        repetitions = self.repetitions(number)
        if repetition > len(repetitions):
            # an empty field has one repetition, which is empty
            return b"" if repetition == 1 and component <= 1 and subcomponent <= 1 else None
        value = repetitions[repetition - 1]
        if not component or self._is_whole(number):
            return value if component <= 1 else None
        part = self._part(value, self._marks.component, component, number)
        if not subcomponent or part is None:
            return part
        return self._part(part, self._marks.subcomponent, subcomponent, number)

    def put(
        self, number: int, repetition: int, component: int, subcomponent: int, value: bytes
    ) -> None:
        """Replace the bytes at an address, making room where there is none. Raises `PathError`, `LimitExceeded`."""
        if number <= 2 and self.name in SELF_DESCRIBING:
            raise PathError(
                "the delimiters of a message cannot be edited", location=f"{self.name}-{number}"
            )
        self._allow(number, self._limits.max_fields, number)
        marks, fields = self._marks, list(self.fields)
        _widen(fields, number)
        repetitions = list(self.repetitions(number)) or [b""]
        self._allow(repetition, self._limits.max_repetitions, number)
        _widen(repetitions, repetition - 1)
        if component:
            parts = _parts(repetitions[repetition - 1], marks.component)
            _widen(parts, component - 1)
            if subcomponent:
                leaves = _parts(parts[component - 1], marks.subcomponent)
                _widen(leaves, subcomponent - 1)
                leaves[subcomponent - 1] = value
                value = self._joined(leaves, marks.subcomponent, number)
            parts[component - 1] = value
            value = self._joined(parts, marks.component, number)
        repetitions[repetition - 1] = value
        fields[number] = self._joined(repetitions, marks.repetition, number)
        self._fields = fields
        self._split = None
        self.is_edited = True

    def encode(self) -> bytes:
        """The segment's bytes without a terminator: what came in, unless it was edited."""
        if not self.is_edited:
            return self._raw
        fields = self.fields
        if self.name in SELF_DESCRIBING:
            fields = fields[:1] + fields[2:]
        return self._marks.field.join(fields)

    def __len__(self) -> int:
        return len(self.fields) - 1

    def __repr__(self) -> str:
        return f"<Segment {self.name}, {len(self._raw)} bytes>"

    def _is_whole(self, number: int) -> bool:
        return number <= 2 and self.name in SELF_DESCRIBING

    def _part(self, value: bytes, mark: bytes, index: int, number: int) -> bytes | None:
        if not mark or mark not in value:
            return value if index == 1 else None
        if index == 1:
            return value[: value.index(mark)]
        parts = self._cut(value, mark, number)
        return parts[index - 1] if index <= len(parts) else None

    def _cut(self, value: bytes, mark: bytes, number: int) -> list[bytes]:
        if len(value) > self._limits.max_field_bytes:
            raise self._too_large(number)
        limit = self._limits.max_repetitions
        parts = cut(value, mark, limit - 1)
        if parts is None:
            raise LimitExceeded(
                f"more than {limit} repetitions or components", location=f"{self.name}-{number}"
            )
        return parts

    def _too_large(self, number: int) -> LimitExceeded:
        return LimitExceeded(
            f"more than {self._limits.max_field_bytes} bytes in a field",
            location=f"{self.name}-{number}",
        )

    def _allow(self, index: int, limit: int, number: int) -> None:
        if index > limit:
            raise LimitExceeded(
                f"index {index} is beyond the {limit} that are allowed",
                location=f"{self.name}-{number}",
            )

    def _joined(self, parts: list[bytes], mark: bytes, number: int) -> bytes:
        if len(parts) > 1 and not mark:
            raise PathError(
                "the message has no delimiter for this part (MSH-2)",
                location=f"{self.name}-{number}",
            )
        return mark.join(parts)


def _parts(value: bytes, mark: bytes) -> list[bytes]:
    return value.split(mark) if mark else [value]


def _widen(parts: list[bytes], index: int) -> None:
    parts.extend([b""] * (index + 1 - len(parts)))


__all__ = ["NULL", "SELF_DESCRIBING", "Presence", "Segment"]
