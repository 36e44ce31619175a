"""What a machine knew last of the registry, on its own disk: for starts without it, and against roll-back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from bus.trust.files import private_folder, read_private, write_atomic
from schemas.errors import MeshError
from schemas.registry.closures import Closure, from_stored

_NAME_DIGITS = 32


class RegistryCache:
    """Signed bindings and closures, as they came; whoever reads them verifies them again. Methods block."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def bindings(self) -> Iterator[bytes]:
        """Every stored record."""
        for path in sorted(self._folder.glob("*.binding")):
            with suppress(MeshError, OSError):
                yield read_private(path)

    def keep_binding(self, key: str, raw: bytes) -> None:
        """Keep a record, in place of the one before. Raises `TrustStorageError`."""
        private_folder(self._folder)
        name = hashlib.sha256(key.encode()).hexdigest()[:_NAME_DIGITS]
        write_atomic(self._folder / f"{name}.binding", raw, durable=False)

    def closure(self, schema: str) -> Closure | None:
        """A stored closure, if it is there and is what its hash names."""
        try:
            return from_stored(read_private(self._folder / f"{schema}.schema"), schema)
        except (OSError, MeshError):
            return None

    def keep_closure(self, closure: Closure) -> None:
        """Keep a closure. Raises `TrustStorageError`."""
        private_folder(self._folder)
        write_atomic(self._folder / f"{closure.schema}.schema", closure.stored(), durable=False)


__all__ = ["RegistryCache"]
