"""What a v2 parser must get right, case by case, and input that is meant to hurt it."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest

from adapters.hl7v2.codec.errors import LimitExceeded
from adapters.hl7v2.codec.limits import Limits
from adapters.hl7v2.codec.message import Message

HEADER = b"MSH|^~\\&|A|B|C|D|20240101||ADT^A01^ADT_A01|1|P|2.5||||||UNICODE UTF-8\r"


def with_patient(value: str) -> bytes:
    return HEADER + b"PID|1||" + value.encode() + b"\r"


CASES = {
    "escapes F S R T E": (with_patient(r"a\F\b\S\c\R\d\T\e\E\f"), "PID-3.1.1", "a|b^c~d&e\\f"),
    "escape X0D0A": (with_patient(r"a\X0D0A\b"), "PID-3", "a\r\nb"),
    "escape .br": (with_patient(r"a\.br\b"), "PID-3.1", "a\nb"),
    "escapes H and N drop": (with_patient(r"a\H\b\N\c"), "PID-3", "abc"),
    "unknown escape kept": (with_patient(r"a\Zxx\b"), "PID-3", r"a\Zxx\b"),
    "lone backslash kept": (with_patient(r"C:\dir"), "PID-3", r"C:\dir"),
    "repetition and subcomponent": (with_patient("1^^^X&Y&Z~2^^^P&Q&R"), "PID-3[2].4.2", "Q"),
    "whole value as component 1": (with_patient("abc"), "PID-3.1.1", "abc"),
    "absent component": (with_patient("abc"), "PID-3.4.1", ""),
    "null": (with_patient('""'), "PID-3", '""'),
    "custom delimiters": (
        b"MSH!*%@+!A!B!C!D!2024!!ADT*A01!1!P!2.5\rPID!1!!x*y+z%q*w\r",
        "PID-3.2.2",
        "z",
    ),
    "5-character MSH-2": (b"MSH|^~\\&#|A|B|C|D|2024||ADT^A01|1|P|2.5\rPID|1||x\r", "PID-3", "x"),
    "2-character MSH-2": (b"MSH|^~|A|B|C|D|2024||ADT^A01|1|P|2.5\rPID|1||x^y\r", "PID-3.2", "y"),
    "MSH-3": (with_patient("x"), "MSH-3", "A"),
    "MSH-1": (with_patient("x"), "MSH-1", "|"),
    "MSH-2 not unescaped": (with_patient("x"), "MSH-2", "^~\\&"),
    "LF endings": (with_patient("x").replace(b"\r", b"\n"), "PID-3", "x"),
    "CRLF endings": (with_patient("x").replace(b"\r", b"\r\n"), "PID-3", "x"),
    "leading BOM": (b"\xef\xbb\xbf" + with_patient("x"), "PID-3", "x"),
    "MLLP frame left on": (b"\x0b" + with_patient("x") + b"\x1c\r", "PID-3", "x"),
    "blank lines": (HEADER + b"\r\rPID|1||x\r", "PID-3", "x"),
    "Z segment": (HEADER + b"ZPV|a^b|c\r", "ZPV-1.2", "b"),
    "truncated MSH": (b"MSH|^~\\&|A\r", "MSH-3", "A"),
    "no trailing CR": (with_patient("x").rstrip(b"\r"), "PID-3", "x"),
    "bare PID": (HEADER + b"PID\r", "PID-3", ""),
    "junk line": (HEADER + b"garbage line\rPID|1||x\r", "PID-3", "x"),
    "non-ASCII": (with_patient("Müller^李"), "PID-3.2", "李"),
}


@pytest.mark.parametrize("name", CASES)
def test_case_is_read_right_and_bytes_come_back(name: str) -> None:
    raw, path, wanted = CASES[name]
    message = Message.parse(raw)
    assert message.get(path) == wanted
    assert message.to_bytes() is raw


HOSTILE: dict[str, tuple[Callable[[int], bytes], str, int]] = {
    "4 MB document": (
        lambda n: with_patient("x") + b"OBX|1|ED|a^b||^IM^PDF^Base64^" + b"QUJD" * n,
        "OBX-5.5",
        1_000_000,
    ),
    "repetitions": (lambda n: with_patient("~".join(["a^b&c"] * n)), "PID-3[2].2.2", 20_000),
    "segments": (lambda n: with_patient("x") + b"OBX|1|NM|a^b||1\r" * n, "OBX[20000]-3.2", 20_000),
    "escapes": (lambda n: with_patient("\\F\\" * n), "PID-3", 100_000),
    "escape characters": (lambda n: with_patient("\\" * n), "PID-3", 100_000),
    "hexadecimal escapes": (lambda n: with_patient("\\XC3\\" * n), "PID-3", 100_000),
    "components": (lambda n: with_patient("^" * n), "PID-3.2", 20_000),
    "blank lines": (lambda n: HEADER + b"\r" * n, "MSH-3", 60_000),
    "junk lines": (lambda n: HEADER + b"?\r" * n, "MSH-3", 60_000),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_input_takes_memory_in_proportion_to_its_size(name: str) -> None:
    make, path, size = HOSTILE[name]
    raw = make(size)
    tracemalloc.start()
    message = Message.parse(raw)
    message.get(path)
    assert message.to_bytes() is raw
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # a line or an escape costs an object of some 40 to 90 bytes
    pieces = 1 + max(raw.count(mark) for mark in (b"\r", b"\\", b"~", b"^"))
    assert peak < 4 * len(raw) + 400 * pieces


def test_every_repetition_is_split_once() -> None:
    message = Message.parse(with_patient("~".join(["a"] * 20_000)))
    segment = message.segments("PID")[0]
    first = segment.repetitions(3)
    assert all(message.get(f"PID-3[{i}]") == "a" for i in range(1, 20_001))
    assert segment.repetitions(3) is first


@pytest.mark.parametrize(
    ("limits", "path"),
    [
        (Limits(max_repetitions=10), "PID-3"),
        (Limits(max_field_bytes=20), "PID-3"),
        (Limits(max_fields=3), "PID-3"),
    ],
)
def test_limits_hold_before_a_field_is_split(limits: Limits, path: str) -> None:
    message = Message.parse(HEADER + b"PID|1||" + b"a~" * 20 + b"|||\r", limits=limits)
    with pytest.raises(LimitExceeded) as caught:
        message.get(path)
    assert caught.value.location.startswith("PID")


def test_a_field_without_repetitions_is_bounded_too() -> None:
    message = Message.parse(HEADER + b"PID|1||" + b"a" * 30, limits=Limits(max_field_bytes=20))
    with pytest.raises(LimitExceeded, match="bytes in a field"):
        message.get("PID-3")


def test_limits_hold_before_a_message_is_cut() -> None:
    with pytest.raises(LimitExceeded, match="bytes in the message"):
        Message.parse(HEADER, limits=Limits(max_message_bytes=10))
    for end in (b"\r", b"\n", b"\r\n"):
        raw = HEADER.replace(b"\r", end) + (b"NTE|1" + end) * 20
        with pytest.raises(LimitExceeded, match="segments"):
            Message.parse(raw, limits=Limits(max_segments=10))
    mixed = HEADER + b"NTE|1\r\n" + b"NTE|1\r" * 20
    with pytest.raises(LimitExceeded, match="segments"):
        Message.parse(mixed, limits=Limits(max_segments=10))
