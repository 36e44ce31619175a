"""Key encapsulation of the suites: hybrids that hold while either half does.

Sources: draft-connolly-cfrg-xwing-kem (X-Wing), draft-ietf-hpke-pq (MLKEM1024-P384).
"""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.asymmetric import ec, mlkem, x25519
from cryptography.hazmat.primitives.hpke import (
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    MLKEM1024P384PrivateKey,
    MLKEM1024P384PublicKey,
)

from bus.envelope.signatures import p384_point, p384_public

KemPrivate = MLKEM768X25519PrivateKey | MLKEM1024P384PrivateKey
KemPublic = MLKEM768X25519PublicKey | MLKEM1024P384PublicKey


def xwing_private(seed: bytes) -> tuple[KemPrivate, bytes]:
    """X-Wing key pair from its 32-byte seed: (private key, public key of 1216 bytes)."""
    expanded = hashlib.shake_256(seed).digest(96)
    lattice = mlkem.MLKEM768PrivateKey.from_seed_bytes(expanded[:64])
    curve = x25519.X25519PrivateKey.from_private_bytes(expanded[64:])
    public = lattice.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()
    return MLKEM768X25519PrivateKey(lattice, curve), public


def xwing_public(raw: bytes) -> KemPublic:
    """X-Wing public key: ML-KEM-768 || X25519. Raises `ValueError`."""
    return MLKEM768X25519PublicKey(
        mlkem.MLKEM768PublicKey.from_public_bytes(raw[:1184]),
        x25519.X25519PublicKey.from_public_bytes(raw[1184:]),
    )


def mlkem1024_p384_private(seed: bytes) -> tuple[KemPrivate, bytes]:
    """MLKEM1024-P384 key pair from its 32-byte seed: (private key, public key of 1665 bytes)."""
    expanded = hashlib.shake_256(seed).digest(112)
    lattice = mlkem.MLKEM1024PrivateKey.from_seed_bytes(expanded[:64])
    # the draft takes the next candidate when the scalar is out of range: 1 in 2**190 seeds, refused by the library
    curve = ec.derive_private_key(int.from_bytes(expanded[64:], "big"), ec.SECP384R1())
    public = lattice.public_key().public_bytes_raw() + p384_point(curve)
    return MLKEM1024P384PrivateKey(lattice, curve), public


def mlkem1024_p384_public(raw: bytes) -> KemPublic:
    """MLKEM1024-P384 public key: ML-KEM-1024 || uncompressed point. Raises `ValueError`."""
    return MLKEM1024P384PublicKey(
        mlkem.MLKEM1024PublicKey.from_public_bytes(raw[:1568]), p384_public(raw[1568:])
    )


__all__ = [
    "KemPrivate",
    "KemPublic",
    "mlkem1024_p384_private",
    "mlkem1024_p384_public",
    "xwing_private",
    "xwing_public",
]
