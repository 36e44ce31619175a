"""The key that keeps one patient's messages in order, read without parsing the message."""

from __future__ import annotations

from typing import Final

from adapters.hl7v2.codec.charset import Charset, Structure, candidates, transcode
from adapters.hl7v2.codec.delimiters import Delimiters
from adapters.hl7v2.codec.errors import CharsetError
from adapters.hl7v2.codec.header import Header, peek

_IDENTIFIER_FIELDS: Final = (3, 2, 4)
"""PID-3 holds the identifiers since v2.3; before it, and from senders that never moved, PID-2 and PID-4 do."""
_NULL: Final = b'""'
_TRIED: Final = 64
"""Repetitions that are looked at for a first identifier."""


def patient_key(
    raw: bytes, header: Header | None = None, *, charset: str | None = None
) -> bytes | None:
    """`identifier^authority` of the first PID: first valued repetition of PID-3, else PID-2, else PID-4; else None.

    In merges (A18, A34, A40) PID names the surviving patient and MRG the other, so the key is the survivor's. The
    authority is CX.4's namespace, else its universal id. Protected data: hash it with a key
    before it leaves the process.
    Reads up to the first PID. Raises `Hl7Error` when there is no MSH.
    """
    header = header or peek(raw, charset=charset)
    line = _patient_segment(raw, header)
    if line is None:
        return None
    if not line.isascii() or b"\x1b" in line:
        line = _splittable(line, header, charset)
    marks = header.delimiters
    fields = line.split(marks.field, 5)
    for number in _IDENTIFIER_FIELDS:
        if number < len(fields) and (key := _identifier(fields[number], marks)):
            return key
    return None


def _patient_segment(raw: bytes, header: Header) -> bytes | None:
    end = header.end
    if header.wide:
        try:
            raw = transcode(raw, header.wide)
        except CharsetError:
            return None
    # a line feed is data in a message whose MSH ends in CR
    feed = raw.startswith(b"\n", end)
    wanted = b"PID" + header.delimiters.field
    start = -1
    for terminator in (b"\n", b"\r") if feed else (b"\r", b"\r\n"):
        found = raw.find(terminator + wanted, end, start if start >= 0 else len(raw))
        start = found + len(terminator) if found >= 0 else start
    if start < 0:
        return None
    stop = raw.find(b"\r", start)
    stop = stop if stop >= 0 else len(raw)
    if feed:
        line_feed = raw.find(b"\n", start, stop)
        stop = line_feed if line_feed >= 0 else stop
    return raw[start:stop].rstrip(b"\x1c")


def _splittable(line: bytes, header: Header, charset: str | None) -> bytes:
    own: Charset | None = header.transcoded
    if own is None and not header.wide:
        tried = candidates(header.charset_names, charset, ())
        own = tried[0] if tried else None
    if own is None or own.structure is not Structure.LINE_SAFE or not own.accepts(line):
        return line
    return transcode(line, own)


def _identifier(field: bytes, marks: Delimiters) -> bytes | None:
    repetitions = field.split(marks.repetition, _TRIED) if marks.repetition else [field]
    for repetition in repetitions[:_TRIED]:
        parts = repetition.split(marks.component, 4) if marks.component else [repetition]
        identifier = parts[0].strip()
        if identifier and identifier != _NULL:
            authority = parts[3] if len(parts) > 3 else b""
            return identifier + b"^" + _authority(authority, marks.subcomponent)
    return None


def _authority(value: bytes, mark: bytes) -> bytes:
    parts = value.split(mark) if mark else [value]
    namespace = parts[0].strip()
    return namespace or (parts[1].strip() if len(parts) > 1 else b"")


__all__ = ["patient_key"]
