"""The MLLP frame decoder: what each shape of bytes gives, and what it holds."""

from __future__ import annotations

import pytest

from adapters.hl7v2.codec.mllp import (
    HEAD_BYTES,
    Frame,
    FrameDecoder,
    FrameEvent,
    FrameProblem,
    Problem,
    UnframableMessage,
    frame,
)

MESSAGE = b"MSH|^~\\&|A\rPID|1\r"


def decoder(
    *, max_message_bytes: int = 1000, cr_optional: bool = False, max_problems: int = 16
) -> FrameDecoder:
    return FrameDecoder(
        max_message_bytes=max_message_bytes, cr_optional=cr_optional, max_problems=max_problems
    )


def codes(events: list[FrameEvent]) -> list[FrameProblem]:
    return [event.code for event in events if isinstance(event, Problem)]


def test_message_in_one_piece_comes_back_unchanged() -> None:
    assert decoder().feed(frame(MESSAGE)) == [Frame(MESSAGE)]


def test_pipelined_messages_come_in_order() -> None:
    wire = frame(b"one") + frame(b"two") + frame(b"three")
    assert decoder().feed(wire) == [Frame(b"one"), Frame(b"two"), Frame(b"three")]


def test_message_in_single_bytes_comes_back_unchanged() -> None:
    unit = decoder()
    events = [e for byte in frame(MESSAGE) for e in unit.feed(bytes([byte]))]
    assert events == [Frame(MESSAGE)]


def test_file_separator_inside_a_message_is_content() -> None:
    assert decoder().feed(frame(b"a\x1cb")) == [Frame(b"a\x1cb")]


def test_end_block_split_between_its_two_bytes_still_ends_the_frame() -> None:
    unit = decoder()
    assert unit.feed(b"\x0babc\x1c") == []
    assert unit.feed(b"\r") == [Frame(b"abc")]


def test_bytes_between_frames_are_reported_and_cost_no_frame() -> None:
    events = decoder().feed(b"\r\n" + frame(b"one") + b"noise" + frame(b"two"))
    assert events == [
        Problem(FrameProblem.OUTSIDE, 2, b"\r\n"),
        Frame(b"one"),
        Problem(FrameProblem.OUTSIDE, 5, b"noise"),
        Frame(b"two"),
    ]


def test_end_block_without_start_block_reports_what_stood_before_it() -> None:
    unit = decoder()
    events = [e for byte in b"MSH|x\r\x1c\r" for e in unit.feed(bytes([byte]))]
    assert events == [Problem(FrameProblem.UNOPENED, 6, b"MSH|x\r")]
    assert unit.feed(frame(b"next")) == [Frame(b"next")]


def test_new_start_block_reports_the_frame_that_never_ended_and_keeps_the_new_one() -> None:
    events = decoder().feed(b"\x0bfirst" + frame(b"second"))
    assert events == [Problem(FrameProblem.UNTERMINATED, 5, b"first"), Frame(b"second")]


def test_oversized_frame_is_reported_at_the_limit_and_the_next_frame_is_read() -> None:
    unit = decoder(max_message_bytes=10)
    events = unit.feed(b"\x0b" + b"x" * 11)
    assert events == [Problem(FrameProblem.OVERSIZED, 11, b"x" * 11)]
    assert unit.buffered_bytes == 0
    assert unit.in_frame
    assert unit.feed(b"x" * 5000 + b"\x1c") == []
    assert unit.feed(b"\r" + frame(b"next")) == [Frame(b"next")]


def test_message_of_exactly_the_limit_passes() -> None:
    assert decoder(max_message_bytes=10).feed(frame(b"x" * 10)) == [Frame(b"x" * 10)]


def test_empty_frame_is_a_problem() -> None:
    assert codes(decoder().feed(b"\x0b\x1c\r")) == [FrameProblem.EMPTY]


def test_truncated_frame_is_reported_when_the_connection_ends() -> None:
    unit = decoder()
    assert unit.feed(b"\x0bhalf a\x1c") == []
    assert unit.finish() == [Problem(FrameProblem.TRUNCATED, 7, b"half a\x1c")]


def test_end_block_without_cr_is_content_unless_the_link_allows_it() -> None:
    unit = decoder()
    assert unit.feed(b"\x0babc\x1c") == []
    assert unit.feed(b"\x0b") == [Problem(FrameProblem.UNTERMINATED, 4, b"abc\x1c")]


def test_tolerated_missing_cr_gives_the_frame_at_once_and_is_reported() -> None:
    unit = decoder(cr_optional=True)
    assert unit.feed(b"\x0babc\x1c") == [Frame(b"abc")]
    assert unit.feed(frame(b"def")) == [Problem(FrameProblem.CR_MISSING), Frame(b"def")]
    assert unit.finish() == []


def test_garbage_without_end_is_given_up() -> None:
    unit = decoder(max_problems=3)
    events = unit.feed(b"z" * (HEAD_BYTES * 10))
    assert codes(events) == [FrameProblem.OUTSIDE] * 3 + [FrameProblem.HOPELESS]
    assert unit.hopeless
    assert unit.feed(frame(MESSAGE)) == []
    assert unit.buffered_bytes == 0


@pytest.mark.parametrize(
    ("content", "unfinished"),
    [
        (b"", False),
        (b"\r\n\0", False),
        (frame(b"ok") + b"\n", False),
        (b"GET /", True),
        (b"\x0bab", True),
        (frame(b"ok") + b"GET", True),
    ],
)
def test_what_has_begun_and_not_ended_is_known(content: bytes, unfinished: bool) -> None:
    unit = decoder()
    unit.feed(content)
    assert unit.unfinished is unfinished


def test_good_frame_forgives_the_problems_before_it() -> None:
    unit = decoder(max_problems=2)
    for _ in range(10):
        assert Frame(b"ok") in unit.feed(b"?" + frame(b"ok"))
    assert not unit.hopeless


@pytest.mark.parametrize("content", [b"a\x0bb", b"a\x1c\rb"])
def test_message_that_would_break_its_frame_is_refused(content: bytes) -> None:
    with pytest.raises(UnframableMessage):
        frame(content)


def test_problem_does_not_show_the_bytes_of_the_peer() -> None:
    (event,) = decoder().feed(b"\x0b\x0b" + b"DOE^JANE" * 200)[-1:]
    assert "DOE" not in repr(event)
