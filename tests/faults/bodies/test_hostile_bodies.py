"""Authentic contents whose bodies lie: bombs, wrong sizes, trailing bytes, foreign dictionaries. Refused, cheaply."""

from __future__ import annotations

import hashlib
import tracemalloc

import pytest
import zstandard

from bus.bodies import BadBody, BodyCodec, BodyPolicy, BodyReason, DictionaryMissing
from schemas.generated.medmesh.content.v1 import content_pb2 as pb
from tests.unit.bus.bodies.kit import FHIR, MESSAGE, RESOURCE, V2, content, sender, shipped_for

MIB = 1 << 20
NOBODY_HAS = hashlib.sha256(b"never made").digest()
SIZE = len(MESSAGE)


def frame(body: bytes, *, says_size: bool = True) -> bytes:
    return zstandard.ZstdCompressor(level=3, write_content_size=says_size).compress(body)


def streamed(body: bytes) -> bytes:
    """A frame that does not say its size."""
    return zstandard.ZstdCompressor(level=19, write_content_size=False).compress(body)


def plain(body: bytes, raw_size: int) -> pb.Content:
    return pb.Content(encoding=pb.BODY_ENCODING_ZSTD, raw_size=raw_size, body=body)


def with_dictionary(body: bytes = MESSAGE, kind: str = V2) -> pb.Content:
    return content(sender().encode(kind, body), len(body))


def names(dictionary_id: bytes) -> pb.Content:
    made = with_dictionary()
    made.dictionary_id = dictionary_id
    return made


def says(size: int) -> pb.Content:
    """Header and content agree on a size, and the data have another."""
    lying = bytearray(frame(MESSAGE))
    lying[5:7] = (size - 256).to_bytes(
        2, "little"
    )  # the content size of a frame of 256 to 65 791 bytes
    return plain(bytes(lying), size)


def untyped(encoding: int) -> pb.Content:
    return pb.Content(encoding=pb.BodyEncoding.ValueType(encoding), raw_size=SIZE, body=MESSAGE)


def as_it_is(size: int, **more: bytes) -> pb.Content:
    return pb.Content(
        encoding=pb.BODY_ENCODING_IDENTITY,
        raw_size=size,
        body=MESSAGE,
        dictionary_id=more.get("dictionary_id", b""),
    )


def unnamed(encoding: pb.BodyEncoding.ValueType) -> pb.Content:
    made = with_dictionary()
    made.encoding = encoding
    made.ClearField("dictionary_id")
    return made


SKIPPABLE = b"\x50\x2a\x4d\x18"
HUGE_HEADER = b"\x28\xb5\x2f\xfd\xe0" + (1 << 63).to_bytes(8, "little") + b"\x01\x00\x00"
CASES: dict[str, tuple[pb.Content, str]] = {
    "bomb that says its size": (plain(frame(bytes(64 * MIB)), SIZE), "size_mismatch"),
    "bomb that hides its size": (plain(streamed(bytes(64 * MIB)), SIZE), "size_mismatch"),
    "bomb whose content agrees": (plain(frame(bytes(64 * MIB)), 64 * MIB), "too_large"),
    "header of 2^63 bytes": (plain(HUGE_HEADER, 1 << 63), "too_large"),
    "size not known, as its number": (plain(streamed(MESSAGE), (1 << 64) - 1), "too_large"),
    "content says one byte more": (plain(frame(MESSAGE), SIZE + 1), "size_mismatch"),
    "content says one byte less": (plain(frame(MESSAGE), SIZE - 1), "size_mismatch"),
    "content and header say less": (says(SIZE - 1), "malformed"),
    "content and header say more": (says(SIZE + 10), "malformed"),
    "trailing byte": (plain(frame(MESSAGE) + b"\0", SIZE), "malformed"),
    "second frame": (plain(frame(MESSAGE) + frame(bytes(MIB)), SIZE), "malformed"),
    "trailing skippable": (plain(frame(MESSAGE) + SKIPPABLE + bytes(4), SIZE), "malformed"),
    "skippable alone": (plain(SKIPPABLE + SIZE.to_bytes(4, "little") + MESSAGE, SIZE), "malformed"),
    "truncated": (plain(frame(MESSAGE)[:-1], SIZE), "malformed"),
    "truncated in its header": (plain(frame(MESSAGE)[:5], SIZE), "malformed"),
    "empty": (plain(b"", SIZE), "malformed"),
    "frame of nothing": (plain(frame(b""), 0), "malformed"),
    "not a frame": (plain(MESSAGE, SIZE), "malformed"),
    "gzip": (plain(b"\x1f\x8b\x08" + MESSAGE, SIZE), "malformed"),
    "dictionary not named": (unnamed(pb.BODY_ENCODING_ZSTD), "malformed"),
    "other dictionary named": (names(shipped_for("fhir-json").id), "malformed"),
    "half an id": (names(shipped_for("hl7v2").id[:16]), "wrong_dictionary"),
    "no id": (unnamed(pb.BODY_ENCODING_ZSTD_DICTIONARY), "wrong_dictionary"),
    "dictionary nobody has": (names(NOBODY_HAS), "dictionary_missing"),
    "identity with a dictionary": (as_it_is(SIZE, dictionary_id=bytes(32)), "wrong_dictionary"),
    "identity of another size": (as_it_is(SIZE + 1), "size_mismatch"),
    "no encoding": (untyped(0), "unknown_encoding"),
    "encoding of a later version": (untyped(9), "unknown_encoding"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_lying_body_is_refused_with_its_reason_and_before_memory_is_taken(case: str) -> None:
    held, reason = CASES[case]
    codec = BodyCodec()
    codec.decode(with_dictionary())  # its contexts are made once, and are not what is measured
    codec.decode(with_dictionary(RESOURCE, FHIR))
    codec.decode(plain(frame(MESSAGE), SIZE))
    tracemalloc.start()
    try:
        with pytest.raises(BadBody) as refused:
            codec.decode(held)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert refused.value.reason.value == reason
    assert peak < len(held.body) + 256 * 1024
    assert "EXAMPLE" not in str(refused.value)


def test_a_frame_with_the_number_of_another_dictionary_is_refused() -> None:
    """Other writers may leave zstd's own number in the frame: then it must be that of the named dictionary."""
    numbers = {}
    for kind in ("hl7v2", "fhir-json"):
        dictionary = zstandard.ZstdCompressionDict(shipped_for(kind).raw)
        numbers[kind] = zstandard.ZstdCompressor(level=3, dict_data=dictionary).compress(MESSAGE)
    right = pb.Content(
        encoding=pb.BODY_ENCODING_ZSTD_DICTIONARY,
        dictionary_id=shipped_for("hl7v2").id,
        raw_size=SIZE,
        body=numbers["hl7v2"],
    )
    assert BodyCodec().decode(right) == MESSAGE
    right.body = numbers["fhir-json"]
    with pytest.raises(BadBody) as refused:
        BodyCodec().decode(right)
    assert refused.value.reason is BodyReason.WRONG_DICTIONARY


def test_what_has_the_hash_and_is_no_dictionary_is_refused() -> None:
    """A sender may have signed the id of anything."""
    junk = b"\x37\xa4\x30\xec" + bytes(range(256)) * 8
    name = hashlib.sha256(junk).digest()
    codec = BodyCodec()
    codec.dictionaries.learn(name, junk)
    held = with_dictionary()
    held.dictionary_id = name
    with pytest.raises(BadBody) as refused:
        codec.decode(held)
    assert refused.value.reason is BodyReason.WRONG_DICTIONARY


def test_a_dictionary_without_bound_is_not_learned() -> None:
    huge = bytes(257 * 1024)
    with pytest.raises(BadBody, match="at most"):
        BodyCodec().dictionaries.learn(hashlib.sha256(huge).digest(), huge)


def test_the_bound_of_decoded_bodies_is_the_mesh_s_own() -> None:
    body = MESSAGE * 40
    held = content(sender().encode(V2, body), len(body))
    small = BodyCodec(policy=BodyPolicy(max_bytes=len(body) - 1))
    with pytest.raises(BadBody) as refused:
        small.decode(held)
    assert refused.value.reason is BodyReason.TOO_LARGE
    assert BodyCodec(policy=BodyPolicy(max_bytes=len(body))).decode(held) == body


def test_a_missing_dictionary_is_told_as_something_that_may_come() -> None:
    held = names(NOBODY_HAS)
    with pytest.raises(DictionaryMissing) as missing:
        BodyCodec().decode(held)
    assert missing.value.retryable
    assert missing.value.dictionary_id == NOBODY_HAS


def test_a_codec_works_on_after_every_hostile_body() -> None:
    codec = sender()
    for held, _ in CASES.values():
        with pytest.raises(BadBody):
            codec.decode(held)
        assert codec.decode(content(codec.encode(V2, MESSAGE), SIZE)) == MESSAGE
