"""A message: bytes that stay as they were sent, read where someone looks and re-encoded where someone writes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Final, Self

from adapters.hl7v2.codec.charset import (
    UTF_8,
    Charset,
    Structure,
    candidates,
    charset_named,
    transcode,
)
from adapters.hl7v2.codec.delimiters import Delimiters
from adapters.hl7v2.codec.errors import CharsetError, LimitExceeded, PathError
from adapters.hl7v2.codec.escape import escape, unescape
from adapters.hl7v2.codec.findings import Finding, Quirk
from adapters.hl7v2.codec.header import Header, peek
from adapters.hl7v2.codec.limits import DEFAULT_LIMITS, Limits
from adapters.hl7v2.codec.lines import Lines, cut_lines, quirks_of, segment_start
from adapters.hl7v2.codec.path import Path, parse_path
from adapters.hl7v2.codec.segment import NULL, SELF_DESCRIBING, Presence, Segment

_USUAL_ENCODING_CHARACTERS: Final = 4
_UNRESOLVED: Final = object()
_ESCAPE: Final = b"\x1b"
Component = str | list[str]
"""A component's text, or its subcomponents when it has several."""


class Message:
    """One HL7 v2 message. Not parsed beyond its lines until something is asked for.

    Values are `str`, decoded strictly and unescaped at the leaf. A value without separators is its own first component
    and subcomponent. A value with separators, read above its leaves, is returned as it stands, escapes kept.
    """

    __slots__ = (
        "_charset",
        "_cut",
        "_edited",
        "_index",
        "_limits",
        "_link",
        "_offsets",
        "_plain",
        "_raw",
        "_segments",
        "header",
    )

    def __init__(
        self,
        raw: bytes,
        header: Header,
        cut: Lines,
        link: tuple[str | None, tuple[str, ...]],
        limits: Limits,
    ) -> None:
        self.header = header
        self._raw = raw
        self._cut = cut
        self._link = link
        self._limits = limits
        self._index: dict[bytes, list[int]] | None = None
        self._segments: dict[int, Segment] = {}
        self._edited = False
        self._charset: object = _UNRESOLVED
        self._offsets: list[int] | None = None
        self._plain: bool | None = None

    @classmethod
    def parse(
        cls,
        raw: bytes,
        *,
        charset: str | None = None,
        fallback: Sequence[str] = (),
        limits: Limits = DEFAULT_LIMITS,
    ) -> Self:
        """Take a message's bytes. `charset` is the link's default, for messages without MSH-18.

        The fallbacks are tried, in order and on the whole message, when the first set does not decode it. Raises
        `Hl7Error`: `HeaderMissing`, `DelimitersRefused`, `LimitExceeded`, `CharsetError` (UTF-16 that is none).
        """
        if len(raw) > limits.max_message_bytes:
            raise LimitExceeded(
                f"{len(raw)} bytes in the message; {limits.max_message_bytes} are allowed"
            )
        header = peek(raw, charset=charset)
        body = transcode(raw, header.wide) if header.wide else raw
        cut = cut_lines(body, header.start, header.end, limits)
        return cls(raw, header, cut, (charset, tuple(fallback)), limits)

    # reading

    def get(self, path: str) -> str:
        """The text at a path such as `PID-3[2].4.1`; empty when there is none, `""` (two quotes) for a null.

        An index that is not given, or `*`, means the first. Raises `PathError`, `CharsetError`, `LimitExceeded`.
        """
        at = _field_path(path)
        segment = self._segment(at)
        if segment is None:
            return ""
        value = segment.value(at.field, at.repetition or 1, at.component, at.subcomponent)
        return self._text(segment, at, value) if value else ""

    def get_all(self, path: str) -> list[str]:
        """The texts at a path, one for each repetition; an index that is not given, or `*`, means every one.

        Repetitions without a value at the path give an empty text, so positions agree between paths of one field.
        Raises as `get` does.
        """
        at = _field_path(path)
        return [
            self._text(segment, at, value) if value else "" for segment, value in self._values(at)
        ]

    def presence(self, path: str) -> Presence:
        """Whether the path is absent, empty, null (`""`) or valued. Raises `PathError`, `LimitExceeded`."""
        at = _field_path(path)
        segment = self._segment(at)
        if segment is None:
            return Presence.ABSENT
        value = segment.value(at.field, at.repetition or 1, at.component, at.subcomponent)
        if value is None:
            return Presence.ABSENT
        if value == NULL:
            return Presence.NULL
        return Presence.VALUED if value else Presence.EMPTY

    def parts(self, segment: Segment, field: int) -> list[list[Component]]:
        """A field of one of this message's segments, whole: by repetition and component, decoded and unescaped.

        A component is its text, or the list of its subcomponents when it has several. [] when the field is absent or
        empty. Raises `CharsetError`, `LimitExceeded`.
        """
        marks = self.delimiters
        found: list[list[Component]] = []
        for raw in segment.repetitions(field):
            if raw.isascii():
                text = raw.decode("ascii")
            else:
                text = self._decoded(segment, parse_path(f"{segment.name}-{field}"), raw)
            if field <= 2 and segment.name in SELF_DESCRIBING:
                found.append([text])
            else:
                found.append(self._cut_text(text, marks, segment, field))
        return found

    def valued(self, path: str) -> bool:
        """Whether any place that the path covers holds a value; a null is none. `PID` asks for the segment."""
        return self.count(path) > 0

    def count(self, path: str) -> int:
        """How many places that the path covers hold a value; `OBX` counts segments. Raises as `get` does."""
        at = parse_path(path)
        if not at.field:
            occurrences = len(self._catalogue().get(at.key, ()))
            return int(at.occurrence <= occurrences) if at.occurrence else occurrences
        return sum(1 for _, value in self._values(at) if value and value != NULL)

    def segments(self, name: str | None = None) -> list[Segment]:
        """The segments in order, or those of one name. Junk and blank lines are in `findings`, not here."""
        index = self._catalogue()
        if name is None:
            lines = sorted(line for found in index.values() for line in found)
        else:
            lines = index.get(name.encode(), [])
        return [self._segment_at(line) for line in lines]

    @property
    def delimiters(self) -> Delimiters:
        """MSH-1 and MSH-2."""
        return self.header.delimiters

    @property
    def charset(self) -> Charset | None:
        """The set that text is read and written in; None when MSH-18 names one that has no codec."""
        if self._charset is _UNRESOLVED:
            self._charset = self.header.wide or self._resolved()
        return self._charset if isinstance(self._charset, Charset) else None

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was tolerated in the message as it came."""
        found = quirks_of(self._cut, self.delimiters.field)
        if self.header.wide:
            found.append(Finding(Quirk.WIDE_CHARACTERS))
        if len(self.delimiters.encoding_characters) < _USUAL_ENCODING_CHARACTERS:
            found.append(Finding(Quirk.SHORT_ENCODING_CHARACTERS, 1, 1))
        names = self.header.charset_names
        if names and names[0] and charset_named(names[0]) is None:
            found.append(Finding(Quirk.UNKNOWN_CHARSET, 1, 1))
        return tuple(found)

    # writing

    def set(self, path: str, value: str) -> None:
        """Write text at a path, escaped and encoded; fields, repetitions and components that are missing are made.

        An index that is not given means the first; `""` (two quotes) writes a null. Raises `PathError` (no such
        segment; MSH-1, MSH-2, MSH-18), `CharsetError` (the message's set lacks a character), `LimitExceeded`.
        """
        at = _field_path(path)
        segment = self._segment(at)
        if segment is None:
            raise PathError("the message has no such segment", location=at.text)
        if at.segment == "MSH" and at.field == 18:
            raise PathError(
                "MSH-18 says what the bytes are; it cannot be edited alone", location=at.text
            )
        raw = self._encoded(escape(value, self.delimiters), at)
        segment.put(at.field, at.repetition or 1, at.component, at.subcomponent, raw)
        self._edited = True
        if at.segment == "MSH":
            self._reread_header()

    def to_bytes(self) -> bytes:
        """The message: the very bytes that came in, except in segments that were edited."""
        if not self._edited:
            return self._raw
        lines = list(self._cut.lines)
        for line, segment in self._segments.items():
            if segment.is_edited:
                lines[line] = self._line_of(segment)
        raw = self._cut.join(lines)
        return raw.decode().encode(self.header.wide.codec) if self.header.wide else raw

    def __bytes__(self) -> bytes:
        return self.to_bytes()

    def __repr__(self) -> str:
        return f"<Message {self.header.message_type}, {len(self._raw)} bytes>"

    # inside

    def _reread_header(self) -> None:
        old, line = self.header, self._line_of(self._segment_at(0))
        new = peek(line, charset=self._link[0])
        self.header = replace(new, start=old.start, end=old.start + len(line), wide=old.wide)

    def _catalogue(self) -> dict[bytes, list[int]]:
        index = self._index
        if index is None:
            index = self._index = {}
            is_segment = segment_start(self.delimiters.field).match
            for i, line in enumerate(self._cut.lines):
                if is_segment(line):
                    index.setdefault(line[:3], []).append(i)
        return index

    def _segment(self, at: Path) -> Segment | None:
        lines = self._catalogue().get(at.key)
        occurrence = at.occurrence or 1
        if lines is None or occurrence > len(lines):
            return None
        return self._segment_at(lines[occurrence - 1])

    def _segment_at(self, line: int) -> Segment:
        segment = self._segments.get(line)
        if segment is None:
            raw = self._cut.lines[line]
            if not self._is_plain() and (not raw.isascii() or _ESCAPE in raw):
                raw = self._splittable(raw, line)
            segment = Segment(raw, self.delimiters, self._limits, line)
            self._segments[line] = segment
        return segment

    def _is_plain(self) -> bool:
        """Whether every byte means the same in every set: no byte beyond ASCII, no switch of sets."""
        if self._plain is None:
            self._plain = self._raw.isascii() and _ESCAPE not in self._raw
        return self._plain

    def _values(self, at: Path) -> Iterator[tuple[Segment, bytes | None]]:
        lines = self._catalogue().get(at.key, [])
        if at.occurrence:
            lines = lines[at.occurrence - 1 : at.occurrence]
        for line in lines:
            segment = self._segment_at(line)
            repetitions = len(segment.repetitions(at.field))
            wanted = (at.repetition,) if at.repetition else range(1, repetitions + 1)
            for repetition in wanted:
                if repetition <= repetitions:
                    yield (
                        segment,
                        segment.value(at.field, repetition, at.component, at.subcomponent),
                    )

    def _resolved(self) -> Charset | None:
        tried = candidates(self.header.charset_names, *self._link)
        if len(tried) > 1 and not self._is_plain():
            return next((one for one in tried if one.accepts(self._raw)), tried[0])
        return tried[0] if tried else None

    def _splittable(self, raw: bytes, line: int) -> bytes:
        charset = self.charset
        if charset is None or charset.structure is not Structure.LINE_SAFE:
            return raw
        return transcode(
            raw, charset, location=raw[:3].decode("ascii"), offset=self._offset_of(line)
        )

    def _offset_of(self, line: int) -> int:
        if self._offsets is None:
            self._offsets = self._cut.offsets()
        return self._offsets[line]

    def _working(self, at: Path) -> Charset:
        """The set of the bytes that segments hold."""
        charset = self.charset
        if charset is None:
            raise CharsetError(
                "MSH-18 names a charset that has no codec; give the link a fallback charset",
                location=at.text,
            )
        return charset if charset.structure is Structure.ASCII_SAFE else UTF_8

    def _text(self, segment: Segment, at: Path, value: bytes) -> str:
        text = value.decode("ascii") if value.isascii() else self._decoded(segment, at, value)
        marks = self.delimiters
        if marks.escape not in value or not self._is_leaf(at, value):
            return text
        charset = self.charset
        return unescape(text, marks, charset.decode if charset else None)

    def _cut_text(
        self, text: str, marks: Delimiters, segment: Segment, field: int
    ) -> list[Component]:
        component, subcomponent, escape_mark = _texts(marks)
        if component and component in text:
            self._allow_parts(text, component, segment, field)
            parts: list[Component] = list(text.split(component))
        else:
            parts = [text]
        if subcomponent and subcomponent in text:
            self._allow_parts(text, subcomponent, segment, field)
            parts = [
                part.split(subcomponent) if isinstance(part, str) and subcomponent in part else part
                for part in parts
            ]
        if escape_mark and escape_mark in text:
            charset = self.charset
            decode = charset.decode if charset else None
            parts = [
                unescape(part, marks, decode)
                if isinstance(part, str)
                else [unescape(one, marks, decode) for one in part]
                for part in parts
            ]
        return parts

    def _allow_parts(self, text: str, mark: str, segment: Segment, field: int) -> None:
        if text.count(mark) >= self._limits.max_repetitions:
            raise LimitExceeded(
                f"more than {self._limits.max_repetitions} components in a field",
                location=f"{segment.name}-{field}",
            )

    def _is_leaf(self, at: Path, value: bytes) -> bool:
        if at.field <= 2 and at.segment in SELF_DESCRIBING:
            return False
        marks = self.delimiters
        return not (
            (not at.component and marks.component and marks.component in value)
            or (not at.subcomponent and marks.subcomponent and marks.subcomponent in value)
        )

    def _decoded(self, segment: Segment, at: Path, value: bytes) -> str:
        charset = self._working(at)
        try:
            return charset.decode(value)
        except CharsetError:
            # only now is it worth knowing where the field lies in the message
            before = segment.fields[: at.field]
            offset = self._offset_of(segment.line) + sum(map(len, before)) + len(before)
            if at.segment in SELF_DESCRIBING:
                offset -= 2  # MSH-1 is the separator itself
            charset.decode(segment.fields[at.field], location=at.text, offset=offset)
            raise

    def _encoded(self, text: str, at: Path) -> bytes:
        if text.isascii():
            return text.encode("ascii")
        working = self._working(at)
        if self.charset is not None and self.charset is not working:
            self.charset.encode(text, location=at.text)
        return working.encode(text, location=at.text)

    def _line_of(self, segment: Segment) -> bytes:
        raw = segment.encode()
        charset = self.charset
        if charset is not None and charset.structure is Structure.LINE_SAFE:
            return charset.encode(raw.decode(), location=segment.name)
        return raw


@lru_cache(maxsize=256)
def _texts(marks: Delimiters) -> tuple[str, str, str]:
    """The delimiters of components, of subcomponents and of escapes."""
    component, subcomponent = marks.component.decode("ascii"), marks.subcomponent.decode("ascii")
    return component, subcomponent, marks.escape.decode("ascii")


def _field_path(path: str) -> Path:
    at = parse_path(path)
    if not at.field:
        raise PathError("the path names a segment; a field is needed", location=at.text)
    return at


__all__ = ["Component", "Message"]
