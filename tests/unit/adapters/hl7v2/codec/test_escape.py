from __future__ import annotations

import pytest

from adapters.hl7v2.codec.delimiters import DEFAULT_DELIMITERS, delimiters_of
from adapters.hl7v2.codec.errors import DelimitersRefused
from adapters.hl7v2.codec.escape import escape, unescape

MARKS = DEFAULT_DELIMITERS
TRUNCATING = delimiters_of(b"|", b"^~\\&#")


def utf_8(raw: bytes) -> str:
    return raw.decode()


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ("", ""),
        ("plain", "plain"),
        (r"\F\\S\\R\\E\\T" + "\\", r"|^~\&"),
        (r"a\.br\b\.sp\c\.sp3\d\.sp+2\e", "a\nb\nc\n\n\nd\n\ne"),
        (r"\.sp99\ \.in+4\ \.fi\ ", r"\.sp99\ \.in+4\ \.fi\ "),
        (r"\C2842\ \M2842\ \M284242" + "\\", r"\C2842\ \M2842\ \M284242" + "\\"),
        (r"\Zxx\F\R\b", r"\Zxx\F~b"),
        (r"C:\dir\sub\F\x", r"C:\dir\sub|x"),
        ("\\", "\\"),
        ("\\\\", "\\\\"),
        ("a\\", "a\\"),
        ("\\F", "\\F"),
        (r"\X41\b", "Ab"),
        (r"\XC3\\XA9" + "\\", "é"),
        (r"\XC3A9\x", "éx"),
        (r"\XC3\x", r"\XC3\x"),
        (r"\XC3\\XC3\x", r"\XC3\\XC3\x"),
        (r"\X4\x", r"\X4\x"),
        (r"\X\x", r"\X\x"),
        (r"\X41 42\x", r"\X41 42\x"),
        (r"\P\x", r"\P\x"),
        (r"\H\bold\N" + "\\", "bold"),
    ],
)
def test_unescape(sent: str, meant: str) -> None:
    assert unescape(sent, MARKS, utf_8) == meant


def test_bytes_beyond_ascii_need_a_charset() -> None:
    assert unescape(r"\XC3A9" + "\\", MARKS) == r"\XC3A9" + "\\"


def test_truncation_character_is_escaped_at_the_end_only() -> None:
    assert escape("#1#", TRUNCATING) == "#1\\P\\"
    assert unescape("#1\\P\\", TRUNCATING) == "#1#"
    assert escape("#1#", MARKS) == "#1#"


def test_control_characters_cannot_break_segments_or_frames() -> None:
    escaped = escape("a\rb\nc\x0b\x1c\td", MARKS)
    assert escaped == r"a\X0D\b\X0A\c\X0B\\X1C\ ".rstrip() + "\td"
    assert unescape(escaped, MARKS) == "a\rb\nc\x0b\x1c\td"


def test_without_an_escape_character_nothing_can_be_escaped() -> None:
    marks = delimiters_of(b"\\", b"^~")
    assert marks.escape == b""
    assert unescape("a\\F\\", marks) == "a\\F\\"
    assert escape("plain", marks) == "plain"
    with pytest.raises(DelimitersRefused):
        escape("a^b", marks)
