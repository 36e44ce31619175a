"""What this machine has verified, on its disk: so that it verifies offline, and so that nobody can turn the time back.

Everything is verified again when it is loaded; the files are public, but lie in a private folder.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from bus.envelope.types import CertificateId, EpochId
from bus.trust.files import locked, private_folder, read_private, write_atomic
from bus.trust.objects import MAX_HEAD_BYTES

_VERSION_BYTES: Final = 8
MAX_PACKAGES: Final = 20_000
"""Key packages kept on disk; about 2 KB each. The oldest go first: the carrier still has them."""


class DiskCache:
    """Certificates, the newest head and key packages below one folder; several processes may share it.

    Every method blocks for a file or two: call them in a thread. Raises `TrustStorageError`, `KeystoreUnsafe`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def certificates(self) -> Iterator[bytes]:
        """Every certificate kept, as it was signed."""
        for path in _files(self._private("certificates")):
            yield from _read(path)

    def store_certificate(self, certificate: CertificateId, raw: bytes) -> None:
        """Keep a certificate that a fresh head has vouched for."""
        path = self._private("certificates") / certificate.hex()
        if not path.exists():
            write_atomic(path, raw, durable=False)

    def drop_certificates(self, certificates: Iterable[CertificateId]) -> None:
        """Forget certificates."""
        folder = self._private("certificates")
        for certificate in certificates:
            (folder / certificate.hex()).unlink(missing_ok=True)

    def head(self) -> tuple[int, bytes]:
        """The newest version ever accepted on this machine, and that head; (0, b"") in the beginning."""
        for content in _read(self._private("") / "head", max_bytes=MAX_HEAD_BYTES + _VERSION_BYTES):
            return int.from_bytes(content[:_VERSION_BYTES], "big"), content[_VERSION_BYTES:]
        return 0, b""

    def store_head(self, version: int, raw: bytes) -> None:
        """Keep a head, unless another process has kept a newer one; on disk when this returns."""
        folder = self._private("")
        with locked(folder / ".head.lock"):
            if version > self.head()[0]:
                write_atomic(folder / "head", version.to_bytes(_VERSION_BYTES, "big") + raw)

    def package(self, epoch: EpochId) -> bytes | None:
        """A key package, as it was signed."""
        return next(iter(_read(self._private("packages") / epoch.hex())), None)

    def store_package(self, epoch: EpochId, raw: bytes) -> None:
        """Keep a key package."""
        write_atomic(self._private("packages") / epoch.hex(), raw, durable=False)

    def trim_packages(self, keep: int = MAX_PACKAGES) -> int:
        """Forget the oldest key packages beyond `keep`; returns how many went."""
        paths = list(_files(self._private("packages")))
        if len(paths) <= keep:
            return 0
        paths.sort(key=lambda path: path.stat().st_mtime_ns)
        for path in paths[: len(paths) - keep]:
            path.unlink(missing_ok=True)
        return len(paths) - keep

    def _private(self, name: str) -> Path:
        folder = private_folder(self._folder)
        return private_folder(folder / name) if name else folder


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if not path.name.startswith("."))


def _read(path: Path, *, max_bytes: int = 1 << 20) -> Iterator[bytes]:
    try:
        yield read_private(path, max_bytes=max_bytes)
    except FileNotFoundError:
        return


__all__ = ["MAX_PACKAGES", "DiskCache"]
