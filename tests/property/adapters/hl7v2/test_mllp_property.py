"""The MLLP decoder under every split and any bytes."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from adapters.hl7v2.codec.mllp import Frame, FrameDecoder, FrameEvent, frame

# few kinds of bytes, so that markers meet in every order
_SOUP = st.lists(st.sampled_from([b"\x0b", b"\x1c", b"\r", b"x", b"MSH|"]), max_size=60).map(
    b"".join
)
_WIRE = st.one_of(_SOUP, st.binary(max_size=200))
_MESSAGE = st.binary(min_size=1, max_size=60).filter(
    lambda m: b"\x0b" not in m and b"\x1c\r" not in m
)


def run(pieces: list[bytes], *, limit: int, cr_optional: bool) -> list[FrameEvent]:
    decoder = FrameDecoder(max_message_bytes=limit, cr_optional=cr_optional, max_problems=4)
    events: list[FrameEvent] = []
    for piece in pieces:
        events += decoder.feed(piece)
        assert decoder.buffered_bytes <= limit + 4097
    return events + decoder.finish()


@given(wire=_WIRE, limit=st.integers(1, 20), cr_optional=st.booleans())
def test_single_bytes_give_the_same_events_as_one_piece(
    wire: bytes, limit: int, cr_optional: bool
) -> None:
    whole = run([wire], limit=limit, cr_optional=cr_optional)
    drip = run([bytes([b]) for b in wire], limit=limit, cr_optional=cr_optional)
    assert drip == whole


@given(wire=_WIRE, cuts=st.lists(st.integers(0, 200), max_size=6), cr_optional=st.booleans())
def test_any_split_gives_the_same_events(wire: bytes, cuts: list[int], cr_optional: bool) -> None:
    places = [0, *sorted(min(cut, len(wire)) for cut in cuts), len(wire)]
    pieces = [wire[a:b] for a, b in pairwise(places)]
    whole = run([wire], limit=12, cr_optional=cr_optional)
    assert run(pieces, limit=12, cr_optional=cr_optional) == whole


@given(messages=st.lists(_MESSAGE, max_size=8))
def test_framed_messages_come_back_in_order_and_unchanged(messages: list[bytes]) -> None:
    wire = b"".join(frame(m) for m in messages)
    assert run([wire], limit=60, cr_optional=False) == [Frame(m) for m in messages]
