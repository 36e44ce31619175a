"""Signature algorithms of the suites. Sources: RFC 8032 (Ed25519), FIPS 186-5 and RFC 6979 (deterministic ECDSA)."""

from __future__ import annotations

from typing import Final, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

_P384_ORDER: Final = int(
    "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
    16,
)
P384_POINT_BYTES: Final = 97
_P384_SCALAR_BYTES: Final = 48
P384_ENTROPY_BYTES: Final = 56  # 64 bits more than the order: FIPS 186-5 A.2.1
_ECDSA_SHA384: Final = ec.ECDSA(hashes.SHA384(), deterministic_signing=True)


class Signer(Protocol):
    """A private signing key."""

    def public_bytes(self) -> bytes:
        """The public key as it stands in certificates."""
        ...

    def to_bytes(self) -> bytes:
        """The private key as it is kept."""
        ...

    def sign(self, data: bytes) -> bytes:
        """Sign, deterministically."""
        ...


class Verifier(Protocol):
    """A public signing key."""

    def verify(self, signature: bytes, data: bytes) -> None:
        """Raise `cryptography.exceptions.InvalidSignature` unless the signature is of these bytes."""
        ...


class Ed25519Signer:
    """Ed25519 (RFC 8032): 32 bytes private, 32 bytes public, 64 bytes signature."""

    def __init__(self, raw: bytes) -> None:
        self._key = ed25519.Ed25519PrivateKey.from_private_bytes(raw)
        self.sign = self._key.sign

    def public_bytes(self) -> bytes:
        """The public key."""
        return self._key.public_key().public_bytes_raw()

    def to_bytes(self) -> bytes:
        """The private key."""
        return self._key.private_bytes_raw()


class P384Signer:
    """ECDSA P-384 with SHA-384: 48 bytes private, 97 bytes public; DER signature with the lower value of s."""

    def __init__(self, raw: bytes) -> None:
        if len(raw) != _P384_SCALAR_BYTES:
            raise ValueError
        self._key = ec.derive_private_key(int.from_bytes(raw, "big"), ec.SECP384R1())

    def public_bytes(self) -> bytes:
        """The public key."""
        return p384_point(self._key)

    def to_bytes(self) -> bytes:
        """The private key."""
        return self._key.private_numbers().private_value.to_bytes(_P384_SCALAR_BYTES, "big")

    def sign(self, data: bytes) -> bytes:
        """Sign."""
        r, s = decode_dss_signature(self._key.sign(data, _ECDSA_SHA384))
        return encode_dss_signature(r, min(s, _P384_ORDER - s))


class P384Verifier:
    """Takes the lower of the two values of s alone, so that one signature has one encoding."""

    def __init__(self, raw: bytes) -> None:
        self._key = p384_public(raw)

    def verify(self, signature: bytes, data: bytes) -> None:
        """Raise `InvalidSignature` unless it is the one signature of these bytes."""
        self._key.verify(signature, data, _ECDSA_SHA384)
        if decode_dss_signature(signature)[1] > _P384_ORDER >> 1:
            raise InvalidSignature


def p384_point(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The public key as its uncompressed point, 97 bytes."""
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def p384_public(raw: bytes) -> ec.EllipticCurvePublicKey:
    """A public key from its uncompressed point. Raises `ValueError`."""
    if len(raw) != P384_POINT_BYTES:
        raise ValueError
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP384R1(), raw)


def p384_scalar(entropy: bytes) -> bytes:
    """A private key of 48 bytes from 56 random ones."""
    scalar = int.from_bytes(entropy, "big") % (_P384_ORDER - 1) + 1
    return scalar.to_bytes(_P384_SCALAR_BYTES, "big")


__all__ = [
    "P384_ENTROPY_BYTES",
    "P384_POINT_BYTES",
    "Ed25519Signer",
    "P384Signer",
    "P384Verifier",
    "Signer",
    "Verifier",
    "p384_point",
    "p384_public",
    "p384_scalar",
]
