"""Whole files or none: what is written here survives a crash, replaces nothing, and is never seen half."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from schemas.errors import MeshError, Unavailable

_NO_LINKS: Final = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_PIECE_BYTES: Final = 1 << 20


class NameTaken(MeshError, FileExistsError):
    """Another file with other content has the name. It is left as it is."""

    code: ClassVar[str] = "name_taken"


class TooLarge(MeshError, ValueError):
    """The file is larger than the limit."""

    code: ClassVar[str] = "file_too_large"


class Changing(MeshError):
    """The file changed while it was read: it is not whole yet."""

    code: ClassVar[str] = "file_changing"
    retryable: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What tells whether a file is still the same."""

    inode: int
    size: int
    modified_ns: int

    @staticmethod
    def of(status: os.stat_result) -> Snapshot:
        """Take it from a `stat`."""
        return Snapshot(status.st_ino, status.st_size, status.st_mtime_ns)


def write_whole(path: Path, content: bytes) -> bool:
    """Write a file durably under a name that is free; False when it is there already with this content.

    Raises `NameTaken`, and `Unavailable` when the disk is full or the folder is gone.
    """
    try:
        if _holds(path, content):
            return False
        temporary = path.parent / f".{path.name}.part"
        _write_new(temporary, content)
        try:
            _publish(temporary, path)
        except FileExistsError:
            if _holds(path, content):
                return False
            raise
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)
    except FileExistsError:
        raise NameTaken(f"{path} exists with other content and is not overwritten") from None
    except OSError as error:
        raise Unavailable(f"cannot write to {path.parent}: {error.strerror}") from error
    return True


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, durably. Raises `Unavailable`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sync_folder(folder.parent)
    except OSError as error:
        raise Unavailable(f"cannot make folder {folder}: {error.strerror}") from error


def move_into(path: Path, folder: Path) -> Path:
    """Move a file into a folder of the same file system under a free name, durably; where it went."""
    target = folder / path.name
    number = 1
    while True:
        try:
            _publish(path, target)
            break
        except FileExistsError:
            if target.samefile(
                path
            ):  # a crash came between the new name and the end of the old one
                break
            target = folder / f"{path.name}.{number}"
            number += 1
    path.unlink(missing_ok=True)
    sync_folder(folder)
    sync_folder(path.parent)
    return target


def read_whole(path: Path, *, max_bytes: int) -> bytes:
    """Read a regular file that does not change meanwhile. Raises `TooLarge`, `Changing`, `OSError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:  # noqa: PTH123 (a path would be opened a second time: this is the file checked)
        before = os.fstat(descriptor)
        if before.st_size > max_bytes:
            raise TooLarge(
                f"{before.st_size} bytes; at most {max_bytes} are allowed (max_file_bytes)"
            )
        content = file.read(max_bytes + 1)
        if (
            Snapshot.of(os.fstat(descriptor)) != Snapshot.of(before)
            or len(content) != before.st_size
        ):
            raise Changing(f"{len(content)} bytes read of {before.st_size}")
        return content


def is_open_for_writing(path: Path) -> bool:
    """Whether some process still writes the file, as far as the kernel tells: a read lease is refused then (Linux).

    False where the file system or the file's owner does not allow the question.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        # a writer that comes in this very moment makes the kernel send a signal; SIGIO would end the process
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    else:
        return False
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Make names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _holds(path: Path, content: bytes) -> bool:
    """Whether the file is there with exactly this content. Raises `FileExistsError` when it is there with another."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return False
    if status.st_size == len(content) and path.read_bytes() == content:
        return True
    raise FileExistsError(errno.EEXIST, "exists with other content", str(path))


def _write_new(path: Path, content: bytes) -> None:
    with contextlib.suppress(FileNotFoundError):
        path.unlink()  # left by a crash: nobody else writes this name
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o640)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view[:_PIECE_BYTES]) :]
        os.fsync(descriptor)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def _publish(temporary: Path, path: Path) -> None:
    """Give a file its name, never taking one that is in use (a rename would overwrite). Raises `FileExistsError`."""
    try:
        os.link(temporary, path, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if (
            path.exists()
        ):  # a file system without hard links: the check and the rename are two steps there
            raise FileExistsError(errno.EEXIST, "exists", str(path)) from error
        temporary.rename(path)


__all__ = [
    "Changing",
    "NameTaken",
    "Snapshot",
    "TooLarge",
    "is_open_for_writing",
    "make_folder",
    "move_into",
    "read_whole",
    "sync_folder",
    "write_whole",
]
