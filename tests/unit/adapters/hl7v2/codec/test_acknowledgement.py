from __future__ import annotations

import pytest

from adapters.hl7v2.codec.acknowledgement import (
    AckCode,
    AckError,
    Condition,
    build_acknowledgement,
    parse_acknowledgement,
)
from adapters.hl7v2.codec.errors import (
    AcknowledgementMalformed,
    CharsetError,
    DelimitersRefused,
    HeaderMissing,
    Hl7Error,
    LimitExceeded,
    PathError,
)
from adapters.hl7v2.codec.header import peek
from adapters.hl7v2.codec.message import Message

NOW_MS = 1_800_000_000_123


def header_bytes(version: str = "2.5.1", charset: str = "", control_id: str = "CTL-1") -> bytes:
    return (
        f"MSH|^~\\&|EMR|MAIN|HIS|NORTH|2024||ADT^A01^ADT_A01|{control_id}|T|{version}"
        f"|||AL|NE||{charset}\rPID|1||1\r"
    ).encode()


def test_an_acknowledgement_answers_byte_for_byte() -> None:
    raw = build_acknowledgement(peek(header_bytes()), AckCode.AA, control_id="OWN-7", now_ms=NOW_MS)
    assert raw == (
        b"MSH|^~\\&|HIS|NORTH|EMR|MAIN|20270115080000.123+0000||ACK^A01^ACK|OWN-7|T|2.5.1\r"
        b"MSA|AA|CTL-1\r"
    )


def test_delimiters_version_and_charset_are_the_message_s() -> None:
    raw = "MSH!*%@+!Mü!B!C!D!2024!!ADT*A01!1!P!2.3!!!!!!8859/1\r".encode("latin-1")
    answer = build_acknowledgement(
        peek(raw), AckCode.AE, control_id="2", now_ms=NOW_MS, text="no! ü 李"
    )
    assert answer.startswith(b"MSH!*%@+!C!D!M\xfc!B!")
    message = Message.parse(answer)
    assert message.get("MSH-5") == "Mü"
    assert message.get("MSH-12") == "2.3"
    assert message.get("MSH-18") == "8859/1"
    assert message.get("MSA-3") == "no! ü ?"


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
def test_a_wide_message_gets_a_wide_answer(codec: str) -> None:
    header = peek(header_bytes().decode().replace("EMR", "李").encode(codec))
    answer = build_acknowledgement(header, AckCode.AA, control_id="2", now_ms=NOW_MS)
    assert Message.parse(answer).get("MSH-5") == "李"
    assert answer.decode(codec).startswith("MSH|")


def test_an_answer_in_a_set_whose_characters_hold_delimiters() -> None:
    name = b"\x81|".decode("gb18030")
    raw = header_bytes(charset="GB 18030-2000").decode().replace("EMR", name).encode("gb18030")
    answer = build_acknowledgement(
        peek(raw), AckCode.AE, control_id="2", now_ms=NOW_MS, text="李 \udc80"
    )
    assert Message.parse(answer).get("MSH-5") == name
    assert Message.parse(answer).get("MSA-3") == "李 ?"
    assert b"|\x81|" in answer


def test_a_character_that_a_japanese_answer_lacks_becomes_a_question_mark() -> None:
    raw = (
        header_bytes(charset="ASCII~ISO IR87").decode().replace("EMR", "山田").encode("iso2022_jp")
    )
    answer = build_acknowledgement(
        peek(raw), AckCode.AE, control_id="2", now_ms=NOW_MS, text="山 𠀀"
    )
    assert Message.parse(answer).get("MSH-5") == "山田"
    assert Message.parse(answer).get("MSA-3") == "山 ?"


@pytest.mark.parametrize(
    ("version", "text_in_msa", "err"),
    [
        ("2.3", True, b"ERR|PID^1^5^102&Data type error&HL70357"),
        ("2.4", True, b"ERR|PID^1^5^102&Data type error&HL70357"),
        ("2.5", True, b"ERR||PID^1^5^2^4^1|102^Data type error^HL70357|E||||why"),
        ("2.7", False, b"ERR||PID^1^5^2^4^1|102^Data type error^HL70357|E||||why"),
        ("", True, b"ERR||PID^1^5^2^4^1|102^Data type error^HL70357|E||||why"),
        ("x", True, b"ERR||PID^1^5^2^4^1|102^Data type error^HL70357|E||||why"),
    ],
)
def test_errors_are_written_as_the_version_has_them(
    version: str, text_in_msa: bool, err: bytes
) -> None:
    error = AckError(condition=Condition.DATA_TYPE, location="PID[1]-5[2].4.1", text="why")
    answer = build_acknowledgement(
        peek(header_bytes(version)),
        AckCode.AE,
        control_id="2",
        now_ms=NOW_MS,
        text="refused",
        errors=[error],
    )
    _, msa, shown, end = answer.split(b"\r")
    assert msa == b"MSA|AE|CTL-1" + (b"|refused" if text_in_msa else b"")
    assert (shown, end) == (err, b"")


def test_a_refusal_with_a_text_says_it_in_err_too() -> None:
    header = peek(header_bytes("2.8"))
    answer = build_acknowledgement(
        header, AckCode.CR, control_id="2", now_ms=NOW_MS, text="disk is full"
    )
    assert parse_acknowledgement(answer).text == "disk is full"
    accepted = build_acknowledgement(
        header, AckCode.CA, control_id="2", now_ms=NOW_MS, text="thanks"
    )
    assert b"ERR" not in accepted


def test_bytes_without_a_header_can_be_answered() -> None:
    answer = build_acknowledgement(
        None,
        AckCode.AR,
        control_id="9",
        now_ms=NOW_MS,
        errors=[AckError.of(HeaderMissing("the message does not start with an MSH segment"))],
    )
    message = Message.parse(answer)
    assert message.get("MSA-1") == "AR"
    assert message.get("MSA-2") == ""
    assert message.get("ERR-3.1") == "100"
    assert message.get("MSH-9") == "ACK"


@pytest.mark.parametrize(
    ("error", "condition"),
    [
        (HeaderMissing("x"), Condition.SEGMENT_SEQUENCE),
        (LimitExceeded("x"), Condition.VALUE_TOO_LONG),
        (CharsetError("x", location="PID-5"), Condition.DATA_TYPE),
        (DelimitersRefused("x"), Condition.DATA_TYPE),
        (PathError("x"), Condition.INTERNAL),
    ],
)
def test_our_errors_become_conditions_of_table_0357(error: Hl7Error, condition: Condition) -> None:
    shown = AckError.of(error)
    assert shown.condition is condition
    assert shown.location == error.location


def test_hostile_delimiters_and_triggers_still_get_an_answer() -> None:
    for raw in (b"MSH\\^~\\2\\", b"MSH\\^~|&\\a\\b", b"MSH&^&", b"MSH~^\\|&~A~B~C~D~~~A^\x00\xff"):
        try:
            header = peek(raw)
        except Hl7Error:
            continue
        answer = build_acknowledgement(
            header,
            AckCode.AE,
            control_id="a1",
            now_ms=NOW_MS,
            text="a^b|c",
            errors=[AckError(condition=Condition.INTERNAL, location="nowhere", text="é\r")],
        )
        assert parse_acknowledgement(answer).code is AckCode.AE
    no_marks = peek(b"MSH\\^~&|\\A\\B")
    assert no_marks.delimiters.escape == b"&"
    without = peek(b"MSH\\^~\\A\\B")
    assert without.delimiters.escape == b""
    assert b"MSA\\AE\\\\a b c" in build_acknowledgement(
        without, AckCode.AE, control_id="a1", now_ms=NOW_MS, text="a^b|c"
    )


def test_without_component_marks_the_first_component_stands_alone() -> None:
    header = peek(b"MSH^\rPID^1\r")
    assert header.delimiters.component == b""
    for version in (b"2.3", b"2.5"):
        header = peek(b"MSH^^^^^^^^ADT^1^P^" + version)
        answer = build_acknowledgement(
            header,
            AckCode.AE,
            control_id="2",
            now_ms=NOW_MS,
            errors=[AckError(condition=Condition.DATA_TYPE, location="PID-5")],
        )
        assert answer.split(b"\r")[2].strip(b"^").startswith(b"ERR")


def test_a_peer_s_answer_is_read() -> None:
    raw = build_acknowledgement(
        peek(header_bytes()),
        AckCode.AE,
        control_id="2",
        now_ms=NOW_MS,
        text="a|b",
        errors=[AckError(condition=Condition.UNKNOWN_KEY, location="PID-3", text="no such")],
    )
    seen = parse_acknowledgement(raw)
    assert seen.code is AckCode.AE
    assert not seen.code.is_accepted
    assert (seen.control_id, seen.text, seen.error_code) == ("CTL-1", "a|b", "204")
    assert (seen.error_location, seen.severity) == ("PID^1^3^1", "E")


@pytest.mark.parametrize(
    ("msa", "code", "text"),
    [
        (b"MSA|AA|CTL-1", AckCode.AA, ""),
        (b"MSA| ca |CTL-1|", AckCode.CA, ""),
        (b"MSA|AR|CTL-1|why\rERR|PID^1^3^101", AckCode.AR, "why"),
        (b"ERR||||E|||diagnostic|\rMSA|AE|CTL-1", AckCode.AE, "diagnostic"),
        (b"MSA|AE|CTL-1|M\xfcller", AckCode.AE, "Müller"),
        (b"ZZZ\r\rMSA|CE|CTL-1\rMSA|AA|OTHER", AckCode.CE, ""),
    ],
)
@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n", b"\r\x1c\r", b""])
def test_everything_but_the_control_id_is_forgiven(
    msa: bytes, code: AckCode, text: str, end: bytes
) -> None:
    header = peek(header_bytes())
    seen = parse_acknowledgement(b"MSH|^~\\&|HIS\r" + msa + end)
    assert seen.code is code
    assert seen.text == text
    assert seen.answers(header)


@pytest.mark.parametrize("other", [b"", b"CTL-2", b"CTL-1 ", b"ctl-1", b"CTL-11", b"M\xfc"])
def test_another_control_id_never_answers(other: bytes) -> None:
    header = peek(header_bytes())
    seen = parse_acknowledgement(b"MSH|^~\\&|HIS\rMSA|AA|" + other + b"\r")
    assert not seen.answers(header)


def test_an_empty_control_id_answers_nothing() -> None:
    header = peek(header_bytes(control_id=""))
    assert not parse_acknowledgement(b"MSH|^~\\&|HIS\rMSA|AA\r").answers(header)


@pytest.mark.parametrize(
    "raw",
    [b"MSH|^~\\&|HIS\r", b"MSH|^~\\&|\rMSA|ok|1\r", b"MSH|^~\\&|\rMSA", b"MSH|^~\\&|\rMSAX|AA|1"],
)
def test_what_is_no_acknowledgement_is_an_error(raw: bytes) -> None:
    with pytest.raises(AcknowledgementMalformed):
        parse_acknowledgement(raw)


def test_a_wide_answer_is_read() -> None:
    seen = parse_acknowledgement("\ufeffMSH|^~\\&|李\rMSA|AA|1|李\r".encode("utf-16-le"))
    assert (seen.code, seen.text) == (AckCode.AA, "李")


def test_a_peer_s_texts_stay_out_of_repr() -> None:
    seen = parse_acknowledgement(b"MSH|^~\\&|HIS\rMSA|AE|1|OKAFOR\rERR|OKAFOR|OKAFOR|OKAFOR\r")
    assert "OKAFOR" not in repr(seen)
