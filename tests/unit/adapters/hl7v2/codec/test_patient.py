from __future__ import annotations

import pytest

from adapters.hl7v2.codec.errors import HeaderMissing
from adapters.hl7v2.codec.header import peek
from adapters.hl7v2.codec.patient import patient_key

MSH = b"MSH|^~\\&|A|B|C|D|2024||ADT^A01|1|P|2.5\r"


@pytest.mark.parametrize(
    ("segment", "key"),
    [
        (b"PID|1||123^^^HOSP^MR", b"123^HOSP"),
        (b"PID|1||123^^^HOSP&1.2.3&ISO^MR~9^^^SSA", b"123^HOSP"),
        (b"PID|1||123^^^&1.2.3&ISO^MR", b"123^1.2.3"),
        (b"PID|1||123", b"123^"),
        (b"PID|1|| 123 ^^^ HOSP ", b"123^HOSP"),
        (b"PID|1||^^^HOSP~77^^^LAB", b"77^LAB"),
        (b'PID|1||""~77^^^LAB', b"77^LAB"),
        (b"PID|1|ext^^^OLD|", b"ext^OLD"),
        (b"PID|1|||alt", b"alt^"),
        (b'PID|1||""|alt', b"alt^"),
        (b"PID|1", None),
        (b"PID", None),
        (b"PV1|1||123", None),
        (b"", None),
    ],
)
@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n"])
def test_key_is_the_first_identifier_with_its_authority(
    segment: bytes, key: bytes | None, end: bytes
) -> None:
    raw = MSH.replace(b"\r", end) + b"EVN|A01" + end + segment + end + b"PV1|1||999" + end
    assert patient_key(raw) == key
    assert patient_key(raw, peek(raw)) == key
    assert patient_key(MSH.replace(b"\r", end) + segment) == key


@pytest.mark.parametrize("event", [b"A18", b"A34", b"A40"])
def test_a_merge_is_ordered_with_the_surviving_patient(event: bytes) -> None:
    raw = MSH.replace(b"A01", event) + b"EVN|\rPID|1||NEW^^^H\rMRG|OLD^^^H\rPID|2||X\r"
    assert patient_key(raw) == b"NEW^H"


def test_a_line_feed_is_no_line_end_in_a_message_of_carriage_returns() -> None:
    raw = MSH + b"NTE|1||see\nPID|1||wrong\rPID|1||right\r"
    assert patient_key(raw) == b"right^"


def test_a_message_of_line_feeds_may_hold_carriage_returns() -> None:
    raw = MSH.replace(b"\r", b"\n") + b"EVN|\rPID|1||mixed\r"
    assert patient_key(raw) == b"mixed^"


def test_own_delimiters_are_used() -> None:
    raw = b"MSH!*%@+!A\rPID!1!!x*y*z*HOSP+1.2\r"
    assert patient_key(raw) == b"x^HOSP"
    assert patient_key(b"MSH&^~&A\rPID&1&&x^^^HOSP\r") == b"x^HOSP"


def test_key_is_the_same_in_utf_16_and_with_delimiters_inside_characters() -> None:
    text = "MSH|^~\\&|A|B|||2024||ADT^A01|1|P|2.5||||||{}\rPID|1|{}|77^^^H\r"
    assert patient_key(text.format("", "x").encode("utf-16-le")) == b"77^H"
    inside = b"\x81|".decode("gb18030")
    for declared, default in (("GB 18030-2000", None), ("", "GB 18030-2000")):
        raw = text.format(declared, inside).encode("gb18030")
        assert patient_key(raw, charset=default) == b"77^H"
    # undecodable text leaves the bytes as they are
    assert patient_key(MSH + b"PID|1|\xff|77^^^H\r") == b"77^H"
    assert patient_key(text.format("", "x").encode("utf-16-le") + b"\0") is None


def test_no_header_is_an_error() -> None:
    with pytest.raises(HeaderMissing):
        patient_key(b"PID|1||1\r")


def test_a_flood_of_repetitions_is_not_followed() -> None:
    assert patient_key(MSH + b"PID|1||" + b"~" * 1_000_000 + b"9\r") is None
