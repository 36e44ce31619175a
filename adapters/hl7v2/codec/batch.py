"""Streams and files of messages: one, many, or batches (FHS/BHS/BTS/FTS, HL7 v2.5.1 section 2.10.3).

Bytes come in chunks of any size, events go out; each message's bytes are the ones that were sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from adapters.hl7v2.codec.errors import CharsetError, LimitExceeded
from adapters.hl7v2.codec.header import LEADING_NOISE
from adapters.hl7v2.codec.limits import DEFAULT_LIMITS, Limits

# A segment starts after a line end, and MSH needs two delimiters: an unescaped `MSH|^` cannot be data.
_PUNCTUATION: Final = rb"[!-/:-@\[-`{-~]"
_START: Final = re.compile(
    rb"(\r\n?|\n|\x0b|\xef\xbb\xbf)"
    rb"((?:MSH|FHS|BHS)(?=" + _PUNCTUATION + _PUNCTUATION + rb")|(?:BTS|FTS)(?=[^\w ]|\Z))"
)
_LONGEST_START: Final = 8
_LINE_END: Final = re.compile(rb"\r\n?|\n")
_TAIL: Final = frozenset(b"\r\n\x0b\x1c\0\x1a")
_BOM: Final = b"\xef\xbb\xbf"
_WIDE: Final = (b"\xff\xfe", b"\xfe\xff", b"M\0S\0H")
_HEAD_BYTES: Final = 1024


class Level(Enum):
    """What a trailer closes."""

    BATCH = "batch"
    FILE = "file"


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageFound:
    """One message, from MSH to its last segment's terminator. `index` counts from 1, `offset` is where it starts."""

    raw: bytes = field(repr=False)
    index: int
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRefused:
    """A message beyond `Limits.max_message_bytes`: its bytes were dropped, what follows is read."""

    index: int
    offset: int
    length: int
    error: LimitExceeded


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchClosed:
    """A batch (counted in messages) or a file (counted in batches) ended."""

    level: Level
    counted: int
    declared: int | None
    """BTS-1 or FTS-1; None when it is not valued, or the trailer is missing."""
    has_trailer: bool

    @property
    def agrees(self) -> bool:
        """Whether the trailer is there and does not declare another number than was counted."""
        return self.has_trailer and self.declared in (None, self.counted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """Bytes that belong to no message: before the first, or after a batch segment."""

    offset: int
    length: int


BatchEvent = MessageFound | MessageRefused | BatchClosed | Skipped


class BatchSplitter:
    """Cuts a stream into messages. Holds at most one message and one chunk; time is linear for any chunking."""

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self._limit = limits.max_message_bytes
        self._buffer = bytearray()
        self._offset = 0  # of the buffer's first byte, in the stream
        self._scanned = 0
        self._kind = b""  # of the unit that the buffer starts with; empty before the first
        self._unit_offset = 0
        self._head = b""  # the start of a unit whose bytes were dropped
        self._dropped = 0
        self._index = 0
        self._messages: int | None = None  # in the open batch
        self._loose = 0  # messages since the last batch
        self._batches: int | None = None  # in the open file

    def feed(self, chunk: bytes) -> list[BatchEvent]:
        """Take the next bytes and return what they complete. Raises `CharsetError` for UTF-16."""
        if not self._buffer:
            stripped = chunk.lstrip(LEADING_NOISE)
            self._offset += len(chunk) - len(stripped)
            if not stripped:
                return []
            self._buffer += b"\r"  # the first segment starts a line, too
            self._offset -= 1
            self._unit_offset = self._offset + 1
            chunk = stripped
        self._buffer += chunk
        events = list(self._advance(len(self._buffer) - _LONGEST_START))
        self._shed()
        return events

    def close(self) -> list[BatchEvent]:
        """End of the stream: return the last message and batches left open. Raises `CharsetError` for UTF-16."""
        events = list(self._advance(len(self._buffer)))
        if self._buffer:
            events += self._unit(bytes(self._buffer))
            self._buffer.clear()
        return [*events, *self._close_batch(None), *self._close_file(None)]

    def _advance(self, last: int) -> Iterator[BatchEvent]:
        start = 0
        while (found := _START.search(self._buffer, self._scanned)) and found.start() <= last:
            end = found.end(1)
            yield from self._unit(bytes(memoryview(self._buffer)[start:end]))
            self._kind, start = found[2], end
            self._unit_offset = self._offset + end
            self._scanned = found.end()
        self._scanned = max(self._scanned, last + 1)
        self._drop(start)

    def _shed(self) -> None:
        """Forget the bytes of a unit that is too long already, but for what may be the start of the next."""
        excess = self._scanned
        if excess + self._dropped > self._limit:
            self._head += self._buffer[: min(excess, _HEAD_BYTES - len(self._head))]
            self._drop(excess)
            self._dropped += excess

    def _drop(self, count: int) -> None:
        del self._buffer[:count]
        self._offset += count
        self._scanned -= count

    def _unit(self, body: bytes) -> Iterator[BatchEvent]:
        length = self._dropped + len(body)
        head, self._head, self._dropped = (self._head + body[:_HEAD_BYTES])[:_HEAD_BYTES], b"", 0
        if self._kind == b"MSH":
            yield self._message(body, length)
        elif self._kind:
            yield from self._batch_segment(head, body, length)
        else:
            yield from self._prelude(head, body, length)

    def _message(self, body: bytes, length: int) -> BatchEvent:
        self._index += 1
        self._loose += 1
        if self._messages is not None:
            self._messages += 1
        if length > self._limit:
            error = LimitExceeded(
                f"message {self._index} has more than the {self._limit} bytes that are allowed",
                location="MSH",
                position=self._unit_offset,
            )
            return MessageRefused(
                index=self._index, offset=self._unit_offset, length=length, error=error
            )
        return MessageFound(raw=_trimmed(body), index=self._index, offset=self._unit_offset)

    def _prelude(self, head: bytes, body: bytes, length: int) -> Iterator[BatchEvent]:
        if head[1:].startswith(_WIDE):
            raise CharsetError(
                "a file in UTF-16; send its messages one by one, or convert it to UTF-8", position=0
            )
        if length > self._limit or body.strip(LEADING_NOISE):
            yield Skipped(offset=self._unit_offset, length=length - 1)

    def _batch_segment(self, head: bytes, body: bytes, length: int) -> Iterator[BatchEvent]:
        line, *rest = _LINE_END.split(head, maxsplit=1)
        match self._kind:
            case b"FHS":
                yield from self._close_batch(None)
                yield from self._close_file(None)
                self._batches = 0
            case b"BHS":
                yield from self._close_batch(None)
                self._messages = 0
            case b"BTS":
                self._messages = self._loose if self._messages is None else self._messages
                yield from self._close_batch(line)
            case _:
                yield from self._close_batch(None)
                self._batches = self._batches or 0
                yield from self._close_file(line)
        end = len(line)
        if length > self._limit or (rest and body[end:].strip(LEADING_NOISE + b"\x1c\x1a")):
            yield Skipped(offset=self._unit_offset + end, length=length - end)

    def _close_batch(self, trailer: bytes | None) -> Iterator[BatchEvent]:
        if self._messages is None:
            return
        counted, self._messages, self._loose = self._messages, None, 0
        if self._batches is not None:
            self._batches += 1
        yield _closed(Level.BATCH, counted, trailer)

    def _close_file(self, trailer: bytes | None) -> Iterator[BatchEvent]:
        if self._batches is None:
            return
        counted, self._batches, self._loose = self._batches, None, 0
        yield _closed(Level.FILE, counted, trailer)


def _closed(level: Level, counted: int, trailer: bytes | None) -> BatchClosed:
    declared = trailer[4:].split(trailer[3:4], 1)[0].strip() if trailer and trailer[3:4] else b""
    return BatchClosed(
        level=level,
        counted=counted,
        declared=int(declared) if declared.isdigit() and len(declared) < 10 else None,
        has_trailer=trailer is not None,
    )


def _trimmed(unit: bytes) -> bytes:
    """A message without what follows its last segment's terminator (blank lines, MLLP's end bytes)."""
    end = len(unit)
    while end:
        if unit[end - 1] in _TAIL:
            end -= 1
        elif unit.endswith(_BOM, 0, end):
            end -= len(_BOM)
        else:
            break
    first = _LINE_END.search(unit)
    if first and unit.startswith(first[0], end):
        return unit[: end + len(first[0])]
    last = _LINE_END.match(unit, end)
    return unit[: last.end() if last else end]


def split_messages(
    chunks: Iterable[bytes], limits: Limits = DEFAULT_LIMITS
) -> Iterator[BatchEvent]:
    """Run a `BatchSplitter` over all chunks of a file. Raises `CharsetError` for UTF-16."""
    splitter = BatchSplitter(limits)
    for chunk in chunks:
        yield from splitter.feed(chunk)
    yield from splitter.close()


__all__ = [
    "BatchClosed",
    "BatchEvent",
    "BatchSplitter",
    "Level",
    "MessageFound",
    "MessageRefused",
    "Skipped",
    "split_messages",
]
