from __future__ import annotations

import pytest

from adapters.hl7v2.codec.batch import (
    BatchClosed,
    BatchEvent,
    BatchSplitter,
    Level,
    MessageFound,
    MessageRefused,
    Skipped,
    split_messages,
)
from adapters.hl7v2.codec.errors import CharsetError
from adapters.hl7v2.codec.limits import Limits

A = b"MSH|^~\\&|A\rPID|1||1\r"
B = b"MSH|^~\\&|B\rPID|1||2\rOBX|1\r"


def split(raw: bytes, limits: Limits | None = None) -> list[BatchEvent]:
    return list(split_messages([raw], limits or Limits()))


def messages(events: list[BatchEvent]) -> list[bytes]:
    return [event.raw for event in events if isinstance(event, MessageFound)]


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        (b"", []),
        (b"\r\n\r\n", []),
        (A, [A]),
        (A.rstrip(b"\r"), [A.rstrip(b"\r")]),
        (A + B, [A, B]),
        (A + b"\r\n\r\n" + B + b"\r\r\r", [A, B]),
        (A + b"\n" + B + b"\n", [A, B]),
        (
            A.replace(b"\r", b"\n") + b"\n\n" + B.replace(b"\r", b"\n"),
            [A.replace(b"\r", b"\n"), B.replace(b"\r", b"\n")],
        ),
        (
            A.replace(b"\r", b"\r\n") + B.replace(b"\r", b"\r\n"),
            [A.replace(b"\r", b"\r\n"), B.replace(b"\r", b"\r\n")],
        ),
        (b"\x0b" + A + b"\x1c\r\x0b" + B + b"\x1c\r", [A, B]),
        (b"\xef\xbb\xbf" + A + b"\xef\xbb\xbf" + B + b"\x1a", [A, B]),
        (b" \t" + A, [A]),
        (A + b"NTE|1||text  \t\r" + B, [A + b"NTE|1||text  \t\r", B]),
        (A + b"NTE|1||caf\xc2\xbb", [A + b"NTE|1||caf\xc2\xbb"]),
        (A + b"NTE|1||see\nMSH below\r" + B, [A + b"NTE|1||see\nMSH below\r", B]),
        (A + b"MSHA|x\r", [A + b"MSHA|x\r"]),
        (b"MSH|^~\\&|A\n" + B, [b"MSH|^~\\&|A\n", B]),
    ],
)
def test_each_message_s_bytes_are_the_ones_that_were_sent(raw: bytes, wanted: list[bytes]) -> None:
    events = split(raw)
    assert messages(events) == wanted
    for event in events:
        assert isinstance(event, MessageFound)
        assert raw[event.offset : event.offset + len(event.raw)] == event.raw
    assert [event.index for event in events if isinstance(event, MessageFound)] == list(
        range(1, len(wanted) + 1)
    )


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n"])
def test_batches_are_counted_against_their_trailers(end: bytes) -> None:
    raw = b"FHS|^~\\&|L\rBHS|^~\\&|L\r" + A + B + b"BTS|2|done\rBHS|^~\\&\r" + A + b"BTS|7\rFTS|2\r"
    events = split(raw.replace(b"\r", end))
    assert len(messages(events)) == 3
    closed = [event for event in events if isinstance(event, BatchClosed)]
    assert [(c.level, c.counted, c.declared, c.agrees) for c in closed] == [
        (Level.BATCH, 2, 2, True),
        (Level.BATCH, 1, 7, False),
        (Level.FILE, 2, 2, True),
    ]


@pytest.mark.parametrize(
    ("raw", "closed"),
    [
        (b"BHS|^~\\&\r" + A, [(Level.BATCH, 1, None, False)]),
        (
            b"FHS|^~\\&\rBHS|^~\\&\r" + A,
            [(Level.BATCH, 1, None, False), (Level.FILE, 1, None, False)],
        ),
        (
            b"BHS|^~\\&\r" + A + b"BHS|^~\\&\r" + B + b"BTS\r",
            [(Level.BATCH, 1, None, False), (Level.BATCH, 1, None, True)],
        ),
        (A + B + b"BTS|2", [(Level.BATCH, 2, 2, True)]),
        (A + b"BTS|1\r" + B + b"BTS|1\r", [(Level.BATCH, 1, 1, True), (Level.BATCH, 1, 1, True)]),
        (A + b"FTS|1\r", [(Level.FILE, 0, 1, False)]),
        (
            b"BHS|^~\\&\r" + A + b"FTS|x\r",
            [(Level.BATCH, 1, None, False), (Level.FILE, 0, None, True)],
        ),
        (
            b"FHS|^~\\&\rFHS|^~\\&\rFTS|0\r",
            [(Level.FILE, 0, None, False), (Level.FILE, 0, 0, True)],
        ),
        (b"BHS|^~\\&\r" + A + b"BTS|99999999999999999999\r", [(Level.BATCH, 1, None, True)]),
        (b"BHS|^~\\&\r" + A + b"BTS", [(Level.BATCH, 1, None, True)]),
    ],
)
def test_missing_and_odd_trailers_are_reported(
    raw: bytes, closed: list[tuple[Level, int, int | None, bool]]
) -> None:
    seen = [event for event in split(raw) if isinstance(event, BatchClosed)]
    assert [(c.level, c.counted, c.declared, c.has_trailer and c.agrees) for c in seen] == closed


def test_what_belongs_to_no_message_is_reported() -> None:
    raw = b"/* note */\r" + A + b"BTS|1\rjunk\r" + B
    assert [event for event in split(raw) if isinstance(event, Skipped)] == [
        Skipped(offset=0, length=11),
        Skipped(offset=11 + len(A) + 5, length=6),
    ]
    assert split(b"no message at all") == [Skipped(offset=0, length=17)]


def test_an_oversized_message_is_dropped_and_the_rest_is_read() -> None:
    limits = Limits(max_message_bytes=100)
    big = b"MSH|^~\\&|" + b"x" * 1000 + b"\r"
    for size in (1, 7, 64, 5000):
        raw = A + big + B
        events = list(split_messages((raw[i : i + size] for i in range(0, len(raw), size)), limits))
        assert messages(events) == [A, B]
        (refused,) = (event for event in events if isinstance(event, MessageRefused))
        assert (refused.index, refused.offset, refused.length) == (2, len(A), len(big))
        assert refused.error.position == len(A)


def test_endless_input_is_held_in_bounded_memory() -> None:
    splitter = BatchSplitter(Limits(max_message_bytes=10_000))
    events = []
    for kind in (b"", b"MSH|^~\\&|", b"BTS|1|"):
        events += splitter.feed(b"\r" + kind)
        for _ in range(200):
            events += splitter.feed(b"x" * 1000)
            assert len(splitter._buffer) < 12_000
    events += splitter.close()
    assert [type(event) for event in events] == [Skipped, MessageRefused, BatchClosed, Skipped]


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be", "utf-16"])
def test_a_wide_file_is_refused_not_skipped(codec: str) -> None:
    with pytest.raises(CharsetError, match="UTF-16"):
        split("MSH|^~\\&|A\r".encode(codec) * 2)


def test_a_closed_splitter_can_start_again() -> None:
    splitter = BatchSplitter()
    assert messages(splitter.feed(A) + splitter.close()) == [A]
    assert splitter.close() == []
