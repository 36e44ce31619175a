"""Whether a new protobuf schema keeps what readers and writers of a former one rely on: the registry's gate.

Removing a field is allowed in every mode where its number and its name are reserved; adding one always is: readers
keep what they do not know. What each mode refuses:

| change | backward | forward |
|---|---|---|
| message or enum removed | refused | |
| field removed, number or name not reserved; reserved number used again | refused | refused |
| type changed | refused | refused |
| integer widened / narrowed | allowed / refused | refused / allowed |
| repeated or singular, JSON name, name of an enum number changed | refused | refused |
| moved into or out of a oneof | refused | refused |
| required field added / removed | refused / allowed | allowed / refused |
| enum number removed / added | refused / allowed | allowed / refused |

`full` refuses what either refuses; `none` nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from google.protobuf import descriptor_pb2

from schemas.registry.models import Compatibility
from schemas.registry.prototext import default_json_name

FieldProto = descriptor_pb2.FieldDescriptorProto
_BACKWARD: Final = frozenset({Compatibility.BACKWARD})
_FORWARD: Final = frozenset({Compatibility.FORWARD})
_BOTH: Final = _BACKWARD | _FORWARD
_NARROW: Final = {
    FieldProto.TYPE_INT32: FieldProto.TYPE_INT64,
    FieldProto.TYPE_UINT32: FieldProto.TYPE_UINT64,
    FieldProto.TYPE_SINT32: FieldProto.TYPE_SINT64,
}
"""Same bytes on the wire, but the wider one holds more."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change that somebody cannot live with."""

    where: str
    what: str
    breaks: frozenset[Compatibility]

    def __str__(self) -> str:
        """In words: `a.b.Name.field: type changed`."""
        return f"{self.where}: {self.what}"


def breaking(
    mode: Compatibility,
    former: descriptor_pb2.FileDescriptorSet,
    new: descriptor_pb2.FileDescriptorSet,
) -> list[str]:
    """What of a new schema the mode does not allow, in words."""
    wanted = {Compatibility.NONE: frozenset[Compatibility](), Compatibility.FULL: _BOTH}.get(
        mode, frozenset({mode})
    )
    return [str(change) for change in changes(former, new) if change.breaks & wanted]


def changes(
    former: descriptor_pb2.FileDescriptorSet, new: descriptor_pb2.FileDescriptorSet
) -> Iterator[Change]:
    """Every change that breaks someone, in the order of the former schema."""
    messages, enums = _types(new)
    for name, message in _types(former)[0].items():
        if name not in messages:
            yield Change(name, "message removed", _BACKWARD)
        elif not message.options.map_entry:
            yield from _message(name, message, messages[name])
    for name, enum in _types(former)[1].items():
        if name not in enums:
            yield Change(name, "enum removed", _BACKWARD)
        else:
            yield from _enum(name, enum, enums[name])


_Message = descriptor_pb2.DescriptorProto
_Enum = descriptor_pb2.EnumDescriptorProto


def _types(files: descriptor_pb2.FileDescriptorSet) -> tuple[dict[str, _Message], dict[str, _Enum]]:
    messages: dict[str, _Message] = {}
    enums: dict[str, _Enum] = {}

    def walk(prefix: str, inner: Iterable[_Message], listed: Iterable[_Enum]) -> None:
        for enum in listed:
            enums[f"{prefix}{enum.name}"] = enum
        for message in inner:
            name = f"{prefix}{message.name}"
            messages[name] = message
            walk(f"{name}.", message.nested_type, message.enum_type)

    for file in files.file:
        walk(f"{file.package}." if file.package else "", file.message_type, file.enum_type)
    return messages, enums


def _message(name: str, former: _Message, new: _Message) -> Iterator[Change]:
    by_number = {one.number: one for one in new.field}
    for field in former.field:
        where = f"{name}.{field.name}"
        now = by_number.get(field.number)
        if now is None:
            yield from _removed(where, field, new)
            continue
        yield from _field(where, field, now)
        if _oneof(former, field) != _oneof(new, now):
            yield Change(where, "moved into or out of a oneof", _BOTH)
    known = {one.number for one in former.field}
    for field in new.field:
        where = f"{name}.{field.name}"
        if field.number in known:
            continue
        if _is_reserved(former, field.number) or field.name in former.reserved_name:
            yield Change(where, "uses a reserved number or name again", _BOTH)
        if field.label == FieldProto.LABEL_REQUIRED:
            yield Change(where, "required field added", _BACKWARD)


def _removed(where: str, field: FieldProto, new: _Message) -> Iterator[Change]:
    if not _is_reserved(new, field.number):
        yield Change(where, f"removed without reserving its number {field.number}", _BOTH)
    if field.name not in new.reserved_name and all(field.name != one.name for one in new.field):
        yield Change(where, "removed without reserving its name", _BOTH)
    if field.label == FieldProto.LABEL_REQUIRED:
        yield Change(where, "required field removed", _FORWARD)


def _field(where: str, former: FieldProto, new: FieldProto) -> Iterator[Change]:
    if former.type != new.type:
        if _NARROW.get(former.type) == new.type:
            yield Change(where, "widened", _FORWARD)
        elif _NARROW.get(new.type) == former.type:
            yield Change(where, "narrowed", _BACKWARD)
        else:
            yield Change(where, "type changed", _BOTH)
    elif former.type_name != new.type_name:
        yield Change(where, "type changed", _BOTH)
    repeated = FieldProto.LABEL_REPEATED
    if (former.label == repeated) != (new.label == repeated):
        yield Change(where, "changed between repeated and singular", _BOTH)
    required = FieldProto.LABEL_REQUIRED
    if former.label != required and new.label == required:
        yield Change(where, "became required", _BACKWARD)
    if former.label == required and new.label != required:
        yield Change(where, "is required no more", _FORWARD)
    if _json_name(former) != _json_name(new):
        yield Change(where, "JSON name changed", _BOTH)


def _json_name(field: FieldProto) -> str:
    return field.json_name or default_json_name(field.name)


def _oneof(message: _Message, field: FieldProto) -> str:
    """Name of the oneof that a field is in; the synthetic one of `optional` is none."""
    if not field.HasField("oneof_index") or field.proto3_optional:
        return ""
    return message.oneof_decl[field.oneof_index].name


def _is_reserved(message: _Message, number: int) -> bool:
    return any(one.start <= number < one.end for one in message.reserved_range)


def _enum(name: str, former: _Enum, new: _Enum) -> Iterator[Change]:
    before = {one.number: one.name for one in former.value}
    after = {one.number: one.name for one in new.value}
    for number, word in before.items():
        if number not in after:
            yield Change(f"{name}.{word}", "enum number removed", _BACKWARD)
        elif word != after[number] and not _is_alias(new, number, word):
            yield Change(f"{name}.{word}", "renamed", _BOTH)
    for number, word in after.items():
        if number not in before:
            yield Change(f"{name}.{word}", "enum number added", _FORWARD)


def _is_alias(enum: _Enum, number: int, word: str) -> bool:
    return any(one.number == number and one.name == word for one in enum.value)


def breaking_words(mode: Compatibility, former: Iterable[str], new: Iterable[str]) -> list[str]:
    """The same for lists of what is allowed: backward wants none removed, forward none added.

    `hl7v2/ADT^*` stands for all that begin so.
    """
    before, after = tuple(former), tuple(new)
    findings: list[str] = []
    if mode in (Compatibility.BACKWARD, Compatibility.FULL):
        findings += [f"{one} is not allowed any more" for one in before if not _covered(one, after)]
    if mode in (Compatibility.FORWARD, Compatibility.FULL):
        findings += [f"{one} was not allowed before" for one in after if not _covered(one, before)]
    return findings


def _covered(word: str, words: Iterable[str]) -> bool:
    return any(one == word or (one.endswith("*") and word.startswith(one[:-1])) for one in words)


__all__ = ["Change", "breaking", "breaking_words", "changes"]
