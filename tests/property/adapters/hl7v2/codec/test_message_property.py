from __future__ import annotations

import string

from hypothesis import given
from hypothesis import strategies as st

from adapters.hl7v2.codec.acknowledgement import (
    AckCode,
    build_acknowledgement,
    parse_acknowledgement,
)
from adapters.hl7v2.codec.delimiters import Delimiters, delimiters_of
from adapters.hl7v2.codec.errors import CharsetError, Hl7Error
from adapters.hl7v2.codec.escape import escape, unescape
from adapters.hl7v2.codec.header import peek
from adapters.hl7v2.codec.message import Message
from adapters.hl7v2.codec.patient import patient_key

PUNCTUATION = "".join(c for c in string.punctuation if c not in '"_')
NASTY = st.sampled_from(
    [
        b"MSH|^~\\&|",
        b"PID|",
        b"\r",
        b"\n",
        b"\r\n",
        b"|",
        b"^",
        b"~",
        b"\\",
        b"&",
        b"\\F\\",
        b"\\X0D\\",
        b"\x0b",
        b"\x1c\r",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"GB 18030-2000",
        b"UNICODE UTF-8",
        b"\x1b$B",
        b"\x81|",
        b'""',
        b"A01",
        b"MSA|AA|1",
    ]
)
SOUP = st.lists(NASTY | st.binary(max_size=6), max_size=30).map(b"".join)
HEADED = SOUP.map(lambda rest: b"MSH|^~\\&|A|B|C|D|2024||ADT^A01|1|P|2.5||||||" + rest)
PATHS = ("MSH-2", "MSH-10", "PID-3.1", "PID[2]-3[2].1.2", "MSA-1", "ZZZ-1")


@st.composite
def delimiters(draw: st.DrawFn) -> Delimiters:
    marks = draw(st.lists(st.sampled_from(PUNCTUATION), min_size=5, max_size=6, unique=True))
    return delimiters_of(marks[0].encode(), "".join(marks[1:]).encode())


@given(SOUP | HEADED)
def test_any_bytes_give_a_message_or_an_error(raw: bytes) -> None:
    try:
        message = Message.parse(raw, fallback=("UNICODE UTF-8",))
    except Hl7Error:
        return
    assert message.to_bytes() is raw
    assert len(message.findings) <= 14
    for segment in message.segments():
        segment.is_edited = True
    message._edited = True
    assert message.to_bytes() == raw
    for path in PATHS:
        try:
            message.get(path)
            message.get_all(path)
            message.presence(path)
        except Hl7Error:
            continue


@given(SOUP | HEADED)
def test_any_header_can_be_acknowledged_and_its_answer_read(raw: bytes) -> None:
    try:
        header = peek(raw)
    except Hl7Error:
        return
    patient_key(raw)
    answer = build_acknowledgement(header, AckCode.AE, control_id="1", now_ms=0, text="no | ü")
    seen = parse_acknowledgement(answer)
    assert seen.code is AckCode.AE
    assert seen.control_id_bytes == header.raw(10)


@given(SOUP | HEADED)
def test_any_answer_is_read_or_refused(raw: bytes) -> None:
    try:
        seen = parse_acknowledgement(raw)
    except Hl7Error:
        return
    assert seen.code in AckCode


@given(st.text(max_size=200), delimiters())
def test_what_is_escaped_is_read_back(text: str, marks: Delimiters) -> None:
    escaped = escape(text, marks)
    assert unescape(escaped, marks) == text
    for mark in (marks.field, marks.component, marks.repetition, marks.subcomponent):
        assert mark.decode() not in escaped
    assert not set(escaped) & {"\r", "\n", "\x0b", "\x1c", "\x1b"}


@given(st.text(alphabet=st.sampled_from("\\\\abdirc:. "), max_size=60))
def test_text_without_escape_sequences_loses_nothing(text: str) -> None:
    if "\\.br\\" not in text:
        assert unescape(text, delimiters_of(b"|", b"^~\\&")) == text


COORDINATES = st.tuples(st.integers(1, 12), st.integers(1, 4), st.integers(0, 5), st.integers(0, 4))


@given(
    st.lists(st.tuples(COORDINATES, st.text(max_size=12)), max_size=12),
    delimiters(),
    st.sampled_from(["UNICODE UTF-8", "8859/1", "GB 18030-2000", "ISO IR87", "ASCII"]),
    st.sampled_from(["\r", "\n", "\r\n"]),
)
def test_what_is_set_is_got_after_a_round_over_the_wire(
    edits: list[tuple[tuple[int, int, int, int], str]], marks: Delimiters, name: str, end: str
) -> None:
    mark = marks.field.decode()
    head = ["MSH", marks.encoding_characters.decode(), *"ABCD", "2024", "", "ADT", "1", "P", "2.5"]
    raw = (mark.join([*head, "", "", "", "", "", name]) + end + f"PID{mark}1" + end).encode()
    message = Message.parse(raw)
    written: dict[str, str] = {}
    for (number, repetition, component, sub), text in edits:
        path = f"PID-{number}[{repetition}].{component or 1}"
        path += f".{sub}" if component and sub else ".1"
        try:
            message.set(path, text)
            written[path] = text
        except CharsetError:
            # only what the set may lack is refused, and nothing is written then
            written[path] = text.encode("ascii", "ignore").decode()
            message.set(path, written[path])
    again = Message.parse(message.to_bytes())
    for path, text in written.items():
        assert message.get(path) == text
        assert again.get(path) == text
    assert again.to_bytes() == message.to_bytes()
    assert [segment.name for segment in again.segments()] == ["MSH", "PID"]
