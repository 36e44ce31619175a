"""Acknowledgements: building the answer to a message and reading a peer's (HL7 v2.5.1 sections 2.9 and 2.15)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

from adapters.hl7v2.codec.ack_codes import AckCode, AckError, Condition
from adapters.hl7v2.codec.charset import ASCII, UTF_8, Charset, declared_charset
from adapters.hl7v2.codec.delimiters import DEFAULT_DELIMITERS, Delimiters
from adapters.hl7v2.codec.errors import AcknowledgementMalformed, CharsetError
from adapters.hl7v2.codec.escape import escape, unescape
from adapters.hl7v2.codec.header import Header, peek

_CODES: Final = {code.value: code for code in AckCode}
_PLAIN_CODES: Final = {code.value.encode("ascii"): code for code in AckCode}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TRIGGER: Final = re.compile(rb"[A-Za-z0-9_]{1,20}\Z")
_LOCATION: Final = re.compile(
    r"([A-Z][A-Z0-9]{2})(?:\[(\d+)\])?(?:-(\d+)(?:\[(\d+)\])?(?:\.(\d+))?(?:\.(\d+))?)?\Z"
)
_MAX_TEXT_CHARS: Final = 250
_SEPARATE_ERRORS_SINCE: Final = (2, 5)
_TEXT_IN_MSA_UNTIL: Final = (2, 7)
_DEFAULT_VERSION: Final = b"2.5.1"


def build_acknowledgement(
    header: Header | None,
    code: AckCode,
    *,
    control_id: str,
    now_ms: int,
    text: str = "",
    errors: Sequence[AckError] = (),
) -> bytes:
    """Answer a message: applications and facilities swapped; its delimiters, version and charset; MSA-2 byte for byte.

    `header` is None for bytes that had none. `control_id` is the answer's own MSH-10; `now_ms` its date, in UTC.
    Errors become ERR segments of the message's version: ERR-2, -3, -4 and -8 since 2.5, ERR-1 before.
    Characters of `text` and `errors` that the charset lacks become `?`.
    """
    template = AckTemplate.of(header, code)
    writer = template.writer
    version = _version(header)
    answered = header.raw(10) if header else b""
    if text and version < _TEXT_IN_MSA_UNTIL:
        answered += writer.marks.field + writer.text(text)
    build = _err if version >= _SEPARATE_ERRORS_SINCE else _old_err
    if version >= _SEPARATE_ERRORS_SINCE and text and not errors and not code.is_accepted:
        errors = (AckError(condition=Condition.INTERNAL, text=text),)
    more = b"".join(build(error, writer) + b"\r" for error in errors)
    return template.fill(control_id=control_id, now_ms=now_ms, answered=answered, more=more)


@dataclass(frozen=True, slots=True)
class _Writer:
    marks: Delimiters
    charset: Charset
    is_utf_8_for_now: bool
    """Whether the header's fields are UTF-8 and the whole answer is encoded at the end."""

    def text(self, text: str) -> bytes:
        """Escaped and encoded; what cannot be encoded becomes `?` (it is our own diagnostic text)."""
        text = text[:_MAX_TEXT_CHARS]
        if (
            not self.marks.escape
        ):  # a hostile MSH-2 can leave us without one: letters and digits are always safe
            text = "".join(c if c.isalnum() else " " for c in text)
        text = escape(text, self.marks)
        if text.isascii():
            return text.encode("ascii")
        text = "".join(c if self._fits(c) else "?" for c in text)
        return text.encode("utf-8" if self.is_utf_8_for_now else self.charset.codec)

    def _fits(self, character: str) -> bool:
        try:
            self.charset.encode(character)
        except CharsetError:
            return False
        return True

    def join(self, *parts: bytes) -> bytes:
        """Components, without empty ones at the end; the first alone when the message has no component mark."""
        mark = self.marks.component
        return mark.join(parts).rstrip(mark) if mark else parts[0]

    def finish(self, answer: bytes) -> bytes:
        """The whole answer in its charset."""
        if self.is_utf_8_for_now:
            return answer.decode().encode(self.charset.codec, "replace")
        return answer


@dataclass(frozen=True, slots=True, kw_only=True)
class AckTemplate:
    """What the answers of one code to all messages of one sender and type share: all but date, control id and MSA-2.

    It depends on MSH-1 to MSH-6, MSH-9, MSH-11, MSH-12 and MSH-18 alone, and on how MSH is encoded.
    """

    writer: _Writer = field(repr=False)
    until_date: bytes = field(repr=False)
    until_control_id: bytes = field(repr=False)
    until_answered: bytes = field(repr=False)

    @staticmethod
    def of(header: Header | None, code: AckCode) -> AckTemplate:
        """The template for a message; `header` is None for bytes that had none."""
        own = (header.wide or header.transcoded) if header else None
        writer = _Writer(
            header.delimiters if header else DEFAULT_DELIMITERS,
            own or _charset(header),
            own is not None,
        )
        return _template(header, code, writer)

    def fill(self, *, control_id: str, now_ms: int, answered: bytes, more: bytes = b"") -> bytes:
        """The answer: its own MSH-10 and date (UTC), MSA-2 (and what follows it), and more whole segments."""
        is_plain = control_id.isascii() and control_id.isalnum()
        own = (
            control_id[:_MAX_TEXT_CHARS].encode("ascii")  # no delimiter is a letter or a digit
            if is_plain
            else self.writer.text(control_id)
        )
        second, ms = divmod(now_ms, 1000)
        date = b"%b.%03d+0000" % (_second(second), ms)
        parts = (self.until_date, date, self.until_control_id, own, self.until_answered, answered)
        return self.writer.finish(b"".join((*parts, b"\r", more)))


@lru_cache(maxsize=16)
def _second(since_epoch: int) -> bytes:
    return f"{_EPOCH + timedelta(seconds=since_epoch):%Y%m%d%H%M%S}".encode("ascii")


def _charset(header: Header | None) -> Charset:
    return (header and declared_charset(header.charset_names)) or ASCII


def _version(header: Header | None) -> tuple[int, int]:
    numbers = re.match(r"(\d{1,3})\.(\d{1,3})", header.version) if header else None
    return (int(numbers[1]), int(numbers[2])) if numbers else _SEPARATE_ERRORS_SINCE


def _template(header: Header | None, code: AckCode, writer: _Writer) -> AckTemplate:
    def of(number: int) -> bytes:
        return header.raw(number) if header else b""

    marks = writer.marks
    mark = marks.field
    trigger = header.raw(9, 2) if header else b""
    kind = writer.join(b"ACK", trigger, b"ACK") if _TRIGGER.match(trigger) else b"ACK"
    until_date = (b"MSH", marks.encoding_characters, of(5), of(6), of(3), of(4), b"")
    since_control_id = [b"", of(11) or b"P", of(12) or _DEFAULT_VERSION]
    if of(18):
        since_control_id += [b""] * 5 + [of(18)]
    msa = (b"MSA", code.value.encode("ascii"), b"")
    return AckTemplate(
        writer=writer,
        until_date=mark.join(until_date),
        until_control_id=mark.join((b"", b"", kind, b"")),
        until_answered=mark.join(since_control_id) + b"\r" + mark.join(msa),
    )


def _position(location: str) -> list[bytes]:
    """Segment, occurrence, field, repetition, component, subcomponent (ERL); [] when it is no path."""
    found = _LOCATION.match(location)
    if found is None:
        return []
    segment, occurrence, number, repetition, component, sub = found.groups(default="")
    numbers = (occurrence or "1", number, repetition or ("1" if number else ""), component, sub)
    return [part.encode("ascii") for part in (segment, *numbers)]


def _err(error: AckError, writer: _Writer) -> bytes:
    code, meaning = error.condition.value
    position = _position(error.location)
    fields = [
        b"ERR",
        b"",
        writer.join(*position) if position else b"",
        writer.join(code.encode("ascii"), meaning.encode("ascii"), b"HL70357"),
        error.severity.encode("ascii"),
        b"",
        b"",
        b"",
        writer.text(error.text),
    ]
    return writer.marks.field.join(fields)


def _old_err(error: AckError, writer: _Writer) -> bytes:
    code, meaning = error.condition.value
    segment, occurrence, number, *_ = _position(error.location) or [b"", b"", b""]
    mark = writer.marks.subcomponent
    coded = [code.encode("ascii"), meaning.encode("ascii"), b"HL70357"]
    coding = mark.join(coded) if mark else coded[0]
    return writer.marks.field.join([b"ERR", writer.join(segment, occurrence, number, coding)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledgement:
    """A peer's answer. Its texts may hold patient data that the peer put there: keep them out of logs."""

    code: AckCode
    control_id: str
    """MSA-2: the control id of the message that is answered."""
    control_id_bytes: bytes = field(repr=False)
    text: str = field(default="", repr=False)
    """MSA-3, else ERR-8, else ERR-7."""
    error_location: str = field(default="", repr=False)
    """ERR-2 as sent (ERL), or ERR-1 before 2.5."""
    error_code: str = field(default="", repr=False)
    """ERR-3.1."""
    severity: str = field(default="", repr=False)

    def answers(self, header: Header) -> bool:
        """Whether MSA-2 is, byte for byte, the control id of the message. An empty id answers nothing."""
        return bool(self.control_id_bytes) and self.control_id_bytes == header.raw(10)


def parse_acknowledgement(raw: bytes) -> Acknowledgement:
    """Read a peer's answer: MSA-1 (spaces and case forgiven), MSA-2 exactly, and what ERR says of the reason.

    Raises `AcknowledgementMalformed` when there is no MSA or its code is not of table 0008, and `Hl7Error` without MSH.
    """
    header = peek(raw)
    if header.wide:
        raw = header.wide.decode(raw).encode()
    found: dict[bytes, list[bytes]] = {}
    body = raw[header.end :].rstrip(b"\x1c\r\n").replace(b"\n", b"\r")
    for line in body.split(b"\r"):
        if line.startswith((b"MSA", b"ERR")):
            fields = line.split(header.delimiters.field, 12)
            if len(fields[0]) == 3:
                found.setdefault(fields[0], fields)
    if b"MSA" not in found:
        raise AcknowledgementMalformed("the answer has no MSA segment", location="MSA")
    return _acknowledgement(header, found[b"MSA"], found.get(b"ERR", []))


def _acknowledgement(header: Header, msa: list[bytes], err: list[bytes]) -> Acknowledgement:
    def text(fields: list[bytes], number: int) -> str:
        value = fields[number] if number < len(fields) else b""
        return unescape(_decoded(value), header.delimiters).strip() if value else ""

    code = _PLAIN_CODES.get(msa[1] if len(msa) > 1 else b"") or _CODES.get(text(msa, 1).upper())
    if code is None:
        raise AcknowledgementMalformed(
            f"the code is none of {', '.join(AckCode)} (HL7 table 0008)", location="MSA-1"
        )
    own = msa[2] if len(msa) > 2 else b""
    if not err:
        return Acknowledgement(
            code=code, control_id=_decoded(own), control_id_bytes=own, text=text(msa, 3)
        )
    component = header.delimiters.component.decode("ascii")
    coded = text(err, 3)
    return Acknowledgement(
        code=code,
        control_id=_decoded(own),
        control_id_bytes=own,
        text=text(msa, 3) or text(err, 8) or text(err, 7),
        error_location=text(err, 2) or text(err, 1),
        error_code=coded.partition(component)[0] if component else coded,
        severity=text(err, 4),
    )


def _decoded(raw: bytes) -> str:
    if raw.isascii():
        return raw.decode("ascii")
    return raw.decode("utf-8" if UTF_8.accepts(raw) else "latin-1")


__all__ = [
    "AckCode",
    "AckError",
    "AckTemplate",
    "Acknowledgement",
    "Condition",
    "build_acknowledgement",
    "parse_acknowledgement",
]
