"""Protobuf text to descriptor sets, for tests."""

from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path

from google.protobuf import descriptor_pb2
from grpc_tools import protoc  # type: ignore[import-untyped]  # it ships no types

from schemas.registry.closures import Closure, closure_of

HEAD = 'syntax = "proto3";\npackage lab.v1;\n'
REPORT = HEAD + (
    "message Report { string id = 1; int32 count = 2; State state = 3; repeated Value values = 4;"
    ' oneof how { string text = 5; bytes image = 6; } reserved 9; reserved "old"; }\n'
    "message Value { double number = 1; string unit = 2; }\n"
    "enum State { STATE_UNSPECIFIED = 0; STATE_FINAL = 1; }\n"
)


@lru_cache
def compiled(*texts: str) -> descriptor_pb2.FileDescriptorSet:
    """The set of files `f0.proto`, `f1.proto`, … with what they import."""
    with tempfile.TemporaryDirectory() as folder:
        names = [f"f{i}.proto" for i in range(len(texts))]
        for name, text in zip(names, texts, strict=True):
            (Path(folder) / name).write_text(text)
        target = Path(folder) / "set.binpb"
        include = Path(protoc.__file__).parent / "_proto"
        code = protoc.main(
            ["protoc", f"-I{folder}", f"-I{include}", "--include_imports",
             f"--descriptor_set_out={target}", *names]
        )  # fmt: skip
        assert code == 0, texts
        return descriptor_pb2.FileDescriptorSet.FromString(target.read_bytes())


def report(text: str = REPORT) -> Closure:
    """The closure of `lab.v1.Report`."""
    return closure_of(compiled(text), "lab.v1.Report")
