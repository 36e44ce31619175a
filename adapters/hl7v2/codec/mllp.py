"""MLLP frames (HL7 v2 Transport, Minimal Lower Layer Protocol, Release 1): `<VT> message <FS><CR>`. Pure.

A decoder answers with the same events however the bytes are split, holds at most one message, and never raises on
input.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Final

from schemas.errors import MeshError

VT: Final = b"\x0b"
FS: Final = b"\x1c"
CR: Final = b"\r"
_END: Final = FS + CR
_PADDING: Final = b"\r\n\t \0\x1c"
"""What some senders put between frames; it begins nothing."""

HEAD_BYTES: Final = 4096
"""How much of a bad frame is kept: enough to find its MSH and answer it."""


class UnframableMessage(MeshError, ValueError):
    """The message holds the bytes by which MLLP marks its own frames: no receiver could tell where it ends."""

    code = "unframable_message"


class FrameProblem(StrEnum):
    """What was wrong with the bytes of a peer. Stable: counted, logged and shown to operators."""

    OUTSIDE = "bytes_outside_frame"
    """Bytes before a start block or after an end block."""
    UNOPENED = "missing_start_block"
    """An end block without a start block; `head` is what stood before it."""
    UNTERMINATED = "missing_terminator"
    """A new start block before the end block of the last frame."""
    TRUNCATED = "truncated_frame"
    """The connection ended inside a frame."""
    OVERSIZED = "oversized_frame"
    """The frame is larger than `max_message_bytes`; the rest of it is passed over."""
    EMPTY = "empty_frame"
    """A frame without a single byte."""
    CR_MISSING = "end_block_without_cr"
    """The end block came without its carriage return; tolerated by setting."""
    HOPELESS = "not_mllp"
    """Too many problems without a good frame between them: nothing more is read from this peer."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One message, without the bytes that framed it."""

    payload: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that was not a frame."""

    code: FrameProblem
    size: int = 0
    """How many bytes it spans; for an oversized frame the count at which it was given up."""
    head: bytes = field(default=b"", repr=False)
    """The first of these bytes, at most `HEAD_BYTES`. Protected data."""


FrameEvent = Frame | Problem


def frame(message: bytes) -> bytes:
    """Put a message into a frame, its bytes unchanged. Raises `UnframableMessage`."""
    if VT in message or _END in message:
        raise UnframableMessage(
            f"a message of {len(message)} bytes holds a start or end block of MLLP (0x0B or 0x1C 0x0D)"
            " and cannot be sent in a frame"
        )
    return VT + message + _END


class _State(Enum):
    OUTSIDE = 0
    INSIDE = 1
    SKIPPING = 2
    ENDED = 3
    """Just behind an end block of which the carriage return may still come."""
    HOPELESS = 4


class _Chunk:
    """The bytes in hand and the next marker in them; each byte is searched once for each marker."""

    __slots__ = ("_end_at", "_start_at", "content", "end_marker", "pos")

    def __init__(self, content: bytes, end_marker: bytes) -> None:
        self.content = content
        self.end_marker = end_marker
        self.pos = 0
        self._start_at = -1
        self._end_at = -1

    def start_at(self) -> int:
        """Position of the next start block from `pos` on; the length when there is none."""
        if self._start_at < self.pos:
            found = self.content.find(VT, self.pos)
            self._start_at = len(self.content) if found < 0 else found
        return self._start_at

    def end_at(self) -> int:
        """Position of the next end block from `pos` on; the length when there is none."""
        if self._end_at < self.pos:
            found = self.content.find(self.end_marker, self.pos)
            self._end_at = len(self.content) if found < 0 else found
        return self._end_at


class FrameDecoder:
    """Bytes of one connection in, frames and problems out.

    `max_message_bytes` bounds the memory. `cr_optional` takes a lone FS for the end of a frame, for senders that leave
    the CR out; a message that holds 0x1C as data is then cut there, so it is off unless a link needs it.
    `max_problems` in a row without a good frame end it: see `hopeless`.
    """

    def __init__(
        self, *, max_message_bytes: int, cr_optional: bool = False, max_problems: int = 16
    ) -> None:
        self._max_message_bytes = max_message_bytes
        self._end_marker = FS if cr_optional else _END
        self._max_problems = max_problems
        self._state = _State.OUTSIDE
        self._partial = bytearray()
        self._held_fs = False
        self._outside_size = 0
        self._outside_head = bytearray()
        self._problems = 0
        self._events: list[FrameEvent] = []

    @property
    def hopeless(self) -> bool:
        """Whether the peer does not speak MLLP: further bytes are ignored, close the connection."""
        return self._state is _State.HOPELESS

    @property
    def in_frame(self) -> bool:
        """Whether a frame has begun and has not ended."""
        return self._state in (_State.INSIDE, _State.SKIPPING)

    @property
    def unfinished(self) -> bool:
        """Whether something has begun and waits for its end: a frame, or other bytes than padding outside of one."""
        return self.in_frame or bool(self._outside_head.strip(_PADDING))

    @property
    def buffered_bytes(self) -> int:
        """How many bytes are held: at most `max_message_bytes` and one chunk's."""
        return len(self._partial) + len(self._outside_head) + self._held_fs

    def feed(self, content: bytes) -> list[FrameEvent]:
        """Take bytes as they came; give what they complete."""
        if self._is_one_whole_frame(content):
            self._problems = 0
            return [Frame(content[1 : -len(self._end_marker)])]
        if self._held_fs:
            self._held_fs = False
            content = FS + content
        chunk = _Chunk(content, self._end_marker)
        while chunk.pos < len(content) and self._state is not _State.HOPELESS:
            self._step(chunk)
        return self._taken()

    def finish(self) -> list[FrameEvent]:
        """Say that no more bytes come. The decoder begins anew."""
        if self._held_fs:
            self._held_fs = False
            if self._state is _State.INSIDE:
                self._partial += FS
            elif self._state is _State.OUTSIDE:
                self._add_outside(FS)
        self._report_outside()
        if self._state is _State.INSIDE:
            self._report(FrameProblem.TRUNCATED, len(self._partial), self._head())
        elif self._state is _State.ENDED:
            self._report(FrameProblem.CR_MISSING)
        self._partial = bytearray()
        self._problems = 0
        self._state = _State.OUTSIDE
        return self._taken()

    def _is_one_whole_frame(self, content: bytes) -> bool:
        """The usual case, for speed: exactly one frame in one piece, with nothing before it."""
        size = len(content) - 1 - len(self._end_marker)
        return (
            0 < size <= self._max_message_bytes
            and self._state is _State.OUTSIDE
            and self._end_marker is _END
            and not self._outside_size
            and not self._held_fs
            and content.startswith(VT)
            and content.find(_END) == size + 1
            and content.find(VT, 1) < 0
        )

    def _step(self, chunk: _Chunk) -> None:
        if self._state is _State.INSIDE:
            self._read_frame(chunk)
        elif self._state is _State.SKIPPING:
            self._skip_frame(chunk)
        elif self._state is _State.ENDED:
            self._read_optional_cr(chunk)
        else:
            self._read_outside(chunk)

    def _read_outside(self, chunk: _Chunk) -> None:
        start, end = chunk.start_at(), chunk.end_at()
        room = HEAD_BYTES - self._outside_size
        stop = min(start, end, chunk.pos + room)
        piece = self._without_held(chunk, stop)
        chunk.pos = stop
        self._add_outside(piece)
        if self.hopeless:
            return
        if stop == end < len(chunk.content):
            chunk.pos += len(self._end_marker)
            self._state = _State.OUTSIDE if self._end_marker is _END else _State.ENDED
            self._report_outside(FrameProblem.UNOPENED)
        elif stop == start < len(chunk.content):
            chunk.pos += 1
            self._state = _State.INSIDE

    def _without_held(self, chunk: _Chunk, stop: int) -> bytes:
        """The bytes up to `stop`; an FS at the very end of a chunk waits for the byte that follows it."""
        if (
            stop == len(chunk.content)
            and self._end_marker is _END
            and chunk.content.endswith(FS, chunk.pos)
        ):
            self._held_fs = True
            return chunk.content[chunk.pos : -1]
        return chunk.content[chunk.pos : stop]

    def _add_outside(self, content: bytes) -> None:
        self._outside_size += len(content)
        self._outside_head += content
        if self._outside_size >= HEAD_BYTES:
            self._report_outside()

    def _report_outside(self, code: FrameProblem = FrameProblem.OUTSIDE) -> None:
        if self._outside_size or code is FrameProblem.UNOPENED:
            size, head = self._outside_size, bytes(self._outside_head)
            self._outside_size, self._outside_head = 0, bytearray()
            self._report(code, size, head)

    def _read_frame(self, chunk: _Chunk) -> None:
        start, end = chunk.start_at(), chunk.end_at()
        stop = min(start, end)
        piece = self._without_held(chunk, stop)
        chunk.pos = stop
        if piece and not self._add_to_frame(piece):
            return
        if end < start:
            chunk.pos += len(self._end_marker)
            self._end_frame()
        elif start < end:
            chunk.pos += 1
            self._restart_frame()

    def _add_to_frame(self, piece: bytes) -> bool:
        """Whether the frame still fits. When it does not, nothing of it is kept."""
        if not self._partial:
            self._report_outside()
            if self.hopeless:
                return False
        if len(self._partial) + len(piece) <= self._max_message_bytes:
            self._partial += piece
            return True
        size = self._max_message_bytes + 1
        head = bytes(self._partial[:HEAD_BYTES]) + piece[:HEAD_BYTES]
        self._partial = bytearray()
        self._state = _State.SKIPPING
        self._report(FrameProblem.OVERSIZED, size, head[: min(size, HEAD_BYTES)])
        return False

    def _end_frame(self) -> None:
        self._report_outside()
        if self.hopeless:
            return
        self._state = _State.OUTSIDE if self._end_marker is _END else _State.ENDED
        if not self._partial:
            self._report(FrameProblem.EMPTY)
            return
        self._problems = 0
        self._events.append(Frame(bytes(self._partial)))
        self._partial = bytearray()

    def _restart_frame(self) -> None:
        """A start block inside a frame: the frame before it never ended. Start blocks in a row are bytes outside."""
        if not self._partial:
            self._add_outside(VT)
            return
        self._report(FrameProblem.UNTERMINATED, len(self._partial), self._head())
        self._partial = bytearray()

    def _skip_frame(self, chunk: _Chunk) -> None:
        start, end = chunk.start_at(), chunk.end_at()
        stop = min(start, end)
        size = len(chunk.content)
        if stop == size:
            self._held_fs = self._end_marker is _END and chunk.content.endswith(FS)
            chunk.pos = size
        elif end < start:
            chunk.pos = end + len(self._end_marker)
            self._state = _State.OUTSIDE if self._end_marker is _END else _State.ENDED
        else:
            chunk.pos = start + 1
            self._state = _State.INSIDE

    def _read_optional_cr(self, chunk: _Chunk) -> None:
        self._state = _State.OUTSIDE
        if chunk.content.startswith(CR, chunk.pos):
            chunk.pos += 1
        else:
            self._report(FrameProblem.CR_MISSING)

    def _head(self) -> bytes:
        return bytes(self._partial[:HEAD_BYTES])

    def _report(self, code: FrameProblem, size: int = 0, head: bytes = b"") -> None:
        self._events.append(Problem(code, size, head))
        if code is FrameProblem.CR_MISSING:
            return
        self._problems += 1
        if self._problems >= self._max_problems:
            self._events.append(Problem(FrameProblem.HOPELESS))
            self._state = _State.HOPELESS
            self._partial = bytearray()
            self._held_fs = False

    def _taken(self) -> list[FrameEvent]:
        events, self._events = self._events, []
        return events


__all__ = [
    "HEAD_BYTES",
    "Frame",
    "FrameDecoder",
    "FrameEvent",
    "FrameProblem",
    "Problem",
    "UnframableMessage",
    "frame",
]
