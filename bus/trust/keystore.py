"""Private keys on disk: mode 0600 in a 0700 folder, each file whole and durable, optionally under a passphrase.

With a passphrase every file is AES-256-GCM under a key from scrypt (RFC 7914); the file's name is bound to its content,
so two files cannot be swapped. Without one, whoever reads the disk reads the keys: use it where the disk is encrypted.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from bus.trust.errors import KeyMissing, KeystoreDamaged, PassphraseWrong
from bus.trust.files import destroy, locked, private_folder, read_private, write_atomic

Passphrase = Callable[[], str]
"""Asks for the passphrase; an empty one means that the keystore has none."""

SCRYPT_N: Final = 1 << 17
"""Cost of one guess at a new keystore's passphrase: 128 MiB and about 0.4 s."""
_SCRYPT_N_ALLOWED: Final = range(1 << 10, (1 << 20) + 1)
_SCRYPT_R: Final = 8
_SALT_BYTES: Final = 16
_NONCE_BYTES: Final = 12
_HEADER: Final = "keystore"
_LOCK: Final = ".lock"
_PLAIN: Final = b"MMK0"
_SEALED: Final = b"MMK1"
_PROOF: Final = b"medmesh keystore"
_NAME: Final = re.compile(
    r"[a-z0-9][a-z0-9_-]*(\.[a-z0-9_-]+)*(/[a-z0-9][a-z0-9_-]*(\.[a-z0-9_-]+)*)*\Z"
)


def passphrase_from_environment() -> str:
    """What `MEDMESH_PASSPHRASE` holds; empty when it is not set."""
    return os.environ.get("MEDMESH_PASSPHRASE", "")


class Keystore:
    """Named secrets below one folder. Made by `open`; safe for several processes at once."""

    def __init__(self, folder: Path, cipher: AESGCM | None) -> None:
        self.folder = folder
        self._cipher = cipher

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        passphrase: Passphrase = passphrase_from_environment,
        scrypt_n: int = SCRYPT_N,
    ) -> Keystore:
        """Open the keystore, making it when the folder has none. Takes about 0.4 s under a passphrase.

        Raises `KeystoreUnsafe`, `PassphraseWrong`, `KeystoreDamaged`, `TrustStorageError`.
        """
        private_folder(folder)
        with locked(folder / _LOCK):
            try:
                header = read_private(folder / _HEADER)
            except FileNotFoundError:
                return cls._create(folder, passphrase(), scrypt_n)
        return cls._load(folder, header, passphrase())

    @classmethod
    def _create(cls, folder: Path, passphrase: str, scrypt_n: int) -> Keystore:
        if not passphrase:
            write_atomic(folder / _HEADER, json.dumps({"format": 1}).encode())
            return cls(folder, None)
        salt = secrets.token_bytes(_SALT_BYTES)
        store = cls(folder, AESGCM(_stretch(passphrase, salt, scrypt_n)))
        header = {
            "format": 1,
            "scrypt_n": scrypt_n,
            "salt": salt.hex(),
            "proof": store._seal(_HEADER, _PROOF).hex(),
        }
        write_atomic(folder / _HEADER, json.dumps(header).encode())
        return store

    @classmethod
    def _load(cls, folder: Path, raw: bytes, passphrase: str) -> Keystore:
        scrypt_n, salt, proof = _parse_header(folder, raw)
        if scrypt_n == 0:
            if passphrase:
                raise PassphraseWrong(
                    f"the keystore {folder} was made without a passphrase: unset MEDMESH_PASSPHRASE"
                )
            return cls(folder, None)
        if not passphrase:
            raise PassphraseWrong(
                f"the keystore {folder} is under a passphrase: set MEDMESH_PASSPHRASE"
            )
        store = cls(folder, AESGCM(_stretch(passphrase, salt, scrypt_n)))
        try:
            store._unseal(_HEADER, proof)
        except KeystoreDamaged:
            raise PassphraseWrong(
                f"the passphrase does not open the keystore {folder}: check MEDMESH_PASSPHRASE"
            ) from None
        return store

    def read(self, name: str) -> bytes:
        """Read a secret. Raises `KeyMissing`, `KeystoreUnsafe`, `KeystoreDamaged`, `TrustStorageError`."""
        path = self._path(name)
        try:
            return self._unseal(name, read_private(path))
        except FileNotFoundError:
            raise KeyMissing(f"the keystore {self.folder} has no key {name}") from None

    def write(self, name: str, secret: bytes) -> None:
        """Write a secret, replacing the one of this name; on disk when this returns. Raises `TrustStorageError`."""
        path = self._path(name)
        self._make_folders(path.parent)
        write_atomic(path, self._seal(name, secret))

    def read_or_create(self, name: str, create: Callable[[], bytes]) -> bytes:
        """Read a secret, or make it when it is missing: the same one for every process that asks."""
        with self.lock():
            try:
                return self.read(name)
            except KeyMissing:
                secret = create()
                self.write(name, secret)
                return secret

    def names(self, folder: str) -> list[str]:
        """Names of the secrets directly below a folder of the keystore, sorted."""
        return sorted(f"{folder}/{path.name}" for path in self._entries(folder) if path.is_file())

    def folders(self, folder: str) -> list[str]:
        """Names of the folders directly below a folder of the keystore, sorted."""
        return sorted(path.name for path in self._entries(folder) if path.is_dir())

    def destroy(self, name: str) -> None:
        """Overwrite and remove a secret; one that is gone already is fine. See `bus.trust.files.destroy`."""
        destroy(self._path(name))

    def lock(self, name: str = "") -> AbstractContextManager[None]:
        """Hold the keystore, or one folder of it, among all processes of this machine."""
        folder = self._path(name) if name else self.folder
        self._make_folders(folder)
        return locked(folder / _LOCK)

    def _entries(self, folder: str) -> Iterator[Path]:
        path = self._path(folder)
        if path.is_dir():
            yield from (entry for entry in path.iterdir() if not entry.name.startswith("."))

    def _make_folders(self, folder: Path) -> None:
        path = self.folder
        for part in folder.relative_to(self.folder).parts:
            path = private_folder(path / part)

    def _path(self, name: str) -> Path:
        if not _NAME.match(name):
            raise ValueError(f"{name!r} cannot name a key")
        return self.folder / name

    def _seal(self, name: str, secret: bytes) -> bytes:
        if self._cipher is None:
            return _PLAIN + secret
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _SEALED + nonce + self._cipher.encrypt(nonce, secret, _SEALED + name.encode())

    def _unseal(self, name: str, raw: bytes) -> bytes:
        kind, rest = raw[:4], raw[4:]
        if self._cipher is None and kind == _PLAIN:
            return rest
        if self._cipher is not None and kind == _SEALED and len(rest) > _NONCE_BYTES:
            try:
                return self._cipher.decrypt(
                    rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], _SEALED + name.encode()
                )
            except InvalidTag:
                pass
        raise KeystoreDamaged(
            f"{self.folder / name} is not what medmesh wrote: restore it from a backup"
        )


def _parse_header(folder: Path, raw: bytes) -> tuple[int, bytes, bytes]:
    try:
        header = json.loads(raw)
        if header["format"] == 1 and "salt" not in header:
            return 0, b"", b""
        scrypt_n = header["scrypt_n"]
        if header["format"] == 1 and isinstance(scrypt_n, int) and scrypt_n in _SCRYPT_N_ALLOWED:
            return scrypt_n, bytes.fromhex(header["salt"]), bytes.fromhex(header["proof"])
    except (ValueError, KeyError, TypeError):
        pass
    raise KeystoreDamaged(f"{folder / _HEADER} is not what medmesh wrote: restore it from a backup")


def _stretch(passphrase: str, salt: bytes, scrypt_n: int) -> bytes:
    if scrypt_n not in _SCRYPT_N_ALLOWED or scrypt_n & (scrypt_n - 1):
        raise KeystoreDamaged(f"scrypt_n {scrypt_n} is no power of two from 2**10 to 2**20")
    return Scrypt(salt=salt, length=32, n=scrypt_n, r=_SCRYPT_R, p=1).derive(passphrase.encode())


__all__ = ["SCRYPT_N", "Keystore", "Passphrase", "passphrase_from_environment"]
