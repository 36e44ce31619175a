from __future__ import annotations

from functools import partial

import pytest

from bus.envelope import Reason, SigningKey, open_object, sign_object
from schemas.generated.medmesh.envelope.v1 import envelope_pb2 as pb
from tests.unit.bus.envelope import reference
from tests.unit.bus.envelope.world import reason_of

both_suites = pytest.mark.parametrize("suite", [1, 2])


@both_suites
def test_body_comes_back_byte_for_byte(suite: int) -> None:
    key = SigningKey.generate(suite)
    body = b"\x0a\x00not canonical protobuf\xff"
    raw = sign_object("ServiceCert", body, key)
    assert open_object("ServiceCert", raw, suite, key.public_bytes, max_bytes=len(raw)) == body
    assert raw == reference.signed_object("ServiceCert", body, key)


@both_suites
def test_object_of_one_kind_never_passes_for_another(suite: int) -> None:
    key = SigningKey.generate(suite)
    raw = sign_object("ServiceCert", b"body", key)
    renamed = pb.SignedObject.FromString(raw)
    renamed.kind = "DirectoryHead"

    def opened(kind: str, raw: bytes) -> bytes:
        return open_object(kind, raw, suite, key.public_bytes, max_bytes=1000)

    assert reason_of(opened, "DirectoryHead", raw) is Reason.MALFORMED
    assert reason_of(opened, "DirectoryHead", renamed.SerializeToString()) is (Reason.BAD_SIGNATURE)


@both_suites
def test_every_single_bit_flip_of_what_is_signed_is_refused(suite: int) -> None:
    key = SigningKey.generate(suite)
    raw = sign_object("ServiceCert", b"rights", key)
    for bit in range(len(raw) * 8):
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << bit % 8
        reason_of(
            open_object, "ServiceCert", bytes(flipped), suite, key.public_bytes, max_bytes=1000
        )


def test_object_above_the_limit_is_refused_before_it_is_parsed() -> None:
    key = SigningKey.generate()
    refuse = partial(open_object, "X", b"\xff" * 11, 1, key.public_bytes, max_bytes=10)
    assert reason_of(refuse) is Reason.TOO_LARGE


def test_bytes_that_are_no_object_are_refused() -> None:
    key = SigningKey.generate()
    for raw in (b"", b"\xff", b"\x0a\x05ab"):
        assert (
            reason_of(open_object, "X", raw, 1, key.public_bytes, max_bytes=10) is Reason.MALFORMED
        )


@pytest.mark.parametrize("kind", ["", "batch", "a\0b"])
def test_kind_that_would_leave_its_domain_is_not_signed(kind: str) -> None:
    with pytest.raises(ValueError, match="kind"):
        sign_object(kind, b"", SigningKey.generate())
