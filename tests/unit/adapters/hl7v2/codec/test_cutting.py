from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.hl7v2.codec.cutting import cut


@given(st.lists(st.sampled_from([b"|", b"a", b"b" * 70_000]), max_size=90).map(b"".join))
def test_parts_are_those_of_split(raw: bytes) -> None:
    assert cut(raw, b"|", 100) == raw.split(b"|")


@pytest.mark.parametrize("size", [10, 70_000])
@pytest.mark.parametrize("marks", [0, 1, 9, 10, 11, 64, 65, 100])
def test_more_marks_than_allowed_are_not_split(size: int, marks: int) -> None:
    raw = b"\r\n" * marks + b"x" * size
    for most in (0, 9, 10, 64, 70):
        assert cut(raw, b"\r\n", most) == (raw.split(b"\r\n") if marks <= most else None)
