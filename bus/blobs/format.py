"""The bytes of a blob at rest: a header, frames of AES-256-GCM, and a seal. Pure.

Each blob has a key of its own, derived from the store's key and a salt (HKDF, RFC 5869), so frames are numbered from 0.
The number is in a frame's nonce and the header is authenticated with it; the seal at the end is an empty frame that
binds how many frames there are and the blob's id. So nothing can be cut off, swapped or put in the place of another.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from bus.blobs.protocol import BlobDamaged, BlobId

MAGIC: Final = b"MMBLOB\x00\x01"
FRAME_BYTES: Final = 1 << 20
"""Content of every frame but the last."""
TAG_BYTES: Final = 16
SALT_BYTES: Final = 32
_KEY_ID_BYTES: Final = 8
_HEADER: Final = struct.Struct(f">8sI{_KEY_ID_BYTES}s{SALT_BYTES}s")
HEADER_BYTES: Final = _HEADER.size
_NONCE: Final = struct.Struct(">3xQ?")
_MAX_FRAME_BYTES: Final = 1 << 26


class StoreKey:
    """The secret of a store, and what is derived from it."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self.id = hmac.digest(secret, b"medmesh blob key id", hashlib.sha256)[:_KEY_ID_BYTES]
        """Tells keys apart; says nothing of the key."""
        self._names = hmac.digest(secret, b"medmesh blob names", hashlib.sha256)

    def name(self, blob: BlobId) -> str:
        """Where a blob stands: a keyed hash, so that a stolen disk does not tell whether it holds a known image."""
        return hmac.digest(self._names, blob.encode(), hashlib.sha256).hex()

    def cipher(self, salt: bytes) -> AESGCM:
        """The cipher of one blob."""
        derived = HKDF(algorithm=SHA256(), length=32, salt=salt, info=b"medmesh blob v1")
        return AESGCM(derived.derive(self._secret))


@dataclass(frozen=True, slots=True)
class Header:
    """The first bytes of a blob at rest."""

    frame_bytes: int
    key_id: bytes
    salt: bytes

    def write(self) -> bytes:
        """Its bytes."""
        return _HEADER.pack(MAGIC, self.frame_bytes, self.key_id, self.salt)

    @classmethod
    def read(cls, raw: bytes) -> Header:
        """From its bytes. Raises `BlobDamaged`."""
        if len(raw) != HEADER_BYTES:
            raise BlobDamaged(
                f"a blob of {len(raw)} bytes at rest; its header alone has {HEADER_BYTES}"
            )
        magic, frame_bytes, key_id, salt = _HEADER.unpack(raw)
        if magic != MAGIC or not 0 < frame_bytes <= _MAX_FRAME_BYTES:
            raise BlobDamaged("bytes at rest that are no blob of this version")
        return cls(frame_bytes, key_id, salt)


class Frames:
    """Seals and opens the frames of one blob."""

    def __init__(self, key: StoreKey, header: Header) -> None:
        if header.key_id != key.id:
            raise BlobDamaged(
                f"a blob under key {header.key_id.hex()}; the store has key {key.id.hex()}"
            )
        self.frame_bytes = header.frame_bytes
        self._cipher = key.cipher(header.salt)
        self._bound = header.write()

    def seal(self, number: int, content: bytes | bytearray) -> bytes:
        """A frame at rest."""
        return self._cipher.encrypt(_NONCE.pack(number, False), content, self._bound)

    def open(self, number: int, sealed: bytes) -> bytes:
        """The content of a frame. Raises `BlobDamaged`."""
        try:
            return self._cipher.decrypt(_NONCE.pack(number, False), sealed, self._bound)
        except InvalidTag:
            raise BlobDamaged(f"frame {number} is not what was written") from None

    def seal_end(self, frames: int, blob: BlobId) -> bytes:
        """The seal behind so many frames."""
        return self._cipher.encrypt(_NONCE.pack(frames, True), b"", self._bound + blob.encode())

    def check_end(self, frames: int, blob: BlobId, seal: bytes) -> None:
        """That the seal is that of this blob with so many frames. Raises `BlobDamaged`."""
        try:
            self._cipher.decrypt(_NONCE.pack(frames, True), seal, self._bound + blob.encode())
        except InvalidTag:
            raise BlobDamaged("the seal is that of another blob, or frames are missing") from None


@dataclass(frozen=True, slots=True)
class Layout:
    """Where frames stand, from the size at rest."""

    frames: int
    size: int
    """Of the content."""

    @classmethod
    def of(cls, at_rest: int, frame_bytes: int) -> Layout:
        """From the bytes at rest, header and seal included. Raises `BlobDamaged`."""
        whole = frame_bytes + TAG_BYTES
        body = at_rest - HEADER_BYTES - TAG_BYTES
        frames = -(-body // whole)
        if body < 0 or (frames and body - (frames - 1) * whole <= TAG_BYTES):
            raise BlobDamaged(f"a blob of {at_rest} bytes at rest ends inside a frame")
        return cls(frames, body - frames * TAG_BYTES)

    @staticmethod
    def at(number: int, frame_bytes: int) -> int:
        """Where a frame begins."""
        return HEADER_BYTES + number * (frame_bytes + TAG_BYTES)


__all__ = [
    "FRAME_BYTES",
    "HEADER_BYTES",
    "SALT_BYTES",
    "TAG_BYTES",
    "Frames",
    "Header",
    "Layout",
    "StoreKey",
]
