"""The MSH segment alone: all that routing and acknowledging need, read without touching the rest of the message."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import Final

from adapters.hl7v2.codec.charset import (
    ASCII,
    LATIN_1,
    UTF_8,
    Charset,
    Structure,
    candidates,
    declared_charset,
    transcode,
    wide_charset,
)
from adapters.hl7v2.codec.delimiters import Delimiters, delimiters_of
from adapters.hl7v2.codec.errors import CharsetError, HeaderMissing, LimitExceeded
from adapters.hl7v2.codec.limits import MAX_HEADER_BYTES
from adapters.hl7v2.codec.message_types import displayed_type

LEADING_NOISE: Final = b"\x0b\r\n\t \0\xef\xbb\xbf"
"""Bytes that may stand before MSH: MLLP's start byte, blank lines, a byte order mark."""
_LAST_FIELD: Final = 25
_CHARSET_INDEX: Final = 18
_BATCH_SEGMENTS: Final = (b"FHS", b"BHS")
_BATCH_CONTROL_INDEX: Final = 10


@dataclass(frozen=True, slots=True)
class Header:
    """What MSH says. Text is decoded on access by MSH-18, else UTF-8, else Latin-1: for display and comparison only.

    `fields[n]` is MSH-n as sent, for n up to 25. What must go back unchanged (MSH-10) is taken from there.
    """

    delimiters: Delimiters
    fields: tuple[bytes, ...]
    start: int
    """Offset of `MSH` in the message (in its UTF-8 form when `wide`)."""
    end: int
    """Offset of the segment's terminator."""
    wide: Charset | None = None
    """UTF-16, when the message is in it; `fields` are UTF-8 then."""
    transcoded: Charset | None = None
    """The set of an MSH whose characters can hold delimiter bytes; `fields` are UTF-8 then."""

    def raw(self, field: int, component: int = 0) -> bytes:
        """MSH-`field` as sent, or one of its components (of the first repetition); empty when absent."""
        if field >= len(self.fields):
            return b""
        value = self.fields[field]
        if not component:
            return value
        if self.delimiters.repetition:
            value = value.partition(self.delimiters.repetition)[0]
        parts = value.split(self.delimiters.component) if self.delimiters.component else [value]
        return parts[component - 1] if component <= len(parts) else b""

    def text(self, field: int, component: int = 0) -> str:
        """The same, decoded. Escapes are kept as they are."""
        raw = self.raw(field, component)
        if raw.isascii():
            return raw.decode("ascii")
        own = None if self.wide or self.transcoded else declared_charset(self.charset_names)
        for charset in (own or UTF_8, UTF_8):
            if charset.accepts(raw):
                return charset.decode(raw)
        return raw.decode(LATIN_1.codec)

    @property
    def sending_application(self) -> str:
        """MSH-3."""
        return self.text(3)

    @property
    def sending_facility(self) -> str:
        """MSH-4."""
        return self.text(4)

    @property
    def receiving_application(self) -> str:
        """MSH-5."""
        return self.text(5)

    @property
    def receiving_facility(self) -> str:
        """MSH-6."""
        return self.text(6)

    @property
    def date(self) -> str:
        """MSH-7, as sent (`YYYYMMDDHHMMSS[.S][+ZZZZ]`)."""
        return self.text(7)

    @property
    def message_code(self) -> str:
        """MSH-9.1, `ADT`. Not for display: see `message_type`."""
        return self.text(9, 1)

    @property
    def trigger(self) -> str:
        """MSH-9.2, `A01`. Not for display: see `message_type`."""
        return self.text(9, 2)

    @property
    def structure(self) -> str:
        """MSH-9.3, `ADT_A01`. Not for display."""
        return self.text(9, 3)

    @property
    def message_type(self) -> str:
        """`ADT^A01` for logs, metrics and screens: known codes and well-formed triggers only, else `unknown`."""
        return displayed_type(self.message_code, self.trigger)

    @property
    def control_id(self) -> str:
        """MSH-10. Compare acknowledgements with `Acknowledgement.answers`, which works on bytes."""
        return self.text(10)

    @property
    def processing_id(self) -> str:
        """MSH-11.1: P production, T training, D debugging."""
        return self.text(11, 1)

    @property
    def version(self) -> str:
        """MSH-12.1, `2.5.1`."""
        return self.text(12, 1)

    @property
    def accept_acknowledgement(self) -> str:
        """MSH-15 (table 0155): AL, NE, ER, SU, or empty for the original mode."""
        return self.text(15)

    @property
    def application_acknowledgement(self) -> str:
        """MSH-16 (table 0155)."""
        return self.text(16)

    @property
    def charset_names(self) -> tuple[str, ...]:
        """MSH-18, one name a repetition; () when it is not valued."""
        raw = self.raw(_CHARSET_INDEX)
        if not raw or not raw.isascii():
            return ()
        text, mark = raw.decode("ascii"), self.delimiters.repetition.decode("ascii")
        return tuple(name.strip() for name in (text.split(mark) if mark else [text]))


def peek(raw: bytes, *, charset: str | None = None) -> Header:
    """Read MSH and nothing else. `charset` is the link's default, for messages without MSH-18.

    Tolerates a byte order mark, MLLP framing and blank lines before MSH. Looks at no more than `MAX_HEADER_BYTES`.
    Raises `Hl7Error`: `HeaderMissing`, `DelimitersRefused`, `LimitExceeded`.
    """
    if raw.startswith(b"MSH"):
        return _header(raw, 0, charset)
    if wide := wide_charset(raw):
        return _wide_header(raw, wide)
    return _header(raw, len(raw) - len(raw.lstrip(LEADING_NOISE)), charset)


def peek_batch(raw: bytes, *, charset: str | None = None) -> Header:
    """The header of a batch in the shape of a message's: FHS-3 to -7 (BHS too) become MSH-3 to -7, FHS-11 MSH-10.

    HL7 v2.5.1 section 2.15.1: what is needed to answer a batch. Raises `Hl7Error` for anything else.
    """
    start = len(raw) - len(raw.lstrip(LEADING_NOISE))
    if raw[start : start + 3] not in _BATCH_SEGMENTS:
        raise HeaderMissing("the bytes do not start with a batch header", position=start)
    line = raw[start : header_end(raw, start)].rstrip(b"\x1c")
    separator = line[3:4]
    if not separator:
        raise HeaderMissing("the batch header ends after its name", position=start + 3)
    fields = line.split(separator)
    fields += [b""] * (_BATCH_CONTROL_INDEX + 1 - len(fields))
    return peek(
        separator.join((b"MSH", *fields[1:7], b"", b"", fields[_BATCH_CONTROL_INDEX])),
        charset=charset,
    )


def _wide_header(raw: bytes, wide: Charset) -> Header:
    decoder = codecs.getincrementaldecoder(wide.codec)()
    try:
        text = decoder.decode(raw[: 2 * MAX_HEADER_BYTES])
    except UnicodeDecodeError as err:
        raise CharsetError(
            f"bytes that are not {wide.name}", location="MSH", position=err.start
        ) from None
    narrow = text.encode()
    header = _header(narrow, len(narrow) - len(narrow.lstrip(LEADING_NOISE)), None)
    return Header(header.delimiters, header.fields, header.start, header.end, wide=wide)


def _header(raw: bytes, start: int, charset: str | None) -> Header:
    if not raw.startswith(b"MSH", start):
        batch = raw[start : start + 3] in _BATCH_SEGMENTS
        raise HeaderMissing(
            "a batch header; split batches before reading messages"
            if batch
            else "the message does not start with an MSH segment",
            position=start,
        )
    end = header_end(raw, start)
    line = raw[start:end].rstrip(b"\x1c")
    separator = line[3:4]
    if not separator:
        raise HeaderMissing("the message ends after MSH", location="MSH-1", position=start + 3)
    fields = line.split(separator, _LAST_FIELD)
    delimiters = delimiters_of(separator, fields[1])
    transcoded = None
    if not line.isascii() or b"\x1b" in line:
        transcoded = _line_safe_charset(line, fields, delimiters, charset)
        if transcoded:
            fields = transcode(line, transcoded).split(separator, _LAST_FIELD)
    fields.insert(1, separator)
    return Header(delimiters, tuple(fields[: _LAST_FIELD + 1]), start, end, transcoded=transcoded)


def header_end(raw: bytes, start: int) -> int:
    """Offset of the first CR or LF after `start`, or the end. Raises `LimitExceeded` beyond `MAX_HEADER_BYTES`."""
    limit = start + MAX_HEADER_BYTES
    end = raw.find(b"\r", start, limit)
    feed = raw.find(b"\n", start, limit if end < 0 else end)
    if feed >= 0:
        return feed
    if end >= 0:
        return end
    if len(raw) > limit:
        raise LimitExceeded(
            f"no end of segment within {MAX_HEADER_BYTES} bytes", location="MSH", position=limit
        )
    return len(raw)


def _line_safe_charset(
    line: bytes, fields: list[bytes], delimiters: Delimiters, default: str | None
) -> Charset | None:
    """The set under which MSH must be decoded before it is split, if it declares such a set.

    A delimiter byte inside a character moves MSH-18 to the right, so each later field is tried as MSH-18.
    """
    separator = delimiters.field
    own = candidates((), default, ())[0]
    for value in [*line.split(separator, 4 * _LAST_FIELD)[_CHARSET_INDEX - 1 :], b""]:
        names = value.decode(ASCII.codec, "ignore")
        mark = delimiters.repetition.decode("ascii")
        found = declared_charset(names.split(mark) if mark else [names]) if names else own
        if found is None or found.structure is not Structure.LINE_SAFE or not found.accepts(line):
            continue
        parts = transcode(line, found).split(separator, _LAST_FIELD)
        if b"".join(parts[_CHARSET_INDEX - 1 : _CHARSET_INDEX]) == value:
            return found
    return None


__all__ = ["LEADING_NOISE", "Header", "header_end", "peek", "peek_batch"]
