"""Protobuf descriptors of a model.

How FHIR's JSON is carried so that it comes back identical:

- a primitive is an optional scalar; decimals, dates and codes are strings, so their text survives;
- `_key` is a second field `key_ext`, its number `SIBLING_OFFSET` higher. It has no json_name: `_key` would be the name
  of the synthetic oneof of `optional key`, which protobuf's runtime refuses, and accessors of other languages collide;
- a place for any resource is a `ResourceBox`: the serialised message with its type, or JSON;
- `unknown_json` in every message holds, as one JSON object, what the schema has no place for.
"""

from __future__ import annotations

from typing import Final

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)

from schemas.fhir.archive import DATATYPES
from schemas.fhir.generation.layout import layout, snake
from schemas.fhir.generation.model import PRIMITIVES, Field, Model
from schemas.fhir.generation.numbers import Lock
from schemas.fhir.shapes import BOX, SIBLING_OFFSET, UNKNOWN_JSON, UNKNOWN_KEY

_SCALARS: Final = {
    "boolean": FieldDescriptorProto.TYPE_BOOL,
    "integer": FieldDescriptorProto.TYPE_INT32,
    "positiveInt": FieldDescriptorProto.TYPE_INT32,
    "unsignedInt": FieldDescriptorProto.TYPE_INT32,
    "base64Binary": FieldDescriptorProto.TYPE_BYTES,
}
_STRING: Final = FieldDescriptorProto.TYPE_STRING
_BYTES: Final = FieldDescriptorProto.TYPE_BYTES
_MESSAGE: Final = FieldDescriptorProto.TYPE_MESSAGE


def descriptors(model: Model, lock: Lock, package: str) -> dict[str, FileDescriptorProto]:
    """File stem to descriptor. Every file imports the data types and nothing else."""
    folder = package.replace(".", "/")
    files = {}
    for stem, names in layout(model).items():
        file = FileDescriptorProto(name=f"{folder}/{stem}.proto", package=package, syntax="proto3")
        if stem == DATATYPES:
            _add_box(file)
        else:
            file.dependency.append(f"{folder}/{DATATYPES}.proto")
        for name in names:
            _Message(file.message_type.add(name=name), package).fill(model.types[name], lock[name])
        files[stem] = file
    return files


def _add_box(file: FileDescriptorProto) -> None:
    box = file.message_type.add(name=BOX)
    for number, (name, kind) in enumerate(
        (("type", _STRING), ("proto", _BYTES), ("json", _BYTES)), start=1
    ):
        box.field.add(
            name=name, number=number, type=kind, label=FieldDescriptorProto.LABEL_OPTIONAL
        )


class _Message:
    """Fills one message descriptor."""

    def __init__(self, message: DescriptorProto, package: str) -> None:
        self._message = message
        self._package = package

    def fill(self, fields: tuple[Field, ...], locked: list[str]) -> None:
        numbers = {key: number for number, key in enumerate(locked, start=1)}
        for field in fields:
            self._add_field(field, numbers[field.key])
        self._message.field.add(
            name=UNKNOWN_KEY,
            number=UNKNOWN_JSON,
            type=_BYTES,
            label=FieldDescriptorProto.LABEL_OPTIONAL,
        )
        present = {field.key for field in fields}
        for key in locked:
            if key not in present:
                self._reserve(key, numbers[key])

    def _add_field(self, field: Field, number: int) -> None:
        name = snake(field.key)
        if field.type not in PRIMITIVES:
            kind = BOX if field.type == "Resource" else field.type
            self._add_message(name, number, kind, repeated=field.repeated).json_name = field.key
            return
        scalar = self._message.field.add(
            name=name,
            number=number,
            type=_SCALARS.get(field.type, _STRING),
            label=_label(repeated=field.repeated),
            json_name=field.key,
        )
        if not field.repeated:
            scalar.proto3_optional = True
            scalar.oneof_index = len(self._message.oneof_decl)
            self._message.oneof_decl.add(name="_" + name)  # as protoc names it
        if field.has_sibling:
            self._add_message(
                name + "_ext", number + SIBLING_OFFSET, "Element", repeated=field.repeated
            )

    def _add_message(
        self, name: str, number: int, kind: str, *, repeated: bool
    ) -> FieldDescriptorProto:
        return self._message.field.add(
            name=name,
            number=number,
            type=_MESSAGE,
            type_name=f".{self._package}.{kind}",
            label=_label(repeated=repeated),
        )

    def _reserve(self, key: str, number: int) -> None:
        for name, place in ((snake(key), number), (snake(key) + "_ext", number + SIBLING_OFFSET)):
            self._message.reserved_name.append(name)
            self._message.reserved_range.add(start=place, end=place + 1)


def _label(*, repeated: bool) -> FieldDescriptorProto.Label.ValueType:
    return FieldDescriptorProto.LABEL_REPEATED if repeated else FieldDescriptorProto.LABEL_OPTIONAL


__all__ = ["descriptors"]
