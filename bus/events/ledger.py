"""What a consumer has finished, kept in a small file so that a death of anybody makes nobody see a message twice.

The server remembers a consumer's place lazily, so after its death it may give again what was acknowledged long ago; and
an acknowledgement on its way is lost with us. The ledger knows better: it holds a floor (everything up to it is
finished) and the finished sequences above it. Records are appended with one `os.write` each and no fsync: a killed
process loses none of them, and a power cut costs duplicates at worst, never a message.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import zlib
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import Final

from schemas.errors import ConfigurationError

_HEAD: Final = struct.Struct(">BQI")
_CRC: Final = struct.Struct(">I")
_MAX_PAYLOAD: Final = 64 * 1024 * 1024
_COMPACT_BYTES: Final = 1024 * 1024
_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC


class _Kind(IntEnum):
    IDENTITY = 1
    WINDOW = 2
    FLOOR = 3
    DONE = 4


class Ledger:
    """Finished sequences of one consumer in one stream, and the replay window that goes with them.

    `identity` names the stream; a file of another stream, or one that cannot be read, is started afresh (`reset` says
    so): then the server's own memory of the place counts.
    """

    def __init__(self, path: Path | None, identity: bytes) -> None:
        self._path = path
        self._identity = identity
        self._file = -1
        self._size = 0
        self.floor = 0
        self.done: set[int] = set()
        self.window = b""
        """The replay window as it was at the last compaction."""
        self.marks: list[bytes] = []
        """What was marked in the replay window since then."""
        self.reset = False

    def open(self) -> None:
        """Read the file and lock it. Raises `ConfigurationError` while another reader has it.

        Without a path everything is kept in memory, for as long as this object lives.
        """
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self._path, _FLAGS, 0o600)
        if not self._lock(self._path):
            self.close()
            raise ConfigurationError(
                f"consumer {self._path.stem}: another running reader holds its ledger; one at a time"
            )
        raw = self._path.read_bytes()
        good = self._load(raw)
        if good == 0:
            self.reset = bool(raw)
            self._restart()
            return
        os.ftruncate(self._file, good)
        self._size = good

    def _lock(self, path: Path) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        # the file may have been replaced by a compaction between our open and our lock
        return os.fstat(self._file).st_ino == path.stat().st_ino

    def is_finished(self, seq: int) -> bool:
        """Whether this sequence was finished, now or by an earlier run."""
        return seq <= self.floor or seq in self.done

    def finish(self, seq: int, mark: bytes) -> None:
        """Remember that `seq` is finished, with what its message left in the replay window."""
        self.done.add(seq)
        if mark:
            self.marks.append(mark)
        self._append(_Kind.DONE, seq, mark)

    def raise_floor(self, floor: int) -> None:
        """Everything up to `floor` is finished and acknowledged: single sequences below need no memory."""
        if floor <= self.floor:
            return
        self.floor = floor
        self.done = {seq for seq in self.done if seq > floor}
        self._append(_Kind.FLOOR, floor, b"")

    @property
    def wants_compaction(self) -> bool:
        """Whether the file has grown enough to be written anew."""
        return self._size > _COMPACT_BYTES

    def compact(self, window: bytes) -> None:
        """Write the file anew: floor, sequences above it, and the replay window as it is now."""
        if self._path is None:
            return
        self.window, self.marks = window, []
        image = b"".join(self._image())
        fresh = self._path.with_suffix(".ledger.new")
        file = os.open(fresh, _FLAGS | os.O_TRUNC, 0o600)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _write_all(file, image)
        fresh.replace(self._path)
        os.close(self._file)
        self._file, self._size = file, len(image)

    def close(self) -> None:
        """Let the file go; what was appended is there."""
        if self._file >= 0:
            file, self._file = self._file, -1
            os.close(file)

    def _image(self) -> Iterator[bytes]:
        yield _record(_Kind.IDENTITY, 1, self._identity)
        if self.window:
            yield _record(_Kind.WINDOW, 0, self.window)
        yield _record(_Kind.FLOOR, self.floor, b"")
        for seq in sorted(self.done):
            yield _record(_Kind.DONE, seq, b"")

    def _append(self, kind: _Kind, seq: int, payload: bytes) -> None:
        if self._path is None:
            return
        record = _record(kind, seq, payload)
        try:
            _write_all(self._file, record)
        except OSError:
            os.ftruncate(self._file, self._size)  # half a record would hide those after it
            raise
        self._size += len(record)

    def _restart(self) -> None:
        self.floor, self.window, self.done, self.marks = 0, b"", set(), []
        if self._path is not None:
            os.ftruncate(self._file, 0)
        self._size = 0
        self._append(_Kind.IDENTITY, 1, self._identity)

    @property
    def identity(self) -> bytes:
        """Of which stream the sequences are."""
        return self._identity

    def forget(self, identity: bytes) -> None:
        """Begin anew with the stream of that identity: what was remembered belongs to one that is gone."""
        self.reset, self._identity = True, identity
        self._restart()

    def _load(self, raw: bytes) -> int:
        """Take in the records up to the first damaged one; return how many bytes were good, 0 for a foreign file."""
        at, first = 0, True
        for kind, seq, payload, end in _records(raw):
            if first and (kind != _Kind.IDENTITY or payload != self._identity):
                return 0
            first = False
            with contextlib.suppress(ValueError):  # a kind of a newer version says nothing to us
                self._take(_Kind(kind), seq, payload)
            at = end
        self.done = {seq for seq in self.done if seq > self.floor}
        return at

    def _take(self, kind: _Kind, seq: int, payload: bytes) -> None:
        match kind:
            case _Kind.IDENTITY:
                pass
            case _Kind.WINDOW:
                self.window = payload
            case _Kind.FLOOR:
                self.floor = max(self.floor, seq)
            case _Kind.DONE:
                self.done.add(seq)
                if payload:
                    self.marks.append(payload)


def _record(kind: _Kind, seq: int, payload: bytes) -> bytes:
    record = _HEAD.pack(kind, seq, len(payload)) + payload
    return record + _CRC.pack(zlib.crc32(record))


def _records(raw: bytes) -> Iterator[tuple[int, int, bytes, int]]:
    at = 0
    while at + _HEAD.size + _CRC.size <= len(raw):
        kind, seq, size = _HEAD.unpack_from(raw, at)
        end = at + _HEAD.size + size + _CRC.size
        if size > _MAX_PAYLOAD or end > len(raw):
            return
        body = raw[at : end - _CRC.size]
        if zlib.crc32(body) != _CRC.unpack_from(raw, end - _CRC.size)[0]:
            return
        yield kind, seq, body[_HEAD.size :], end
        at = end


def _write_all(file: int, record: bytes) -> None:
    """Write it whole. Raises `OSError` when the disk is full."""
    view = memoryview(record)
    while view:
        view = view[os.write(file, view) :]


__all__ = ["Ledger"]
