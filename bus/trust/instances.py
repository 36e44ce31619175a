"""The keys of one running instance: a place in the keystore that no other process holds at the same time.

A restart takes up a free place again, so a restarted instance keeps its name and its certificates replace each other;
two processes with the same service get two places.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Final

from bus.envelope.suites import KemKey, SigningKey
from bus.trust.files import FileLock, private_folder, read_private, write_atomic
from bus.trust.keystore import Keystore
from schemas.errors import ResourceExhausted

_MAX_PLACES: Final = 256
_INSTANCE_BYTES: Final = 8
_SEALS_KEPT: Final = 2  # the newest, and the one that shares under way may still name


def instances_folder(service: str) -> str:
    """Where the instances of a service (its token) lie in the keystore."""
    return f"services/{service}/instances"


class InstanceKeys:
    """Signing and sealing keys of one instance, held until `release`. Made by `claim`."""

    def __init__(self, store: Keystore, folder: str, lock: FileLock, suite: int) -> None:
        self._store = store
        self._folder = folder
        self._lock = lock
        self._suite = suite
        self.instance = folder.rpartition("/")[2]
        """16 hexadecimal digits."""
        raw = store.read_or_create(f"{folder}/sign", lambda: SigningKey.generate(suite).to_bytes())
        self.sign = SigningKey.from_bytes(suite, raw)
        self.seals = [KemKey.from_seed(suite, store.read(name)) for name in self._seal_names()]
        if not self.seals:
            self.renew_seal()

    @property
    def seal(self) -> KemKey:
        """The newest sealing key: the one to be certified."""
        return self.seals[-1]

    def renew_seal(self) -> None:
        """Make a new sealing key and destroy those before the last one.

        Whoever copies sealed service keys from the carrier and steals this disk later gets none that went before.
        """
        names = self._seal_names()
        number = 1 + max((int(name.rpartition(".")[2]) for name in names), default=0)
        key = KemKey.generate(self._suite)
        self._store.write(f"{self._folder}/seal.{number:08d}", key.seed)
        self.seals = [*self.seals, key][-_SEALS_KEPT:]
        for name in self._seal_names()[:-_SEALS_KEPT]:
            self._store.destroy(name)

    def release(self) -> None:
        """Let another process take this place."""
        self._lock.release()

    def _seal_names(self) -> list[str]:
        return [
            name
            for name in self._store.names(self._folder)
            if name.rpartition("/")[2][:5] == "seal."
        ]


def claim(store: Keystore, service: str, suite: int) -> InstanceKeys:
    """Take a free place of the service (its token), or make a new one. Raises `ResourceExhausted` at 256 places."""
    folder = instances_folder(service)
    with store.lock(folder):
        held = store.folders(folder)
        if len(held) >= _MAX_PLACES:
            raise ResourceExhausted(f"{store.folder / folder} has {len(held)} instances")
        for instance in (*held, secrets.token_hex(_INSTANCE_BYTES)):
            path = private_folder(store.folder / folder / instance)
            lock = FileLock(path / ".held")
            if _suite_of(path, suite) == suite and lock.try_acquire():
                return InstanceKeys(store, f"{folder}/{instance}", lock, suite)
    raise ResourceExhausted(f"{store.folder / folder} has no free place")


def _suite_of(path: Path, suite: int) -> int:
    """The suite of a place; a new one is marked with `suite`."""
    mark = path / ".suite"
    try:
        text = read_private(mark).decode()
    except FileNotFoundError:
        text = str(suite)
        write_atomic(mark, text.encode())
    return int(text) if text.isdigit() else 0


__all__ = ["InstanceKeys", "claim", "instances_folder"]
