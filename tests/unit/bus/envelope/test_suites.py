from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from bus.envelope import (
    SUITES,
    KemKey,
    Reason,
    Refused,
    SigningKey,
    check_kem_public,
    kem_key_id,
    suite_of,
    verify,
    wrap,
)
from bus.envelope.suites import batch_key, commitment
from tests.unit.bus.envelope import reference
from tests.unit.bus.envelope.world import counted_entropy, reason_of

P384_ORDER = int(
    "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
    16,
)
both_suites = pytest.mark.parametrize("suite", sorted(SUITES))


def test_there_are_two_suites_and_no_other_number_is_one() -> None:
    assert sorted(SUITES) == [1, 2]
    for number in (0, 3, -1, 1 << 31):
        assert reason_of(suite_of, number) is Reason.SUITE_NOT_ALLOWED


@both_suites
def test_signature_verifies_for_its_own_bytes_and_key_alone(suite: int) -> None:
    key, other = SigningKey.generate(suite), SigningKey.generate(suite)
    signature = key.sign(b"order")
    verify(suite, key.public_bytes, signature, b"order")
    assert reason_of(verify, suite, key.public_bytes, signature, b"Order") == (Reason.BAD_SIGNATURE)
    assert reason_of(verify, suite, other.public_bytes, signature, b"order") == (
        Reason.BAD_SIGNATURE
    )
    for damaged in (b"", signature[:-1], signature + b"\0", bytes(len(signature))):
        assert reason_of(verify, suite, key.public_bytes, damaged, b"order") == (
            Reason.BAD_SIGNATURE
        )


@both_suites
def test_signature_is_the_same_for_the_same_bytes(suite: int) -> None:
    key = SigningKey.generate(suite)
    assert key.sign(b"order") == key.sign(b"order")


@both_suites
def test_signing_key_survives_storage(suite: int) -> None:
    key = SigningKey.generate(suite)
    again = SigningKey.from_bytes(suite, key.to_bytes())
    assert again.public_bytes == key.public_bytes
    assert again.sign(b"x") == key.sign(b"x")
    assert len(key.to_bytes()) == {1: 32, 2: 48}[suite]
    assert len(key.public_bytes) == {1: 32, 2: 97}[suite]


@both_suites
def test_keys_follow_from_the_entropy_given(suite: int) -> None:
    one = SigningKey.generate(suite, entropy=counted_entropy(b"a"))
    two = SigningKey.generate(suite, entropy=counted_entropy(b"a"))
    assert one.public_bytes == two.public_bytes
    assert one.public_bytes != SigningKey.generate(suite).public_bytes
    kem = KemKey.generate(suite, entropy=counted_entropy(b"b"))
    assert kem.seed == KemKey.generate(suite, entropy=counted_entropy(b"b")).seed


@both_suites
@pytest.mark.parametrize("raw", [b"", b"\1" * 31, b"\1" * 33, bytes(48), b"\xff" * 48, bytes(97)])
def test_bytes_that_are_no_signing_key_are_refused(suite: int, raw: bytes) -> None:
    assert reason_of(SigningKey.from_bytes, suite, raw) is Reason.MALFORMED


@both_suites
def test_bytes_that_are_no_public_key_are_refused(suite: int) -> None:
    compressed = b"\2" + SigningKey.generate(2).public_bytes[1:49]
    off_curve = b"\4" + b"\1" * 96
    for raw in (b"", b"\1" * 31, b"\1" * 33, bytes(97), off_curve, compressed):
        assert reason_of(verify, suite, raw, b"s" * 64, b"x") is Reason.MALFORMED


def test_ecdsa_signature_has_one_encoding() -> None:
    """(r, n - s) verifies wherever (r, s) does; only the lower one is taken."""
    key = SigningKey.generate(2)
    for number in range(8):
        message = b"%d" % number
        r, s = decode_dss_signature(key.sign(message))
        assert s <= P384_ORDER // 2
        verify(2, key.public_bytes, encode_dss_signature(r, s), message)
        twin = encode_dss_signature(r, P384_ORDER - s)
        with pytest.raises(Refused, match="bad_signature"):
            verify(2, key.public_bytes, twin, message)


@both_suites
def test_wrapped_secret_opens_for_its_key_and_context_alone(suite: int) -> None:
    key, other = KemKey.generate(suite), KemKey.generate(suite)
    wrapped = wrap(suite, key.public_bytes, b"s" * 32, b"context")
    assert len(wrapped) == 32 + SUITES[suite].wrap_overhead_bytes
    assert key.unwrap(wrapped, b"context") == b"s" * 32
    for refuse in (
        lambda: key.unwrap(wrapped, b"Context"),
        lambda: other.unwrap(wrapped, b"context"),
        lambda: key.unwrap(wrapped[:-1], b"context"),
        lambda: key.unwrap(wrapped + b"\0", b"context"),
        lambda: key.unwrap(b"", b"context"),
        lambda: key.unwrap(bytes(len(wrapped)), b"context"),
        lambda: key.unwrap(b"\xff" * len(wrapped), b"context"),
    ):
        assert reason_of(refuse) is Reason.KEY_PACKAGE_INVALID


@both_suites
def test_kem_key_follows_from_its_seed(suite: int) -> None:
    key = KemKey.generate(suite)
    again = KemKey.from_seed(suite, key.seed)
    assert (again.public_bytes, again.id) == (key.public_bytes, key.id)
    assert len(key.public_bytes) == SUITES[suite].kem_public_bytes
    assert key.id == kem_key_id(key.public_bytes) == reference.sha256(key.public_bytes)[:8]
    assert reason_of(KemKey.from_seed, suite, b"short") is Reason.MALFORMED


@both_suites
def test_bytes_that_are_no_public_kem_key_are_refused(suite: int) -> None:
    size = SUITES[suite].kem_public_bytes
    good = KemKey.generate(suite).public_bytes
    check_kem_public(suite, good)
    for raw in (b"", good[:-1], good + b"\0", b"\xff" * size, b"\xff" * 384 + good[384:]):
        assert reason_of(check_kem_public, suite, raw) is Reason.MALFORMED


@both_suites
def test_derived_keys_are_those_of_the_specification(suite: int) -> None:
    secret, salt, signer = b"s" * 32, b"t" * 32, b"u" * 16
    assert commitment(SUITES[suite], secret) == reference.commit_of(suite, secret)
    assert batch_key(SUITES[suite], secret, salt, signer) == (
        reference.hkdf(suite, secret, salt, b"batch" + signer)
    )


@both_suites
def test_keys_never_show_their_secrets(suite: int) -> None:
    key, kem = SigningKey.generate(suite), KemKey.generate(suite)
    assert key.to_bytes().hex()[:8] not in repr(key)
    assert kem.seed.hex()[:8] not in repr(kem)
