"""Which form a body takes, and that it always comes back as it was."""

from __future__ import annotations

import hashlib
import os

import pytest
import zstandard

from bus.bodies import BadBody, BodyCodec, BodyReason, Dictionaries, DictionaryMissing
from bus.bodies.policy import DICTIONARY_BOUND_BYTES
from bus.envelope.padding import padme
from schemas.generated.medmesh.content.v1 import content_pb2 as pb
from tests.unit.bus.bodies.kit import (
    FHIR,
    MESSAGE,
    RESOURCE,
    V2,
    content,
    other_dictionary,
    sender,
    shipped_for,
)

IDENTITY, ZSTD = pb.BODY_ENCODING_IDENTITY, pb.BODY_ENCODING_ZSTD
DICTIONARY = pb.BODY_ENCODING_ZSTD_DICTIONARY


@pytest.mark.parametrize(
    ("kind", "body", "dictionary"),
    [(V2, MESSAGE, "hl7v2"), (FHIR, RESOURCE, "fhir-json"), (FHIR + "; v=4", RESOURCE, "fhir-json")],
)  # fmt: skip
def test_the_dictionary_follows_the_type_and_saves_most(
    kind: str, body: bytes, dictionary: str
) -> None:
    encoded = sender().encode(kind, body)
    assert (encoded.encoding, encoded.dictionary_id) == (DICTIONARY, shipped_for(dictionary).id)
    assert len(encoded.body) < len(body) / 2
    assert len(encoded.body) < len(zstandard.compress(body, 3)) * 0.75
    assert BodyCodec().decode(content(encoded, len(body))) == body


def test_a_type_without_dictionary_is_compressed_without_one() -> None:
    body = b"<note>example</note>" * 40
    encoded = sender().encode("text/xml", body)
    assert (encoded.encoding, encoded.dictionary_id) == (ZSTD, b"")
    assert BodyCodec().decode(content(encoded, len(body))) == body


def test_a_dictionary_is_not_used_before_readers_can_find_it() -> None:
    assert BodyCodec().encode(V2, MESSAGE).encoding == ZSTD


def test_large_bodies_are_compressed_without_dictionary() -> None:
    body = MESSAGE * (DICTIONARY_BOUND_BYTES // len(MESSAGE) + 1)
    encoded = sender().encode(V2, body)
    assert encoded.encoding == ZSTD
    assert BodyCodec().decode(content(encoded, len(body))) == body


@pytest.mark.parametrize("kind", ["", "text/plain", "application/dicom+json", "application/x"])
def test_whatever_else_it_is_is_tried_without_a_dictionary(kind: str) -> None:
    assert sender().encode(kind, b"example " * 100).encoding == ZSTD


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (V2, MESSAGE[:255]),
        (V2, b""),
        (V2, os.urandom(5000)),
        ("medmesh/dead-letter", MESSAGE * 3),
        ("medmesh/replay", MESSAGE * 3),
        ("application/pdf", MESSAGE * 3),
        ("application/pdf;name=x", MESSAGE * 3),
        ("image/jpeg", MESSAGE * 3),
    ],
)
def test_what_is_small_or_does_not_shrink_or_holds_envelopes_stays_as_it_is(
    kind: str, body: bytes
) -> None:
    encoded = sender().encode(kind, body)
    assert encoded == (IDENTITY, body, b"")
    assert BodyCodec().decode(content(encoded, len(body))) == body


def test_nothing_is_compressed_where_the_policy_says_off_and_everything_is_read() -> None:
    off = sender(compress=False)
    assert off.encode(V2, MESSAGE).encoding == IDENTITY
    assert off.decode(content(sender().encode(V2, MESSAGE), len(MESSAGE))) == MESSAGE


def test_the_threshold_is_a_setting() -> None:
    body = MESSAGE[:120]
    assert sender(min_bytes=100).encode(V2, body).encoding == DICTIONARY
    assert sender(min_bytes=121).encode(V2, body).encoding == IDENTITY


@pytest.mark.parametrize("beside", [0, 40, 200, 255])
def test_what_is_compressed_reaches_a_smaller_bucket_of_the_padding(beside: int) -> None:
    """Otherwise readers would decode for nothing."""
    codec = sender()
    for size in range(256, 6000, 7):
        body = (os.urandom(size * 7 // 8) + bytes(size))[:size]
        encoded = codec.encode(V2, body)
        if encoded.encoding == IDENTITY:
            continue
        before = pb.Content(encoding=IDENTITY, raw_size=size, body=body, source="s" * beside)
        after = content(encoded, size)
        after.source = "s" * beside
        assert padme(after.ByteSize()) < padme(before.ByteSize())


def test_a_content_of_an_earlier_version_is_read_as_it_is() -> None:
    before = pb.Content(encoding=IDENTITY, raw_size=len(MESSAGE), body=MESSAGE)
    assert BodyCodec().decode(before) == MESSAGE


def test_restoring_leaves_a_content_without_traces_of_its_encoding() -> None:
    held = content(sender().encode(V2, MESSAGE), len(MESSAGE))
    BodyCodec().restore(held)
    assert held == pb.Content(encoding=IDENTITY, raw_size=len(MESSAGE), body=MESSAGE)


def test_a_dictionary_of_another_version_is_asked_for_by_its_id_and_learned_by_its_hash() -> None:
    other = other_dictionary()
    theirs = BodyCodec(Dictionaries((other,)))
    theirs.dictionaries.offered(other.id)
    held = content(theirs.encode(V2, MESSAGE), len(MESSAGE))
    assert held.dictionary_id == other.id
    codec = BodyCodec()
    with pytest.raises(DictionaryMissing) as missing:
        codec.decode(held)
    assert missing.value.dictionary_id == other.id
    assert missing.value.retryable
    with pytest.raises(BadBody) as wrong:
        codec.dictionaries.learn(other.id, other.raw + b"x")
    assert wrong.value.reason is BodyReason.WRONG_DICTIONARY
    codec.dictionaries.learn(other.id, other.raw)
    assert codec.decode(held) == MESSAGE


def test_learned_dictionaries_are_bounded_and_found_again() -> None:
    known = Dictionaries(())
    blobs = [b"dictionary %d" % n for n in range(40)]
    for blob in blobs:
        known.learn(hashlib.sha256(blob).digest(), blob)
    assert known.find(hashlib.sha256(blobs[0]).digest()) is None
    assert known.find(hashlib.sha256(blobs[-1]).digest()) == blobs[-1]


def test_a_codec_is_used_again_and_again() -> None:
    codec = sender()
    for number in range(300):
        body = MESSAGE + b"ZZZ|%d\r" % number
        assert codec.decode(content(codec.encode(V2, body), len(body))) == body
