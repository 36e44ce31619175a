"""Private files: mode 0600 in 0700 folders, whole or absent, durable when written, one writer at a time."""

from __future__ import annotations

import fcntl
import os
import secrets
import shlex
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from bus.trust.errors import KeystoreUnsafe, TrustStorageError
from schemas.errors import MeshError, Unavailable

_OTHERS: Final = 0o077
_LOCK_STEP_S: Final = 0.005
_LOCK_STEPS: Final = 4000  # 20 s: holders sign and sync a few files, milliseconds each


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, MeshError):
        raise
    except OSError as error:
        raise TrustStorageError(f"{path}: {error.strerror or error}") from error


def private_folder(path: Path) -> Path:
    """Make a folder that only its owner may enter, or check that it is one.

    Raises `KeystoreUnsafe` with the command that repairs it, `TrustStorageError`.
    """
    with _translated(path):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.stat()
    _check(path, found, repair="700", what="only its owner may enter it")
    return path


def _check(path: Path, found: os.stat_result, *, repair: str, what: str) -> None:
    if found.st_uid != os.geteuid():
        raise KeystoreUnsafe(
            f"{path} belongs to user {found.st_uid}, and medmesh runs as {os.geteuid()}: "
            f"run medmesh as its owner, or: chown -R {os.geteuid()} {shlex.quote(str(path))}"
        )
    if found.st_mode & _OTHERS:
        mode = stat.S_IMODE(found.st_mode)
        raise KeystoreUnsafe(
            f"{path} has mode {mode:04o}, and {what}: run: chmod {repair} {shlex.quote(str(path))}"
        )


def read_private(path: Path, *, max_bytes: int = 1 << 20) -> bytes:
    """Read a file that only its owner may read; symbolic links are not followed.

    Raises `FileNotFoundError`, `KeystoreUnsafe` with the command that repairs it, `TrustStorageError`.
    """
    with _translated(path):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            _check(path, os.fstat(file.fileno()), repair="600", what="it holds secrets")
            content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise TrustStorageError(f"{path} has more than {max_bytes} bytes")
    return content


def write_atomic(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write a file of mode 0600 so that readers see the old content or the new, never a part.

    With `durable` it is on the disk when this returns. Raises `TrustStorageError`.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")
    with _translated(path):
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
                file.write(content)
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        if durable:
            sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make names that were added to or removed from a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def destroy(path: Path) -> None:
    """Overwrite a file, then remove it; one that is gone already is fine. Raises `TrustStorageError`.

    Disks that write elsewhere (flash, copy-on-write) may keep the old blocks: there only a passphrase, or an
    encrypted disk, makes the end of a key final.
    """
    with _translated(path), suppress(FileNotFoundError):
        with path.open("r+b") as file:
            file.write(secrets.token_bytes(path.stat().st_size))
            file.flush()
            os.fsync(file.fileno())
        path.unlink()
        sync_folder(path.parent)


class FileLock:
    """An advisory lock on a file, held until `release` or the end of the process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def try_acquire(self) -> bool:
        """Take the lock if nobody has it, in this process or in another. Raises `TrustStorageError`."""
        with _translated(self._path):
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                return False
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Give it back; giving it back twice is fine."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of `path` among all processes of this machine. Blocks for at most 20 s, then `Unavailable`."""
    lock = FileLock(path)
    for _ in range(_LOCK_STEPS):
        if lock.try_acquire():
            break
        time.sleep(_LOCK_STEP_S)
    else:
        raise Unavailable(
            f"another process has held {path} for {_LOCK_STEPS * _LOCK_STEP_S:.0f} s: is one hanging?"
        )
    try:
        yield
    finally:
        lock.release()


__all__ = [
    "FileLock",
    "destroy",
    "locked",
    "private_folder",
    "read_private",
    "sync_folder",
    "write_atomic",
]
