"""HMAC-SHA256 with its key prepared: what is hashed under one key for every message."""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from typing import Final

_BLOCK_BYTES: Final = 64
_INNER: Final = bytes(byte ^ 0x36 for byte in range(256))
_OUTER: Final = bytes(byte ^ 0x5C for byte in range(256))


class KeyedHash:
    """HMAC-SHA256 under one key (RFC 2104): the bytes of `hmac`, without hashing the key again for each of them."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        block = (sha256(key).digest() if len(key) > _BLOCK_BYTES else key).ljust(
            _BLOCK_BYTES, b"\0"
        )
        self._inner = sha256(block.translate(_INNER))
        self._outer = sha256(block.translate(_OUTER))

    def digest(self, *parts: bytes) -> bytes:
        """32 bytes: the HMAC of the parts, one behind the other."""
        inner = self._inner.copy()
        for part in parts:
            inner.update(part)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.digest()


@lru_cache(maxsize=16)
def keyed_hash(key: bytes) -> KeyedHash:
    """The prepared hash of a key. A process has one key for each site; the keys used last are kept prepared."""
    return KeyedHash(key)


__all__ = ["KeyedHash", "keyed_hash"]
