"""Whatever goes in comes out, and whatever is broken on the way is refused or comes out with its signed size."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from bus.bodies import BadBody, BodyCodec
from schemas.generated.medmesh.content.v1 import content_pb2 as pb
from tests.unit.bus.bodies.kit import FHIR, MESSAGE, RESOURCE, V2, content, sender

TYPES = st.sampled_from((V2, FHIR, "text/plain", "application/octet-stream", "", "medmesh/receipt"))
PIECES = st.sampled_from((MESSAGE, RESOURCE, MESSAGE[:77], b"OBX|1|NM|718-7^Hemoglobin||13.2\r"))
TEXTS = st.lists(PIECES, max_size=40).map(b"".join)
MIXED = st.tuples(TEXTS, st.binary(max_size=500)).map(b"".join)
BODIES = st.one_of(st.binary(max_size=3000), TEXTS, MIXED)
IDS = st.sampled_from((b"", bytes(32), b"x"))
SENDER, READER = sender(), BodyCodec()


@given(TYPES, BODIES)
def test_a_body_comes_back_as_it_was_and_is_never_larger_than_it_was(
    kind: str, body: bytes
) -> None:
    encoded = SENDER.encode(kind, body)
    held = content(encoded, len(body))
    assert READER.decode(held) == body
    assert len(encoded.body) + len(encoded.dictionary_id) <= len(body)
    READER.restore(held)
    assert (held.body, held.encoding) == (body, pb.BODY_ENCODING_IDENTITY)


@given(TEXTS.filter(lambda body: len(body) >= 256), st.data())
def test_a_damaged_frame_is_refused_or_has_the_signed_size(
    body: bytes, data: st.DataObject
) -> None:
    held = content(SENDER.encode(V2, body), len(body))
    frame = bytearray(held.body)
    place = data.draw(st.integers(0, len(frame) - 1))
    match data.draw(st.sampled_from(("flip", "cut", "grow", "insert"))):
        case "flip":
            frame[place] ^= 1 << data.draw(st.integers(0, 7))
        case "cut":
            del frame[place:]
        case "grow":
            frame += data.draw(st.binary(min_size=1, max_size=20))
        case _:
            frame[place:place] = data.draw(st.binary(min_size=1, max_size=20))
    held.body = bytes(frame)
    try:
        decoded = READER.decode(held)
    except BadBody:
        return
    assert len(decoded) == len(body)


@given(
    st.integers(0, 3),
    st.binary(max_size=300),
    st.integers(0, (1 << 64) - 1),
    st.sampled_from((b"", bytes(32), b"x")),
)
def test_any_content_gives_bytes_of_its_size_or_a_refusal(
    encoding: int, body: bytes, size: int, dictionary_id: bytes
) -> None:
    held = pb.Content(
        encoding=pb.BodyEncoding.ValueType(encoding),
        body=body,
        raw_size=size,
        dictionary_id=dictionary_id,
    )
    with suppress(BadBody):
        assert len(READER.decode(held)) == size
