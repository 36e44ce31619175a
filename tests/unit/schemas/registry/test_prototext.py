"""Printed protobuf text means what its descriptor says: compiled again, it is the same."""

from __future__ import annotations

import pytest

from schemas.registry.prototext import proto_text
from tests.unit.schemas.registry.protos import REPORT, compiled

TEXTS = [
    REPORT,
    'syntax = "proto3"; package a; message M { map<string, N> by = 1; message N { optional int32 x = 1; } '
    'repeated int32 y = 2 [packed = false]; string odd_name = 3 [json_name = "odd", deprecated = true]; '
    "oneof o { N n = 4; E e = 5; } enum E { option allow_alias = true; Z = 0; A = 1; B = 1; reserved 5 to 7, 9 to max; "
    'reserved "OLD"; } reserved 10 to 12, 20; }',
    'syntax = "proto2"; message M { required string a = 1; optional int32 b = 2 [default = 7]; '
    'optional string c = 3 [default = "it\\"s"]; extensions 100 to 199; extensions 500 to max; }',
    'syntax = "proto3"; package s; message M {} service S { rpc One(M) returns (stream M); '
    "rpc Two(stream M) returns (M); }",
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_text_compiles_to_the_descriptor_it_came_from(text: str) -> None:
    (file,) = compiled(text).file
    (again,) = compiled(proto_text(file)).file
    for one in (
        file,
        again,
    ):  # entries of maps come where their field stands; nothing depends on it
        for message in one.message_type:
            message.nested_type.sort(key=lambda nested: nested.name)
    assert again == file
