"""The two suites of algorithms, and keys that know theirs.

A suite is one signed integer that names the whole tuple; nothing is negotiated. All of it comes from `cryptography`:
these are FIPS algorithms (FIPS 180-4, 186-5, 203; SP 800-38D, 800-56C), not a FIPS-validated module.

Sources: RFC 9180 (HPKE, base mode, single shot), draft-connolly-cfrg-xwing-kem (X-Wing), draft-ietf-hpke-pq
(MLKEM1024-P384), RFC 5869 (HKDF), RFC 8032 (Ed25519), RFC 6979 (deterministic ECDSA).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Final, Protocol

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mlkem, x25519
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    MLKEM1024P384PrivateKey,
    MLKEM1024P384PublicKey,
)
from cryptography.hazmat.primitives.hpke import Suite as HpkeSuite
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bus.envelope.types import Reason, Refused

Entropy = Callable[[int], bytes]
"""Gives so many random bytes fit for keys; `os.urandom` unless a test injects its own."""

NAMESPACE: Final = b"medmesh.env.v1/"
"""Begins every string that separates the domains of signatures, derived keys and wraps."""
SECRET_BYTES: Final = 32
"""Size of epoch secrets, seeds, batch keys and commitments."""

_P384_ORDER: Final = int(
    "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
    16,
)
_P384_POINT_BYTES: Final = 97
_P384_SCALAR_BYTES: Final = 48
_P384_ENTROPY_BYTES: Final = 56  # 64 bits more than the order: FIPS 186-5 A.2.1
_ECDSA_SHA384: Final = ec.ECDSA(hashes.SHA384(), deterministic_signing=True)

_KemPrivate = MLKEM768X25519PrivateKey | MLKEM1024P384PrivateKey
_KemPublic = MLKEM768X25519PublicKey | MLKEM1024P384PublicKey


class _Signer(Protocol):
    def public_bytes(self) -> bytes: ...
    def to_bytes(self) -> bytes: ...
    def sign(self, data: bytes) -> bytes: ...


class _Verifier(Protocol):
    def verify(self, signature: bytes, data: bytes) -> None: ...


class _Ed25519Signer:
    def __init__(self, raw: bytes) -> None:
        self._key = ed25519.Ed25519PrivateKey.from_private_bytes(raw)
        self.sign = self._key.sign

    def public_bytes(self) -> bytes:
        return self._key.public_key().public_bytes_raw()

    def to_bytes(self) -> bytes:
        return self._key.private_bytes_raw()


class _P384Signer:
    def __init__(self, raw: bytes) -> None:
        if len(raw) != _P384_SCALAR_BYTES:
            raise ValueError
        self._key = ec.derive_private_key(int.from_bytes(raw, "big"), ec.SECP384R1())

    def public_bytes(self) -> bytes:
        return _point(self._key)

    def to_bytes(self) -> bytes:
        return self._key.private_numbers().private_value.to_bytes(_P384_SCALAR_BYTES, "big")

    def sign(self, data: bytes) -> bytes:
        r, s = decode_dss_signature(self._key.sign(data, _ECDSA_SHA384))
        return encode_dss_signature(r, min(s, _P384_ORDER - s))


class _P384Verifier:
    """Takes the lower of the two values of s alone, so that one signature has one encoding."""

    def __init__(self, raw: bytes) -> None:
        self._key = _p384_public(raw)

    def verify(self, signature: bytes, data: bytes) -> None:
        self._key.verify(signature, data, _ECDSA_SHA384)
        if decode_dss_signature(signature)[1] > _P384_ORDER >> 1:
            raise InvalidSignature


def _point(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _p384_public(raw: bytes) -> ec.EllipticCurvePublicKey:
    if len(raw) != _P384_POINT_BYTES:
        raise ValueError
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP384R1(), raw)


def _p384_from_entropy(entropy: bytes) -> bytes:
    scalar = int.from_bytes(entropy, "big") % (_P384_ORDER - 1) + 1
    return scalar.to_bytes(_P384_SCALAR_BYTES, "big")


def _xwing_private(seed: bytes) -> tuple[_KemPrivate, bytes]:
    expanded = hashlib.shake_256(seed).digest(96)
    lattice = mlkem.MLKEM768PrivateKey.from_seed_bytes(expanded[:64])
    curve = x25519.X25519PrivateKey.from_private_bytes(expanded[64:])
    public = lattice.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()
    return MLKEM768X25519PrivateKey(lattice, curve), public


def _xwing_public(raw: bytes) -> _KemPublic:
    return MLKEM768X25519PublicKey(
        mlkem.MLKEM768PublicKey.from_public_bytes(raw[:1184]),
        x25519.X25519PublicKey.from_public_bytes(raw[1184:]),
    )


def _mlkem1024_p384_private(seed: bytes) -> tuple[_KemPrivate, bytes]:
    expanded = hashlib.shake_256(seed).digest(112)
    lattice = mlkem.MLKEM1024PrivateKey.from_seed_bytes(expanded[:64])
    # the draft takes the next candidate when the scalar is out of range: 1 in 2**190 seeds, refused by the library
    curve = ec.derive_private_key(int.from_bytes(expanded[64:], "big"), ec.SECP384R1())
    public = lattice.public_key().public_bytes_raw() + _point(curve)
    return MLKEM1024P384PrivateKey(lattice, curve), public


def _mlkem1024_p384_public(raw: bytes) -> _KemPublic:
    return MLKEM1024P384PublicKey(
        mlkem.MLKEM1024PublicKey.from_public_bytes(raw[:1568]), _p384_public(raw[1568:])
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """One tuple of algorithms. Lengths are in bytes."""

    number: int
    name: str
    hpke: HpkeSuite
    digest: hashes.HashAlgorithm
    """The hash inside HKDF. Leaves, trees and identifiers are SHA-256 in every suite."""
    sign_key_entropy_bytes: int
    sign_key_from_entropy: Callable[[bytes], bytes]
    signer: Callable[[bytes], _Signer]
    verifier: Callable[[bytes], _Verifier]
    kem_private: Callable[[bytes], tuple[_KemPrivate, bytes]]
    """32-byte seed to (private key, public key bytes)."""
    kem_public: Callable[[bytes], _KemPublic]
    kem_public_bytes: int
    wrap_overhead_bytes: int
    """What a wrap adds to the secret: encapsulation and tag."""


SUITES: Final[Mapping[int, Suite]] = MappingProxyType(
    {
        1: Suite(
            number=1,
            name="X-Wing, HKDF-SHA256, AES-256-GCM, Ed25519",
            hpke=HpkeSuite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM),
            digest=hashes.SHA256(),
            sign_key_entropy_bytes=32,
            sign_key_from_entropy=bytes,
            signer=_Ed25519Signer,
            verifier=ed25519.Ed25519PublicKey.from_public_bytes,
            kem_private=_xwing_private,
            kem_public=_xwing_public,
            kem_public_bytes=1184 + 32,
            wrap_overhead_bytes=1088 + 32 + 16,
        ),
        2: Suite(
            number=2,
            name="ML-KEM-1024 + P-384, HKDF-SHA384, AES-256-GCM, ECDSA P-384",
            hpke=HpkeSuite(KEM.MLKEM1024_P384, KDF.HKDF_SHA384, AEAD.AES_256_GCM),
            digest=hashes.SHA384(),
            sign_key_entropy_bytes=_P384_ENTROPY_BYTES,
            sign_key_from_entropy=_p384_from_entropy,
            signer=_P384Signer,
            verifier=_P384Verifier,
            kem_private=_mlkem1024_p384_private,
            kem_public=_mlkem1024_p384_public,
            kem_public_bytes=1568 + _P384_POINT_BYTES,
            wrap_overhead_bytes=1568 + _P384_POINT_BYTES + 16,
        ),
    }
)
"""Every suite there is, by its number on the wire. 3 is kept for batches signed with ML-DSA-65."""

DEFAULT_SUITE: Final = 1


def suite_of(number: int) -> Suite:
    """The suite with this number. Raises `Refused` (SUITE_NOT_ALLOWED)."""
    try:
        return SUITES[number]
    except KeyError:
        raise Refused(
            Reason.SUITE_NOT_ALLOWED, f"suite {number} is not one of {sorted(SUITES)}"
        ) from None


class SigningKey:
    """The signing key of one instance: Ed25519 (suite 1) or ECDSA P-384 with SHA-384 (suite 2), deterministic."""

    __slots__ = ("_signer", "public_bytes", "sign", "suite")

    def __init__(self, suite: Suite, raw: bytes) -> None:
        try:
            self._signer = suite.signer(raw)
        except ValueError:
            raise Refused(Reason.MALFORMED, f"no signing key of suite {suite.number}") from None
        self.suite = suite
        self.public_bytes = self._signer.public_bytes()
        """32 bytes (suite 1), or the uncompressed point of 97 bytes (suite 2)."""
        self.sign: Callable[[bytes], bytes] = self._signer.sign
        """Sign bytes: 64 bytes (suite 1), or DER of at most 104 bytes with the lower s (suite 2)."""

    @classmethod
    def generate(cls, suite: int = DEFAULT_SUITE, *, entropy: Entropy = os.urandom) -> SigningKey:
        """Make a fresh key. Raises `Refused` (SUITE_NOT_ALLOWED)."""
        found = suite_of(suite)
        return cls(found, found.sign_key_from_entropy(entropy(found.sign_key_entropy_bytes)))

    @classmethod
    def from_bytes(cls, suite: int, raw: bytes) -> SigningKey:
        """Take up what `to_bytes` gave. Raises `Refused` (SUITE_NOT_ALLOWED, MALFORMED)."""
        return cls(suite_of(suite), raw)

    def to_bytes(self) -> bytes:
        """The private key: 32 bytes (suite 1) or 48 bytes (suite 2). Belongs in a sealed file only."""
        return self._signer.to_bytes()

    def __repr__(self) -> str:
        return f"SigningKey(suite={self.suite.number}, public={self.public_bytes.hex()[:16]})"


@lru_cache(maxsize=2048)
def _verifier(suite: int, public: bytes) -> _Verifier:
    return suite_of(suite).verifier(public)


def verify(suite: int, public: bytes, signature: bytes, data: bytes) -> None:
    """Check a signature. Parsed public keys are kept (2048 of them).

    Raises `Refused`: SUITE_NOT_ALLOWED, MALFORMED for a key that is none, BAD_SIGNATURE.
    """
    try:
        verifier = _verifier(suite, public)
    except ValueError:
        raise Refused(Reason.MALFORMED, f"no public signing key of suite {suite}") from None
    try:
        verifier.verify(signature, data)
    except InvalidSignature:
        raise Refused(Reason.BAD_SIGNATURE, "the signature does not verify") from None


class KemKey:
    """The key pair by which a service (or, for sealing, an instance) receives secrets; made from a 32-byte seed."""

    __slots__ = ("_private", "id", "public_bytes", "seed", "suite")

    def __init__(self, suite: Suite, seed: bytes) -> None:
        if len(seed) != SECRET_BYTES:
            raise Refused(
                Reason.MALFORMED, f"a KEM seed has {SECRET_BYTES} bytes; this has {len(seed)}"
            )
        self.suite = suite
        self.seed = seed
        """The 32 secret bytes: what is sealed to other instances and kept on disk."""
        self._private, self.public_bytes = suite.kem_private(seed)
        self.id = kem_key_id(self.public_bytes)

    @classmethod
    def generate(cls, suite: int = DEFAULT_SUITE, *, entropy: Entropy = os.urandom) -> KemKey:
        """Make a fresh key. Raises `Refused` (SUITE_NOT_ALLOWED)."""
        return cls(suite_of(suite), entropy(SECRET_BYTES))

    @classmethod
    def from_seed(cls, suite: int, seed: bytes) -> KemKey:
        """Take up a stored or received seed of 32 bytes. Raises `Refused` (SUITE_NOT_ALLOWED, MALFORMED)."""
        return cls(suite_of(suite), seed)

    def unwrap(self, wrapped: bytes, info: bytes) -> bytes:
        """Open what `wrap` made for this key with the same `info`. Raises `Refused` (KEY_PACKAGE_INVALID)."""
        try:
            return self.suite.hpke.decrypt(wrapped, self._private, info)
        except (InvalidTag, ValueError):
            raise Refused(Reason.KEY_PACKAGE_INVALID, "the wrapped secret does not open") from None

    def __repr__(self) -> str:
        return f"KemKey(suite={self.suite.number}, id={self.id.hex()})"


def kem_key_id(public: bytes) -> bytes:
    """The id of a KEM key: SHA-256(public key)[:8]."""
    return hashlib.sha256(public).digest()[:8]


@lru_cache(maxsize=512)
def _kem_public(suite: int, public: bytes) -> _KemPublic:
    found = suite_of(suite)
    if len(public) != found.kem_public_bytes:
        raise ValueError
    return found.kem_public(public)


def wrap(suite: int, public: bytes, secret: bytes, info: bytes) -> bytes:
    """Seal a secret to a public KEM key with HPKE: encapsulation || ciphertext. `info` binds the context.

    Raises `Refused`: SUITE_NOT_ALLOWED, MALFORMED for a key that is none.
    """
    try:
        return suite_of(suite).hpke.encrypt(secret, _kem_public(suite, public), info)
    except ValueError:
        raise Refused(Reason.MALFORMED, f"no public KEM key of suite {suite}") from None


def check_kem_public(suite: int, public: bytes) -> None:
    """Check that bytes are a public KEM key of the suite. Raises `Refused` (SUITE_NOT_ALLOWED, MALFORMED)."""
    wrap(suite, public, bytes(SECRET_BYTES), b"")


def derive(suite: Suite, secret: bytes, salt: bytes | None, label: bytes) -> bytes:
    """HKDF(secret, salt, info = namespace || label): 32 bytes."""
    return HKDF(suite.digest, SECRET_BYTES, salt, NAMESPACE + label).derive(secret)


def commitment(suite: Suite, secret: bytes) -> bytes:
    """What binds a key package to one secret, which AES-GCM alone does not: HKDF(secret, "commit"), 32 bytes."""
    return derive(suite, secret, None, b"commit")


def batch_key(suite: Suite, secret: bytes, salt: bytes, signer: bytes) -> bytes:
    """The AES-256 key of one batch: HKDF(epoch secret, batch salt, "batch" || signer)."""
    return derive(suite, secret, salt, b"batch" + signer)


def wrap_info(signer: bytes, commit: bytes, key_id: bytes, service: str) -> bytes:
    """The HPKE info of one recipient of a key package. All parts but the last have a fixed length."""
    return NAMESPACE + b"wrap\0" + signer + commit + key_id + service.encode()


__all__ = [
    "DEFAULT_SUITE",
    "NAMESPACE",
    "SECRET_BYTES",
    "SUITES",
    "Entropy",
    "KemKey",
    "SigningKey",
    "Suite",
    "batch_key",
    "check_kem_public",
    "commitment",
    "derive",
    "kem_key_id",
    "suite_of",
    "verify",
    "wrap",
    "wrap_info",
]
