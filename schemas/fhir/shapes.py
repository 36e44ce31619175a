"""How each FHIR type is carried: what both directions of the codec and the typed structs are made from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum, auto
from typing import Final, NamedTuple

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)

SIBLING_OFFSET: Final = 512
"""The number of `_key` is the number of `key` plus this."""
UNKNOWN_JSON: Final = 511
"""The number of `unknown_json` in every message."""
UNKNOWN_KEY: Final = "unknown_json"
BOX: Final = "ResourceBox"


class Kind(Enum):
    """What a field holds."""

    STRING = auto()
    BOOLEAN = auto()
    INTEGER = auto()
    DECIMAL = auto()
    """A number as its text."""
    BASE64 = auto()
    MESSAGE = auto()
    SIBLING = auto()
    """A message, too: the `_key` beside a primitive. In a list, null stands for an empty one."""
    RESOURCE = auto()


class Slot(NamedTuple):
    """One key of a FHIR type's JSON."""

    key: str
    number: int
    kind: Kind
    repeated: bool
    type: str
    """The name of the message's type; empty for what is no message."""


Shape = tuple[Slot, ...]

_KINDS: Final = {
    FieldDescriptorProto.TYPE_BOOL: Kind.BOOLEAN,
    FieldDescriptorProto.TYPE_INT32: Kind.INTEGER,
    FieldDescriptorProto.TYPE_BYTES: Kind.BASE64,
    FieldDescriptorProto.TYPE_STRING: Kind.STRING,
}


def shapes_of(file: FileDescriptorProto, decimals: Mapping[str, list[int]]) -> dict[str, Shape]:
    """Type name to shape, for each FHIR type of a file."""
    return {
        message.name: tuple(_slots(message, frozenset(decimals.get(message.name, ()))))
        for message in file.message_type
        if message.name != BOX
    }


def _slots(message: DescriptorProto, decimals: frozenset[int]) -> Iterator[Slot]:
    keys = {field.number: field.json_name for field in message.field}
    for field in message.field:
        number = field.number
        repeated = field.label == FieldDescriptorProto.LABEL_REPEATED
        type_name = field.type_name.rpartition(".")[2]
        if number == UNKNOWN_JSON:
            continue
        if number > SIBLING_OFFSET:
            key = "_" + keys[number - SIBLING_OFFSET]
            yield Slot(key, number, Kind.SIBLING, repeated, type_name)
        elif type_name == BOX:
            yield Slot(field.json_name, number, Kind.RESOURCE, repeated, "")
        elif type_name:
            yield Slot(field.json_name, number, Kind.MESSAGE, repeated, type_name)
        else:
            kind = Kind.DECIMAL if number in decimals else _KINDS[field.type]
            yield Slot(field.json_name, number, kind, repeated, "")


__all__ = [
    "BOX",
    "SIBLING_OFFSET",
    "UNKNOWN_JSON",
    "UNKNOWN_KEY",
    "Kind",
    "Shape",
    "Slot",
    "shapes_of",
]
