"""The two suites of algorithms, and keys that know theirs.

A suite is one signed integer that names the whole tuple; nothing is negotiated. All of it comes from `cryptography`:
these are FIPS algorithms (FIPS 180-4, 186-5, 203; SP 800-38D, 800-56C), not a FIPS-validated module.

Sources: RFC 9180 (HPKE, base mode, single shot), RFC 5869 (HKDF); `signatures` and `kems` name theirs.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM
from cryptography.hazmat.primitives.hpke import Suite as HpkeSuite
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from bus.envelope.kems import (
    KemPrivate,
    KemPublic,
    mlkem1024_p384_private,
    mlkem1024_p384_public,
    xwing_private,
    xwing_public,
)
from bus.envelope.signatures import (
    P384_ENTROPY_BYTES,
    P384_POINT_BYTES,
    Ed25519Signer,
    P384Signer,
    P384Verifier,
    Signer,
    Verifier,
    p384_scalar,
)
from bus.envelope.types import Reason, Refused

Entropy = Callable[[int], bytes]
"""Gives so many random bytes fit for keys; `os.urandom` unless a test injects its own."""

NAMESPACE: Final = b"medmesh.env.v1/"
"""Begins every string that separates the domains of signatures, derived keys and wraps."""
SECRET_BYTES: Final = 32
"""Size of epoch secrets, seeds, batch keys and commitments."""


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
    signer: Callable[[bytes], Signer]
    verifier: Callable[[bytes], Verifier]
    kem_private: Callable[[bytes], tuple[KemPrivate, bytes]]
    """32-byte seed to (private key, public key bytes)."""
    kem_public: Callable[[bytes], KemPublic]
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
            signer=Ed25519Signer,
            verifier=ed25519.Ed25519PublicKey.from_public_bytes,
            kem_private=xwing_private,
            kem_public=xwing_public,
            kem_public_bytes=1184 + 32,
            wrap_overhead_bytes=1088 + 32 + 16,
        ),
        2: Suite(
            number=2,
            name="ML-KEM-1024 + P-384, HKDF-SHA384, AES-256-GCM, ECDSA P-384",
            hpke=HpkeSuite(KEM.MLKEM1024_P384, KDF.HKDF_SHA384, AEAD.AES_256_GCM),
            digest=hashes.SHA384(),
            sign_key_entropy_bytes=P384_ENTROPY_BYTES,
            sign_key_from_entropy=p384_scalar,
            signer=P384Signer,
            verifier=P384Verifier,
            kem_private=mlkem1024_p384_private,
            kem_public=mlkem1024_p384_public,
            kem_public_bytes=1568 + P384_POINT_BYTES,
            wrap_overhead_bytes=1568 + P384_POINT_BYTES + 16,
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
def _verifier(suite: int, public: bytes) -> Verifier:
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
def _kem_public(suite: int, public: bytes) -> KemPublic:
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


nonce_of: Final = struct.Struct(">4xQ").pack
"""The 96-bit GCM nonce of a leaf number; safe, since each batch has a fresh key."""


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
    "nonce_of",
    "suite_of",
    "verify",
    "wrap",
    "wrap_info",
]
