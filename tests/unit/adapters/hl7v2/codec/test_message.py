from __future__ import annotations

import pytest

from adapters.hl7v2.codec.errors import (
    CharsetError,
    HeaderMissing,
    LimitExceeded,
    PathError,
)
from adapters.hl7v2.codec.findings import Finding, Quirk
from adapters.hl7v2.codec.limits import Limits
from adapters.hl7v2.codec.message import Message
from adapters.hl7v2.codec.segment import Presence

MSH = b"MSH|^~\\&|EMR|MAIN|HIS|NORTH|2024||ADT^A01|1|P|2.5.1||||||UNICODE UTF-8\r"
RAW = (
    MSH
    + b'PID|1||11^^^H&1.2&ISO^MR~22^^^L^LR||DOE^JANE~ROE^JANE|""|19800101|F\r'
    + b"OBX|1|NM|GLU^Glucose^LN||5.1|mmol/L\r"
    + b"OBX|2|TX|NOTE||first\nline \\T\\ more\r"
    + b"OBX|3|NM|NA||141\r"
    + b"ZPI|x^y|z\r"
)


def kinds(raw: bytes) -> dict[Quirk, tuple[int, int]]:
    return {found.quirk: (found.count, found.line) for found in Message.parse(raw).findings}


# reading


def test_occurrences_and_repetitions_are_addressed_without_groups() -> None:
    message = Message.parse(RAW)
    assert message.get("OBX[3]-5") == "141"
    assert message.get("OBX[4]-5") == ""
    assert message.get("PID-3[2].4") == "L"
    assert message.get("PID-3[*].1") == "11"
    assert message.get("PID-3[3].1") == ""
    assert message.get("PID-99") == ""
    assert message.get("NK1-1") == ""
    assert message.get_all("PID-3.1") == ["11", "22"]
    assert message.get_all("PID-3.4.2") == ["1.2", ""]
    assert message.get_all("PID-3[2].1") == ["22"]
    assert message.get_all("PID-3[9].1") == []
    assert message.get_all("OBX-5") == ["5.1", "first\nline & more", "141"]
    assert message.get_all("OBX[2]-5") == ["first\nline & more"]
    assert message.get_all("OBX[9]-5") == []
    assert message.get_all("NK1-1") == []


def test_a_value_above_its_leaves_keeps_its_escapes() -> None:
    message = Message.parse(MSH + b"PID|1||a\\S\\b^c\\T\\d&e\r")
    assert message.get("PID-3") == r"a\S\b^c\T\d&e"
    assert message.get("PID-3.1") == "a^b"
    assert message.get("PID-3.2") == r"c\T\d&e"
    assert message.get("PID-3.2.1") == "c&d"


def test_null_empty_and_absent_are_three_things() -> None:
    message = Message.parse(MSH + b'PID|1||""||a^^c~|\r')
    assert message.presence("PID-3") is Presence.NULL
    assert message.presence("PID-4") is Presence.EMPTY
    assert message.presence("PID-4.1.1") is Presence.EMPTY
    assert message.presence("PID-4.2") is Presence.ABSENT
    assert message.presence("PID-4[2]") is Presence.ABSENT
    assert message.presence("PID-5.2") is Presence.EMPTY
    assert message.presence("PID-5.3") is Presence.VALUED
    assert message.presence("PID-5.4") is Presence.ABSENT
    assert message.presence("PID-5.1.2") is Presence.ABSENT
    assert message.presence("PID-5.4.1") is Presence.ABSENT
    assert message.presence("PID-5[2]") is Presence.EMPTY
    assert message.presence("PID-7") is Presence.ABSENT
    assert message.presence("NK1-1") is Presence.ABSENT
    assert message.get("PID-3") == '""'


def test_valued_and_count_leave_out_nulls_and_empty_repetitions() -> None:
    message = Message.parse(RAW)
    assert message.valued("PID-5")
    assert not message.valued("PID-6")
    assert message.get("PID-6") == '""'
    assert message.count("OBX") == 3
    assert message.count("OBX[2]") == 1
    assert message.count("OBX[4]") == 0
    assert message.count("PID-3.4.2") == 1
    assert message.valued("ZPI")
    assert not message.valued("NK1")


def test_the_header_s_delimiters_are_never_split_or_unescaped() -> None:
    message = Message.parse(RAW)
    assert message.get("MSH-1") == "|"
    assert message.get("MSH-2") == "^~\\&"
    assert message.get_all("MSH-2") == ["^~\\&"]
    assert message.get("MSH-2.1") == "^~\\&"
    assert message.presence("MSH-2.2") is Presence.ABSENT
    assert message.get("MSH-9.2") == "A01"
    assert message.delimiters.component == b"^"


def test_segments_are_listed_in_order() -> None:
    message = Message.parse(RAW + b"junk\rPV1|1\r")
    assert [s.name for s in message.segments()] == ["MSH", "PID", "OBX", "OBX", "OBX", "ZPI", "PV1"]
    assert [s.fields[1] for s in message.segments("OBX")] == [b"1", b"2", b"3"]
    assert message.segments("NK1") == []
    segment = message.segments("PID")[0]
    assert len(segment) == 8
    assert segment.repetitions(3)[1] == b"22^^^L^LR"
    assert segment.repetitions(99) == []
    assert segment.encode() == RAW.split(b"\r")[1]
    assert "DOE" not in repr(segment)
    assert "DOE" not in repr(message)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "PID",
        "PID-0",
        "pid-3",
        "PID-3[0]",
        "PID-3.0",
        "PID.3",
        "PID-3.1.1.1",
        "PIDX-3",
        "PID-3 ",
        "PID[x]-1",
        "PID-99999",
    ],
)
def test_a_wrong_path_is_an_error_that_shows_the_grammar(path: str) -> None:
    message = Message.parse(RAW)
    for use in (message.get, message.get_all, message.presence):
        with pytest.raises(PathError):
            use(path)


# what is tolerated is reported


def test_a_proper_message_has_no_findings() -> None:
    assert Message.parse(MSH + b"PID|1\r").findings == ()


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (b"\xef\xbb\xbf" + MSH, {Quirk.BYTE_ORDER_MARK: (1, 0)}),
        (b"\x0b" + MSH + b"\x1c\r", {Quirk.MLLP_BYTES: (1, 0)}),
        (MSH + b"\x1c", {Quirk.MLLP_BYTES: (1, 0)}),
        (MSH + b"\x1c\r\n", {Quirk.MLLP_BYTES: (1, 0)}),
        (b"\r\n" + MSH, {Quirk.LEADING_BLANKS: (1, 0)}),
        (MSH.replace(b"\r", b"\n"), {Quirk.LF_TERMINATORS: (1, 0)}),
        (MSH.replace(b"\r", b"\r\n"), {Quirk.CRLF_TERMINATORS: (1, 0)}),
        (MSH + b"PID|1\r\nPV1|1\r", {Quirk.MIXED_TERMINATORS: (1, 0)}),
        (
            MSH + b"PID|1\n",
            {Quirk.MIXED_TERMINATORS: (1, 0), Quirk.MISSING_FINAL_TERMINATOR: (1, 2)},
        ),
        (MSH.replace(b"\r", b"\n") + b"PID|1\rPV1|1\r\n", {Quirk.MIXED_TERMINATORS: (1, 0)}),
        (MSH + b"\r \rPID|1\r", {Quirk.BLANK_LINES: (2, 2)}),
        (MSH + b"PID|1", {Quirk.MISSING_FINAL_TERMINATOR: (1, 2)}),
        (MSH + b"PID|1\rhello\rpv1|1\r", {Quirk.JUNK_LINES: (2, 3)}),
        (MSH + b"OBX|1|TX|||a\nb\r", {Quirk.LF_IN_FIELD: (1, 2)}),
        (MSH + MSH, {Quirk.SEVERAL_HEADERS: (1, 2)}),
        (b"MSH|^~|A\r", {Quirk.SHORT_ENCODING_CHARACTERS: (1, 1)}),
        (MSH.replace(b"UNICODE UTF-8", b"CNS 11643-1992"), {Quirk.UNKNOWN_CHARSET: (1, 1)}),
    ],
)
def test_a_tolerated_deviation_is_reported_and_kept(
    raw: bytes, found: dict[Quirk, tuple[int, int]]
) -> None:
    assert kinds(raw) == found
    message = Message.parse(raw)
    assert message.to_bytes() == raw
    message.set("MSH-3", message.get("MSH-3"))
    assert message.to_bytes() is not raw
    assert message.to_bytes() == raw


def test_a_bare_line_feed_in_a_message_of_carriage_returns_is_data() -> None:
    message = Message.parse(MSH + b"OBX|1|TX|||one\nPID|two\rPV1|1\n\n")
    assert message.get("OBX-5") == "one\nPID"
    assert message.get("OBX-6") == "two"
    assert message.count("PID") == 0
    assert message.get("PV1-1") == "1"


def test_a_batch_is_no_message() -> None:
    with pytest.raises(HeaderMissing, match="split"):
        Message.parse(b"FHS|^~\\&\rBHS|^~\\&\r" + RAW)


# writing


def test_only_the_edited_segment_changes() -> None:
    message = Message.parse(b"\x0b" + RAW + b"\x1c\r")
    message.set("PID-5[2].1", "O'HARA|&")
    expected = RAW.replace(b"ROE^JANE", b"O'HARA\\F\\\\T\\^JANE")
    assert message.to_bytes() == b"\x0b" + expected + b"\x1c\r"
    assert bytes(message) == message.to_bytes()
    assert message.get("PID-5[2].1") == "O'HARA|&"


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("ZPI-1", b"ZPI|v|z"),
        ("ZPI-1.2", b"ZPI|x^v|z"),
        ("ZPI-1.2.3", b"ZPI|x^y&&v|z"),
        ("ZPI-1[3]", b"ZPI|x^y~~v|z"),
        ("ZPI-2.1.1", b"ZPI|x^y|v"),
        ("ZPI-2.3", b"ZPI|x^y|z^^v"),
        ("ZPI-4.2", b"ZPI|x^y|z||^v"),
        ("ZPI[*]-3[*]", b"ZPI|x^y|z|v"),
    ],
)
def test_missing_parts_are_made(path: str, line: bytes) -> None:
    message = Message.parse(RAW)
    message.set(path, "v")
    assert message.to_bytes() == RAW.replace(b"ZPI|x^y|z", line)
    assert message.get(path) == "v"


def test_a_null_and_an_empty_value_can_be_written() -> None:
    message = Message.parse(RAW)
    message.set("PID-8", '""')
    message.set("PID-7", "")
    assert message.presence("PID-8") is Presence.NULL
    assert message.presence("PID-7") is Presence.EMPTY


def test_an_edited_header_is_the_message_s_header() -> None:
    message = Message.parse(b"\xef\xbb\xbf" + RAW)
    message.set("MSH-10", "NEW-1")
    message.set("MSH-30", "x")
    assert message.header.control_id == "NEW-1"
    assert message.header.start == 3
    assert message.get("MSH-30") == "x"
    assert message.to_bytes().startswith(b"\xef\xbb\xbfMSH|^~\\&|EMR|")


@pytest.mark.parametrize("path", ["MSH-1", "MSH-2", "MSH-18", "NK1-1", "OBX[9]-1"])
def test_what_cannot_be_edited_is_refused(path: str) -> None:
    message = Message.parse(RAW)
    with pytest.raises(PathError):
        message.set(path, "x")
    assert message.to_bytes() is RAW


def test_edits_are_bounded() -> None:
    message = Message.parse(RAW, limits=Limits(max_fields=100, max_repetitions=100))
    for path in ("PID-101", "PID-3[101]"):
        with pytest.raises(LimitExceeded):
            message.set(path, "x")


def test_a_part_without_a_delimiter_cannot_be_made() -> None:
    message = Message.parse(b"MSH&^~\\&A\rPID&1&a&b\r")
    assert message.get("PID-2.1.1") == "a"
    with pytest.raises(PathError, match="no delimiter"):
        message.set("PID-2.1.2", "x")
    message.set("PID-2.1.1", "x")
    assert message.get("PID-2") == "x"


# character sets


def legacy(name: str, codec: str, text: str) -> bytes:
    return (
        f"MSH|^~\\&|A|B|C|D|2024||ADT^A01|1|P|2.5.1||||||{name}\r"
        f"PID|1||7||{text}^{text}~{text}|x\rNTE|1||{text}\r"
    ).encode(codec)


@pytest.mark.parametrize(
    ("name", "codec", "text"),
    [
        ("8859/1", "latin-1", "Müller"),
        ("8859/2", "iso8859-2", "Łukasiewicz"),
        ("8859/5", "iso8859-5", "Иванов"),
        ("8859/15", "iso8859-15", "œuvre €"),
        ("UNICODE UTF-8", "utf-8", "李"),
        ("UNICODE", "utf-8", "李"),
        ("UTF-8~UNICODE", "utf-8", "李"),
        ("GB 18030-2000", "gb18030", b"\x81|\x81^\x81~\x81\\".decode("gb18030")),
        ("GB 18030-2000", "gb18030", "𠀀李"),
        ("BIG-5", "cp950", b"\xa4\x5c\xa5\x7c".decode("cp950")),
        ("ISO IR87", "iso2022_jp_ext", "山田"),
        ("ASCII~ISO IR87", "iso2022_jp_ext", "山田太郎"),
        ("ISO IR159", "iso2022_jp_ext", "丂山"),
        ("KS X 1001", "euc_kr", "김"),
        ("UNICODE UTF-16", "utf-16-le", "李"),
        ("UNICODE UTF-16", "utf-16-be", "𠀀"),
    ],
)
def test_a_legacy_message_is_read_and_edited_in_its_own_set(
    name: str, codec: str, text: str
) -> None:
    raw = legacy(name, codec, text)
    message = Message.parse(raw)
    assert message.get("PID-5.2") == text
    assert message.get("PID-5[2]") == text
    assert message.get("PID-6") == "x"
    assert message.get("NTE-3") == text
    assert message.to_bytes() is raw
    message.set("PID-6", text)
    message.set("PID-5.1", "plain")
    edited = legacy(name, codec, text).decode(codec).replace("|x\r", f"|{text}\r")
    assert message.to_bytes() == edited.replace(f"|{text}^", "|plain^").encode(codec)
    assert Message.parse(message.to_bytes()).get("PID-6") == text


def test_hexadecimal_escapes_are_bytes_of_the_message_s_set() -> None:
    raw = legacy("8859/1", "latin-1", "x").replace(b"NTE|1||x", b"NTE|1||M\\XFC\\ller")
    assert Message.parse(raw).get("NTE-3") == "Müller"


@pytest.mark.parametrize("name", ["UNICODE UTF-8", "8859/1", "ASCII", ""])
def test_mislabelled_windows_text_is_an_error_with_its_place(name: str) -> None:
    raw = legacy(name, "cp1252", "OKAFOR\u201c")
    message = Message.parse(raw)
    with pytest.raises(CharsetError) as caught:
        message.get("PID-5.2")
    assert caught.value.position == raw.index(b"\x93")
    assert caught.value.location == "PID-5.2"
    assert "OKAFOR" not in str(caught.value)
    # the rest of the message can still be read
    assert message.get("PID-3") == "7"
    assert message.to_bytes() is raw


def test_the_position_of_an_error_counts_msh_1_once() -> None:
    raw = b"MSH|^~\\&|A|B\xff|C\r"
    with pytest.raises(CharsetError) as caught:
        Message.parse(raw).get("MSH-4")
    assert caught.value.position == raw.index(b"\xff")


def test_undecodable_text_in_a_set_with_delimiters_inside_names_the_segment() -> None:
    raw = legacy("GB 18030-2000", "ascii", "x").replace(b"PID|1||7", b"PID|1||\xff7")
    with pytest.raises(CharsetError) as caught:
        Message.parse(raw).get("PID-3")
    assert caught.value.location == "PID"
    assert caught.value.position == raw.index(b"\xff")


def test_the_link_s_default_is_for_messages_that_say_nothing() -> None:
    raw = legacy("", "latin-1", "Müller")
    assert Message.parse(raw, charset="8859/1").get("NTE-3") == "Müller"
    labelled = legacy("UNICODE UTF-8", "utf-8", "Müller")
    assert Message.parse(labelled, charset="8859/1").get("NTE-3") == "Müller"
    gb = legacy("", "gb18030", b"\x81|".decode("gb18030"))
    assert Message.parse(gb, charset="GB 18030-2000").get("PID-6") == "x"


def test_fallbacks_are_tried_in_order_on_the_whole_message() -> None:
    raw = legacy("", "cp1252", "\u201cMüller\u201d")
    message = Message.parse(raw, fallback=("UNICODE UTF-8", "8859/1", "windows-1252"))
    assert message.get("NTE-3") == "\u201cMüller\u201d"
    assert message.charset is not None
    assert message.charset.name == "WINDOWS-1252"
    message.set("PID-6", "ü")
    assert b"|\xfc\r" in message.to_bytes()
    with pytest.raises(CharsetError):
        Message.parse(raw, fallback=("UNICODE UTF-8", "8859/1")).get("NTE-3")
    plain = Message.parse(legacy("", "ascii", "x"), fallback=("UNICODE UTF-8",))
    assert plain.charset is not None
    assert plain.charset.name == "ASCII"


def test_an_unknown_set_hurts_only_text_beyond_ascii() -> None:
    raw = legacy("CNS 11643-1992", "utf-8", "李")
    message = Message.parse(raw)
    assert message.get("PID-6") == "x"
    assert message.charset is None
    with pytest.raises(CharsetError, match="no codec"):
        message.get("NTE-3")
    with pytest.raises(CharsetError, match="no codec"):
        message.set("PID-6", "李")
    message.set("PID-6", "y")
    assert Message.parse(raw, fallback=("UNICODE UTF-8",)).get("NTE-3") == "李"
    escaped = raw.replace("NTE|1||李".encode(), b"NTE|1||\\X41\\\\XE6\\")
    assert Message.parse(escaped).get("NTE-3") == "\\X41\\\\XE6\\"


def test_a_character_that_the_set_lacks_is_refused() -> None:
    for name, codec in (("8859/1", "latin-1"), ("", "ascii"), ("ISO IR87", "iso2022_jp")):
        message = Message.parse(legacy(name, codec, "x"))
        with pytest.raises(CharsetError, match="a character that is not in"):
            message.set("PID-6", "𠀀")
        assert message.get("PID-6") == "x"


def test_broken_utf_16_is_an_error() -> None:
    with pytest.raises(CharsetError):
        Message.parse("MSH|^~\\&|A\r".encode("utf-16-le") + b"\0")
    assert (
        Finding(Quirk.WIDE_CHARACTERS)
        in Message.parse("MSH|^~\\&|A\r".encode("utf-16-be")).findings
    )
