"""Public sample messages: nothing of them changes, and python-hl7 agrees where it is right."""

from __future__ import annotations

import re
from collections.abc import Iterator

import hl7
import pytest

from adapters.hl7v2.codec.errors import Hl7Error
from adapters.hl7v2.codec.header import peek
from adapters.hl7v2.codec.message import Message
from adapters.hl7v2.codec.patient import patient_key
from tests.unit.adapters.hl7v2.codec.corpus import files, messages

_LINE_END = re.compile("\r\n|\r|\n")


def test_every_sample_comes_back_byte_for_byte() -> None:
    seen = messages()
    assert len(seen) > 440
    for raw in seen:
        message = Message.parse(raw)
        assert message.to_bytes() is raw
        # the same through the encoder: each segment is split, joined and put back
        for segment in message.segments():
            assert segment.fields
            segment.is_edited = True
        message._edited = True
        assert message.to_bytes() == raw


def test_every_byte_of_the_sample_files_is_accounted_for() -> None:
    """Messages are found by a plain count of lines that start with MSH, in files that are all messages."""
    for path in files():
        raw = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
        if not raw.startswith(b"MSH"):
            continue
        starts = re.findall(rb"(?m)(?:^|\r)MSH[|^]", raw)
        assert sum(message in raw for message in messages() if message[:200] in raw) >= len(starts)


def test_every_sample_in_any_line_ending_says_the_same() -> None:
    for raw in messages():
        lines = _LINE_END.split(raw.decode())
        wanted = [segment.fields for segment in Message.parse(raw, charset="UTF-8").segments()]
        for end in ("\r", "\n", "\r\n"):
            other = Message.parse(end.join(lines).encode())
            assert [segment.fields for segment in other.segments()] == wanted


def test_every_sample_has_a_header_and_a_key_that_the_parser_agrees_with() -> None:
    for raw in messages():
        header, message = peek(raw), Message.parse(raw, charset="UTF-8")
        assert header.control_id == message.get("MSH-10")
        assert header.message_code == message.get("MSH-9.1")
        key = patient_key(raw)
        identifiers = [one.encode() for one in message.get_all("PID[1]-3.1") if one.strip()]
        if identifiers:
            assert key is not None
            assert key.startswith(identifiers[0] + b"^")


def leaves(parsed: hl7.Message) -> Iterator[tuple[str, int, int, int, int, int]]:
    """The address of every leaf that python-hl7 finds, all from 1."""
    seen: dict[str, int] = {}
    for segment in parsed:
        name = str(segment[0])
        seen[name] = seen.get(name, 0) + 1
        for number, field in enumerate(segment):
            for repetition, content in enumerate(field if number else (), 1):
                if not isinstance(content, hl7.Repetition):
                    yield name, seen[name], number, repetition, 1, 1
                    continue
                for component, parts in enumerate(content, 1):
                    count = len(parts) if isinstance(parts, hl7.Component) else 1
                    for sub in range(1, count + 1):
                        yield name, seen[name], number, repetition, component, sub


def test_python_hl7_reads_the_same_leaves() -> None:
    compared = 0
    for raw in messages()[::4]:
        text = "\r".join(
            line for line in _LINE_END.split(raw.decode()) if re.match(r"\w{3}\|", line)
        )
        # known faults of the oracle: it drops unknown and lone escapes, and splits MSH-2
        if not text.startswith("MSH|^~\\&") or "\\" in text[8:]:
            continue
        message = Message.parse(text.encode(), charset="UTF-8")
        parsed = hl7.parse(text)
        for name, occurrence, number, repetition, component, sub in leaves(parsed):
            if name == "MSH" and number <= 2:
                continue
            path = f"{name}[{occurrence}]-{number}[{repetition}].{component}.{sub}"
            oracle = parsed.extract_field(name, occurrence, number, repetition, component, sub)
            assert message.get(path) == oracle, path
            compared += 1
    assert compared > 5_000


@pytest.mark.parametrize("codec", ["utf-8", "gb18030", "utf-16-le"])
def test_a_message_cut_at_any_byte_is_a_message_or_an_error(codec: str) -> None:
    chosen = [raw for raw in messages() if len(raw) < 1_500][::25][:8]
    assert len(chosen) >= 4
    for raw in chosen:
        other = raw.decode().replace("UNICODE UTF-8", "GB 18030-2000").encode(codec)
        for stop in range(len(other)):
            part = other[:stop]
            try:
                message = Message.parse(part)
            except Hl7Error:
                continue
            assert message.to_bytes() is part
            for path in ("MSH-10", "PID-3.1", "PID-5.1", "OBX[*]-5"):
                try:
                    message.get_all(path)
                except Hl7Error:
                    continue
