"""What the server's log says that an operator must know."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

_LINE: Final = re.compile(r"\[(?P<level>WRN|ERR|FTL)\] (?P<text>.*)")
_MOST_BYTES: Final = 256 * 1024


class NoticeKind(StrEnum):
    """What happened to the embedded server. Stable: counted and shown to operators."""

    DISK_FULL = "disk_full"
    WRITE_ERROR = "write_error"
    JETSTREAM_DISABLED = "jetstream_disabled"
    SERVER_ERROR = "server_error"
    SERVER_DIED = "server_died"
    SERVER_SILENT = "server_silent"
    SERVER_RESTARTED = "server_restarted"
    ORPHAN_ENDED = "orphan_ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One event in the life of the embedded server."""

    kind: NoticeKind
    text: str


def classify(line: str) -> Notice | None:
    """The notice in a line of nats-server's log; None for what needs nobody's attention."""
    found = _LINE.search(line)
    if found is None:
        return None
    text = found["text"].strip()
    lower = text.lower()
    if "no space left" in lower or "resource limits exceeded" in lower or "disk quota" in lower:
        return Notice(kind=NoticeKind.DISK_FULL, text=text)
    if "write error" in lower or "failed to store" in lower:
        return Notice(kind=NoticeKind.WRITE_ERROR, text=text)
    if "jetstream" in lower and ("disabled" in lower or "disabling" in lower):
        return Notice(kind=NoticeKind.JETSTREAM_DISABLED, text=text)
    if found["level"] == "WRN":
        return None
    return Notice(kind=NoticeKind.SERVER_ERROR, text=text)


class LogTail:
    """Reads what was added to a log since the last look; copes with rotation."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = self._size()
        self._rest = b""

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except OSError:
            return 0

    def read(self) -> list[Notice]:
        """The notices since the last call. Of a flood only the newest part is read."""
        size = self._size()
        if size < self._offset:  # rotated: a new file
            self._offset, self._rest = 0, b""
        if size - self._offset > _MOST_BYTES:
            self._offset, self._rest = size - _MOST_BYTES, b""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                added = file.read(_MOST_BYTES)
        except OSError:
            return []
        self._offset += len(added)
        *lines, self._rest = (self._rest + added).split(b"\n")
        notices = (classify(line.decode(errors="replace")) for line in lines)
        return [notice for notice in notices if notice is not None]


__all__ = ["LogTail", "Notice", "NoticeKind", "classify"]
