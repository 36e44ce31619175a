"""Registered functions: what they give of what."""

from __future__ import annotations

from datetime import timedelta, timezone

import pytest

from adapters.hl7v2.codec import Message
from adapters.hl7v2.mapping import DecimalText, MapContext, to_json
from adapters.hl7v2.mapping.frames import Entry, Env, Frame, Scope, View
from adapters.hl7v2.mapping.functions import FUNCTIONS
from tests.unit.adapters.hl7v2.mapping.standin import MSH

ZONE = timezone(timedelta(hours=-3, minutes=-30))


def frame(parts: list[str | list[str]], *, zoned: bool = False) -> Frame:
    """A frame on a value."""
    message = Message.parse(MSH.encode())
    env = Env(message, MapContext(tenant="north", zone=ZONE if zoned else None))
    view = View(env, message.segments()[0], Scope("", None, 0), 0, 1)
    return Frame(env, Entry("Patient", "patient", view, 0), view, {}, parts, 3, 1)


def text(name: str, value: str, *, zoned: bool = False) -> object:
    """Call a text function."""
    function = FUNCTIONS[name].text
    assert function is not None
    return function(value, frame([value], zoned=zoned))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("dateTime", "2026", "2026"),
        ("dateTime", "202601", "2026-01"),
        ("dateTime", "20260102", "2026-01-02"),
        ("dateTime", "2026010203", "2026-01-02"),
        ("dateTime", "202601020304", "2026-01-02"),
        ("dateTime", "202601020304+0530", "2026-01-02T03:04:00+05:30"),
        ("dateTime", "20260102030405.120-0800", "2026-01-02T03:04:05.120-08:00"),
        ("dateTime", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
        ("date", "20260102030405", "2026-01-02"),
        ("instant", "20260102", None),
        ("instant", "20260102030405+0000", "2026-01-02T03:04:05+00:00"),
        ("time", "0304", "03:04:00"),
        ("boolean", "Y", True),
        ("positiveInt", "007", 7),
        ("oid_uri", "1.2.840", "urn:oid:1.2.840"),
        ("system", "HL70001", "http://terminology.hl7.org/CodeSystem/v2-0001"),
        ("system", "99LAB", None),
        ("range_low", "3.5-5.0", 3.5),
        ("range_high", "3.5 - 5.0", 5.0),
        ("range_high", "< 5", None),
        ("code", "a  b", "a b"),
    ],
)
def test_text_becomes(name: str, value: str, expected: object) -> None:
    assert text(name, value) == expected


def test_zone_of_the_link_is_taken() -> None:
    assert text("dateTime", "202601020304", zoned=True) == "2026-01-02T03:04:00-03:30"


@pytest.mark.parametrize(
    ("name", "value"),
    [("date", "20260230"), ("date", "00000000"), ("dateTime", "202601022504+0100"), ("dateTime", "yesterday"),
     ("dateTime", "202601020304+2500"), ("time", "2504"), ("boolean", "maybe"), ("integer", "1.5"),
     ("positiveInt", "0"), ("decimal", "1e5"), ("decimal", ""), ("decimal", "."), ("uri", "a b"), ("oid_uri", "1.x"),
     ("base64Binary", "%%%")],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_without_its_value(name: str, value: str) -> None:
    with pytest.raises(ValueError) as caught:  # its text is looked at
        text(name, value)
    assert not value or len(value) < 3 or value not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "written"),
    [("1.10", "1.10"), ("+.50", "0.50"), ("007", "7"), ("-0.0", "-0.0"), ("5.", "5")],
)
def test_decimal_keeps_its_digits(given: str, written: str) -> None:
    assert to_json(DecimalText.parse(given)).decode() == written


@pytest.mark.parametrize(
    ("name", "parts", "expected"),
    [
        ("hd_uri", ["N", "1.2.3", "ISO"], "urn:oid:1.2.3"),
        ("hd_uri", ["N", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "UUID"],
         "urn:uuid:a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ("hd_uri", ["N", "lab.example.org", "DNS"], "http://lab.example.org"),
        ("hd_uri", ["N", "lab", "L"], None),
        ("hd_uri", ["N"], None),
        ("words", ["A", ["1", "x"], "", "2"], "A 1 x 2"),
        ("xtn_number", ["", "", "", "", "49", "30", "1234", "5"], "+49 (30) 1234 ext. 5"),
        ("xtn_number", ["555"], "555"),
        ("ed_data", ["", "", "", "A", "hi"], "aGk="),
        ("ed_data", ["", "", "", "Hex", "6869"], "aGk="),
        ("ed_data", ["", "", "", "Base64", "aG\nk="], "aGk="),
        ("ed_type", ["", "AP", "PDF"], "application/pdf"),
        ("ed_type", ["", "text", "x-note"], "text/x-note"),
        ("ed_type", ["", "AP", "what"], None),
        ("reference_url", ["https://pacs.example/1"], "https://pacs.example/1"),
    ],
)  # fmt: skip
def test_value_becomes(name: str, parts: list[str | list[str]], expected: object) -> None:
    function = FUNCTIONS[name].value
    assert function is not None
    assert function(frame(parts)) == expected
