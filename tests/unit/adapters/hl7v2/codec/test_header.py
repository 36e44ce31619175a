from __future__ import annotations

import pytest

from adapters.hl7v2.codec.errors import (
    CharsetError,
    DelimitersRefused,
    HeaderMissing,
    Hl7Error,
    LimitExceeded,
)
from adapters.hl7v2.codec.header import peek, peek_batch
from adapters.hl7v2.codec.limits import MAX_HEADER_BYTES

MSH = (
    b"MSH|^~\\&|EMR^1.2^ISO|MAIN|HIS|NORTH|20240101120000||ADT^A01^ADT_A01|CTL-1|P^T|2.5.1^USA"
    b"|||AL|NE||UNICODE UTF-8~ISO IR87"
)
RAW = MSH + b"\rPID|1||1\r"


def test_every_field_that_routing_and_acknowledging_need_is_read() -> None:
    header = peek(RAW)
    assert header.sending_application == "EMR^1.2^ISO"
    assert header.sending_facility == "MAIN"
    assert header.receiving_application == "HIS"
    assert header.receiving_facility == "NORTH"
    assert header.date == "20240101120000"
    assert (header.message_code, header.trigger, header.structure) == ("ADT", "A01", "ADT_A01")
    assert header.message_type == "ADT^A01"
    assert header.control_id == "CTL-1"
    assert header.processing_id == "P"
    assert header.version == "2.5.1"
    assert header.accept_acknowledgement == "AL"
    assert header.application_acknowledgement == "NE"
    assert header.charset_names == ("UNICODE UTF-8", "ISO IR87")
    assert header.raw(3, 2) == b"1.2"
    assert header.raw(3, 9) == b""
    assert header.raw(99) == b""
    assert RAW[header.start : header.end] == MSH


@pytest.mark.parametrize(
    "prefix", [b"", b"\xef\xbb\xbf", b"\x0b", b"\r\n\r\n", b"\x0b\xef\xbb\xbf", b" \t\0"]
)
@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n", b"", b"\x1c\r"])
def test_noise_around_the_segment_is_tolerated(prefix: bytes, end: bytes) -> None:
    header = peek(prefix + MSH + end)
    assert header.control_id == "CTL-1"
    assert header.charset_names[-1] == "ISO IR87"
    assert header.start == len(prefix)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\r",
        b"PID|1",
        b"msh|^~\\&",
        b"M",
        b"MSH",
        b"FHS|^~\\&\rMSH|^~\\&",
        b"xMSH|^~\\&|",
        b"\xff\xfeA\0",
    ],
)
def test_bytes_without_a_header_are_named_so(raw: bytes) -> None:
    with pytest.raises(HeaderMissing):
        peek(raw)


def test_a_batch_is_told_to_be_split() -> None:
    with pytest.raises(HeaderMissing, match="split batches"):
        peek(b"BHS|^~\\&\r" + RAW)


@pytest.mark.parametrize(
    "raw",
    [
        b"MSHA^~\\&A",
        b"MSH ^~\\& A",
        b"MSH\r^~\\&",
        b"MSH|^^\\&|",
        b"MSH|^~\\&#!|",
        b"MSH|^\xe4\\&|",
        b"MSH|ab|",
    ],
)
def test_unusable_delimiters_are_refused(raw: bytes) -> None:
    with pytest.raises(Hl7Error) as caught:
        peek(raw)
    assert isinstance(caught.value, DelimitersRefused | HeaderMissing)


def test_missing_delimiters_get_their_usual_value_unless_it_is_taken() -> None:
    assert peek(b"MSH|^").delimiters.subcomponent == b"&"
    assert peek(b"MSH|").delimiters.encoding_characters == b""
    assert peek(b"MSH||A").delimiters.component == b"^"
    taken = peek(b"MSH&^~&A").delimiters
    assert taken.field == b"&"
    assert taken.subcomponent == b""
    assert peek(b"MSH|^~\\&#|A").delimiters.truncation == b"#"
    assert peek(b"MSH^~|\\&^A^B").delimiters.repetition == b"|"


def test_a_header_without_end_is_bounded() -> None:
    with pytest.raises(LimitExceeded):
        peek(b"MSH|^~\\&|" + b"A" * MAX_HEADER_BYTES * 2)


def test_a_header_longer_than_the_first_25_fields_is_read() -> None:
    header = peek(b"MSH|^~\\&|" + b"x|" * 60)
    assert header.raw(25) == b"x"
    assert header.raw(26) == b""


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_utf_16_is_seen_and_read(codec: str, mark: str) -> None:
    raw = (mark + "MSH|^~\\&|Müller|李|||20240101||ADT^A01|1|P|2.5\rPID|1||x\r").encode(codec)
    header = peek(raw)
    assert header.wide is not None
    assert header.sending_application == "Müller"
    assert header.sending_facility == "李"


def test_utf_16_that_is_none_is_an_error() -> None:
    with pytest.raises(CharsetError) as caught:
        peek(b"\xff\xfe\x00\xdc\x00\xdcM\0S\0H\0|\0")
    assert caught.value.location == "MSH"


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("UNICODE UTF-8", "utf-8"),
        ("8859/1", "latin-1"),
        ("", "utf-8"),
        ("GB 18030-2000", "gb18030"),
        ("ASCII~ISO IR87", "iso2022_jp"),
        ("BIG-5", "big5"),
        ("NO SUCH SET", "utf-8"),
    ],
)
def test_names_are_shown_in_the_declared_set(name: str, codec: str) -> None:
    shown = "Müller" if codec in ("utf-8", "latin-1") else "功蛋東"
    raw = f"MSH|^~\\&|{shown}|F|||2024||ADT^A01|1|P|2.5||||||{name}\r".encode(codec)
    header = peek(raw)
    assert header.sending_application == shown
    assert header.sending_facility == "F"
    assert header.control_id == "1"


def test_a_delimiter_byte_inside_a_character_moves_nothing() -> None:
    character = b"\x81|".decode("gb18030")
    for declared, default in (("GB 18030-2000", None), ("", "GB 18030-2000")):
        raw = f"MSH|^~\\&|{character}|F|||2024||ADT^A01|ID|P|2.5||||||{declared}\r".encode(
            "gb18030"
        )
        header = peek(raw, charset=default)
        assert header.sending_application == character
        assert header.control_id == "ID"
        assert header.charset_names == ((declared,) if declared else ())


def test_text_in_no_known_set_is_shown_as_latin_1() -> None:
    header = peek(b"MSH|^~\\&|M\xfcller|||||||1\r")
    assert header.sending_application == "Müller"
    assert header.raw(3) == b"M\xfcller"


@pytest.mark.parametrize(
    ("field", "shown"),
    [
        (b"ADT^A01^ADT_A01", "ADT^A01"),
        (b"ACK", "ACK"),
        (b"ZDS^Z01", "ZDS^Z01"),
        (b"PPR^PC1", "PPR^PC1"),
        (b"ORU^ZZ9", "ORU^ZZ9"),
        (b"MULLER^HANS", "unknown"),
        (b"ANN^LEE", "unknown"),
        (b"ADT^LEE", "unknown"),
        (b"adt^a01", "unknown"),
        (b"ADT^A01\n", "ADT^A01"),
        (b"", "unknown"),
        (b"M\xfcl^A01", "unknown"),
    ],
)
def test_the_displayed_type_is_never_free_text(field: bytes, shown: str) -> None:
    raw = b"MSH|^~\\&|||||||" + field + (b"" if field.endswith(b"\n") else b"|1|P|2.5\r")
    assert peek(raw).message_type == shown


def test_errors_never_repeat_content() -> None:
    secret = b"OKAFOR"
    for raw in (secret, b"MSH" + secret, b"MSH|" + secret + b"|x", b"MSH|^~\\&|" + secret * 9000):
        with pytest.raises(Hl7Error) as caught:
            peek(raw)
        assert "OKAFOR" not in str(caught.value)
        assert "OKAFOR" not in repr(caught.value)


@pytest.mark.parametrize("segment", [b"FHS", b"BHS"])
def test_header_of_a_batch_has_what_an_answer_needs(segment: bytes) -> None:
    header = peek_batch(segment + b"|^~\\&|LAB|NORTH|HIS|SOUTH|20260101||name||B77\rMSH|^~\\&|X\r")
    assert [header.raw(n) for n in (3, 4, 5, 6, 10)] == [b"LAB", b"NORTH", b"HIS", b"SOUTH", b"B77"]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"MSH|^~\\&|A\r",
        b"FHS",
        b"BHSX",
        b"FHSFHSFHS",
        b"BTS|1\r",
        b"FHS|" + bytes(20_000),
    ],
)
def test_bytes_without_a_usable_batch_header_are_an_error_of_ours(raw: bytes) -> None:
    with pytest.raises(Hl7Error):
        peek_batch(raw)
