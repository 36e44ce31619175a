"""The `.proto` text of a descriptor, for people and documents. Comments and custom options are not in it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

from google.protobuf import descriptor_pb2

_File = descriptor_pb2.FileDescriptorProto
_Message = descriptor_pb2.DescriptorProto
_Enum = descriptor_pb2.EnumDescriptorProto
_Field = descriptor_pb2.FieldDescriptorProto
_QUOTED: Final = (_Field.TYPE_STRING, _Field.TYPE_BYTES)
_MAX_NUMBER: Final = 1 << 29
_MAX_ENUM: Final = (1 << 31) - 1


def default_json_name(name: str) -> str:
    """The JSON name that protobuf gives a field by itself."""
    return re.sub(r"_+(.?)", lambda found: found[1].upper(), name)


def proto_text(file: _File) -> str:
    """One file as protobuf source."""
    lines = [f'syntax = "{file.syntax or "proto2"}";', ""]
    if file.package:
        lines += [f"package {file.package};", ""]
    public = {file.dependency[i] for i in file.public_dependency}
    lines += [f'import {"public " if one in public else ""}"{one}";' for one in file.dependency]
    is_proto3 = file.syntax == "proto3"
    for enum in file.enum_type:
        lines += ["", *_enum(enum)]
    for message in file.message_type:
        lines += ["", *_message(message, is_proto3=is_proto3)]
    for service in file.service:
        lines += ["", f"service {service.name} {{"]
        for method in service.method:
            asked = ("stream " if method.client_streaming else "") + method.input_type
            answered = ("stream " if method.server_streaming else "") + method.output_type
            lines.append(f"  rpc {method.name}({asked}) returns ({answered});")
        lines.append("}")
    return "\n".join(lines) + "\n"


def _message(message: _Message, *, is_proto3: bool) -> Iterator[str]:
    yield f"message {message.name} {{"
    maps = {one.name: one for one in message.nested_type if one.options.map_entry}
    for line in _inside(message, maps, is_proto3=is_proto3):
        yield f"  {line}" if line else ""
    yield "}"


def _inside(message: _Message, maps: dict[str, _Message], *, is_proto3: bool) -> Iterator[str]:
    yield from _reserved(message)
    for enum in message.enum_type:
        yield from _enum(enum)
    for nested in message.nested_type:
        if nested.name not in maps:
            yield from _message(nested, is_proto3=is_proto3)
    done: set[int] = set()
    for field in message.field:
        if not field.HasField("oneof_index") or field.proto3_optional:
            yield _field(field, maps, is_proto3=is_proto3)
        elif field.oneof_index not in done:
            done.add(field.oneof_index)
            yield f"oneof {message.oneof_decl[field.oneof_index].name} {{"
            for one in message.field:
                if one.HasField("oneof_index") and one.oneof_index == field.oneof_index:
                    yield "  " + _field(one, maps, is_proto3=is_proto3, is_in_oneof=True)
            yield "}"


def _reserved(message: _Message) -> Iterator[str]:
    if message.reserved_range:
        spans = (_span(one.start, one.end - 1, _MAX_NUMBER - 1) for one in message.reserved_range)
        yield f"reserved {', '.join(spans)};"
    if message.reserved_name:
        yield f"reserved {', '.join(json.dumps(name) for name in message.reserved_name)};"
    for extensible in message.extension_range:
        yield f"extensions {_span(extensible.start, extensible.end - 1, _MAX_NUMBER - 1)};"


def _span(first: int, last: int, largest: int) -> str:
    if first == last:
        return str(first)
    return f"{first} to {'max' if last >= largest else last}"


def _field(
    field: _Field, maps: dict[str, _Message], *, is_proto3: bool, is_in_oneof: bool = False
) -> str:
    entry = maps.get(field.type_name.rpartition(".")[2]) if field.type_name else None
    if entry is not None:
        key, value = entry.field
        kind, label = f"map<{_kind(key)}, {_kind(value)}>", ""
    else:
        kind, label = _kind(field), _label(field, is_proto3=is_proto3, is_in_oneof=is_in_oneof)
    options = list(_options(field))
    told = f" [{', '.join(options)}]" if options else ""
    return f"{label}{kind} {field.name} = {field.number}{told};"


def _label(field: _Field, *, is_proto3: bool, is_in_oneof: bool) -> str:
    if is_in_oneof:
        return ""
    if field.label == _Field.LABEL_REPEATED:
        return "repeated "
    if field.label == _Field.LABEL_REQUIRED:
        return "required "
    return "optional " if field.proto3_optional or not is_proto3 else ""


def _kind(field: _Field) -> str:
    if field.type_name:
        return field.type_name
    return str(_Field.Type.Name(field.type)).removeprefix("TYPE_").lower()


def _options(field: _Field) -> Iterator[str]:
    if field.HasField("default_value"):
        text = field.default_value
        yield f"default = {json.dumps(text) if field.type in _QUOTED else text}"
    if field.json_name and field.json_name != default_json_name(field.name):
        yield f"json_name = {json.dumps(field.json_name)}"
    if field.options.HasField("packed"):
        yield f"packed = {str(field.options.packed).lower()}"
    if field.options.deprecated:
        yield "deprecated = true"


def _enum(enum: _Enum) -> Iterator[str]:
    yield f"enum {enum.name} {{"
    if enum.options.allow_alias:
        yield "  option allow_alias = true;"
    if enum.reserved_range:
        spans = (_span(one.start, one.end, _MAX_ENUM) for one in enum.reserved_range)
        yield f"  reserved {', '.join(spans)};"
    if enum.reserved_name:
        yield f"  reserved {', '.join(json.dumps(name) for name in enum.reserved_name)};"
    for value in enum.value:
        yield f"  {value.name} = {value.number};"
    yield "}"


__all__ = ["default_json_name", "proto_text"]
