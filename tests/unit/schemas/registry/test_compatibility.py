"""Each compatibility mode refuses what breaks those whom it protects, and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.registry.compatibility import breaking, breaking_words
from schemas.registry.models import Compatibility
from tests.unit.schemas.registry.protos import HEAD, REPORT, compiled

MODES = (Compatibility.BACKWARD, Compatibility.FORWARD, Compatibility.FULL)
BOTH = {"backward", "forward", "full"}

CHANGES = [
    ("nothing", "string id = 1;", "string id = 1;", set()),
    ("field added", "string id = 1;", "string id = 1; string more = 7;", set()),
    ("message added", "enum State {", "message Later {}\nenum State {", set()),
    ("field removed", "int32 count = 2;", "", BOTH),
    ("number reserved alone", "int32 count = 2;", "reserved 2;", BOTH),
    ("field reserved", "int32 count = 2;", 'reserved 2; reserved "count";', set()),
    ("field renamed", "int32 count = 2;", "int32 amount = 2;", BOTH),
    ("type changed", "string unit = 2;", "int64 unit = 2;", BOTH),
    ("string made bytes", "string unit = 2;", "bytes unit = 2;", BOTH),
    ("message exchanged", "repeated Value values = 4;", "repeated Other values = 4;", BOTH),
    ("widened", "int32 count = 2;", "int64 count = 2;", {"forward", "full"}),
    ("made repeated", "string id = 1;", "repeated string id = 1;", BOTH),
    ("JSON name", "string id = 1;", 'string id = 1 [json_name = "key"];', BOTH),
    ("reserved used again", 'reserved 9; reserved "old";', 'string old = 9;', BOTH),
    ("moved into a oneof", "int32 count = 2;", "oneof new { int32 count = 2; }", BOTH),
    ("moved out of a oneof", "string text = 5; bytes image = 6; }", "bytes image = 6; } string text = 5;", BOTH),
    ("made optional", "string id = 1;", "optional string id = 1;", set()),
    ("enum value added", "STATE_FINAL = 1;", "STATE_FINAL = 1; STATE_GONE = 2;", {"forward", "full"}),
    ("enum value removed", "STATE_FINAL = 1;", "", {"backward", "full"}),
    ("enum value renamed", "STATE_FINAL = 1;", "STATE_DONE = 1;", BOTH),
]  # fmt: skip
OTHER = "message Other { double number = 1; }\n"


@pytest.mark.parametrize(
    ("what", "before", "after", "refused"), CHANGES, ids=[c[0] for c in CHANGES]
)
def test_mode_refuses_what_breaks_whom_it_protects(
    what: str, before: str, after: str, refused: set[str]
) -> None:
    assert before in REPORT, what
    former = compiled(REPORT + OTHER)
    new = compiled((REPORT + OTHER).replace(before, after))
    assert {mode.value for mode in MODES if breaking(mode, former, new)} == refused
    assert breaking(Compatibility.NONE, former, new) == []


@pytest.mark.parametrize(
    ("before", "after", "refused"),
    [
        ("", "required string id = 1;", {"backward", "full"}),
        ("optional string id = 1;", "required string id = 1;", {"backward", "full"}),
        ("required string id = 1;", "optional string id = 1;", {"forward", "full"}),
    ],
)
def test_required_fields_bind_those_who_must_write_or_find_them(
    before: str, after: str, refused: set[str]
) -> None:
    former, new = (compiled(f'syntax = "proto2"; message M {{ {one} }}') for one in (before, after))
    assert {mode.value for mode in MODES if breaking(mode, former, new)} == refused


def test_message_or_enum_that_is_gone_breaks_new_readers() -> None:
    former, new = compiled(REPORT + OTHER), compiled(REPORT)
    assert breaking(Compatibility.BACKWARD, former, new) == ["lab.v1.Other: message removed"]
    assert breaking(Compatibility.FORWARD, former, new) == []


def test_lists_may_grow_for_readers_and_shrink_for_writers() -> None:
    short, long = ("hl7v2/ADT^A01",), ("hl7v2/ADT^*", "hl7v2/ORU^R01")
    assert breaking_words(Compatibility.BACKWARD, short, long) == []
    assert len(breaking_words(Compatibility.BACKWARD, long, short)) == 2
    assert breaking_words(Compatibility.FORWARD, long, short) == []
    assert len(breaking_words(Compatibility.FULL, short, long)) == 2
    assert breaking_words(Compatibility.NONE, short, ()) == []


@pytest.mark.parametrize(
    ("what", "before", "after", "refused"), CHANGES, ids=[c[0] for c in CHANGES]
)
def test_whatever_buf_calls_breaking_on_the_wire_the_full_mode_refuses(
    tmp_path: Path, what: str, before: str, after: str, refused: set[str]
) -> None:
    beside_python = str(Path(sys.executable).parent)
    buf = shutil.which("buf", path=os.pathsep.join((beside_python, os.environ["PATH"])))
    assert buf is not None, "buf is in the development lock (buf-bin)"
    texts = (REPORT + OTHER, (REPORT + OTHER).replace(before, after))
    images = []
    for i, text in enumerate(texts):
        images.append(tmp_path / f"{i}.binpb")
        images[i].write_bytes(compiled(text).SerializeToString())
    rule = '{"version":"v2","breaking":{"use":["WIRE_JSON"]}}'
    done = subprocess.run(
        [buf, "breaking", str(images[1]), "--against", str(images[0]), "--config", rule],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode in (0, 100), done.stderr
    if done.returncode == 100:
        assert "full" in refused, done.stdout


def test_head_is_what_the_changes_are_written_for() -> None:
    assert REPORT.startswith(HEAD)
