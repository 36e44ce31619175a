from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from adapters.hl7v2.codec.batch import (
    BatchEvent,
    BatchSplitter,
    MessageFound,
    MessageRefused,
    split_messages,
)
from adapters.hl7v2.codec.errors import CharsetError
from adapters.hl7v2.codec.limits import Limits

PIECES = st.sampled_from(
    [
        b"MSH|^~\\&|A\r",
        b"MSH|^~\\&|B\n",
        b"MSH|^~\\&|C\r\n",
        b"PID|1\r",
        b"NTE|x\ny\r",
        b"FHS|^~\\&\r",
        b"BHS|^~\\&\r\n",
        b"BTS|1\r",
        b"BTS",
        b"FTS|1\n",
        b"FTS\r",
        b"\r",
        b"\n",
        b"\x0b",
        b"\x1c\r",
        b"\xef\xbb\xbf",
        b"M",
        b"MSH",
        b"MSH|",
        b" ",
    ]
)
STREAMS = st.lists(PIECES | st.binary(max_size=8), max_size=30).map(b"".join)
LIMITS = st.sampled_from([10, 30, 1_000]).map(lambda size: Limits(max_message_bytes=size))


def cut(raw: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(raw) + 1) for place in places), len(raw)]
    return [raw[a:b] for a, b in pairwise(edges)]


def shown(chunks: list[bytes], limits: Limits) -> list[object] | str:
    try:
        return [_plain(event) for event in split_messages(chunks, limits)]
    except CharsetError as err:
        return str(err)


def _plain(event: BatchEvent) -> object:
    if isinstance(event, MessageRefused):
        return (event.index, event.offset, event.length, str(event.error))
    return event


@given(STREAMS, st.lists(st.integers(0, 10_000), max_size=40), LIMITS)
def test_any_chunking_gives_the_same_events(raw: bytes, places: list[int], limits: Limits) -> None:
    assert shown(cut(raw, places), limits) == shown([raw], limits)
    assert shown([bytes((byte,)) for byte in raw], limits) == shown([raw], limits)


@given(STREAMS)
def test_messages_are_slices_of_the_stream_in_order(raw: bytes) -> None:
    splitter, at = BatchSplitter(), 0
    try:
        events = splitter.feed(raw) + splitter.close()
    except CharsetError:
        return
    for event in events:
        if isinstance(event, MessageFound):
            assert event.offset >= at
            at = event.offset + len(event.raw)
            assert raw[event.offset : at] == event.raw
            assert event.raw.startswith(b"MSH")
    assert not splitter._buffer
