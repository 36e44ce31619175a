from __future__ import annotations

import pytest

from adapters.hl7v2.codec.charset import (
    ASCII,
    LATIN_1,
    UTF_8,
    candidates,
    charset_named,
    declared_charset,
    link_charset,
)
from adapters.hl7v2.codec.errors import CharsetError


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("ASCII", "ascii"),
        ("UNICODE", "utf-8"),
        ("UNICODE UTF-8", "utf-8"),
        ("utf-8", "utf-8"),
        ("UTF8", "utf-8"),
        *[(f"8859/{part}", f"iso8859-{part}") for part in (1, 2, 3, 4, 5, 6, 7, 8, 9, 15)],
        ("ISO-8859-1", "iso8859-1"),
        ("GB 18030-2000", "gb18030"),
        ("ISO IR14", "iso2022_jp_ext"),
        ("ISO IR87", "iso2022_jp_ext"),
        ("ISO IR159", "iso2022_jp_ext"),
        ("KS X 1001", "euc_kr"),
        ("BIG-5", "cp950"),
        ("windows-1252", "cp1252"),
    ],
)
def test_table_0211_and_common_spellings_are_known(name: str, codec: str) -> None:
    found = charset_named(name)
    assert found is not None
    assert found.codec == codec


@pytest.mark.parametrize("name", ["CNS 11643-1992", "8859/12", "", "x" * 5000])
def test_sets_without_a_codec_are_unknown(name: str) -> None:
    assert charset_named(name) is None


def test_a_wrong_link_setting_says_what_is_known() -> None:
    with pytest.raises(CharsetError, match=r"8859/1.*UNICODE UTF-8"):
        link_charset("latin-nine")


@pytest.mark.parametrize(
    ("names", "codec"),
    [
        (("8859/1", "UNICODE UTF-8"), "iso8859-1"),
        (("ASCII", "ISO IR87"), "iso2022_jp_ext"),
        (("", "ISO IR87"), "iso2022_jp_ext"),
        (("ASCII", "KS X 1001"), "euc_kr"),
        (("ASCII", "8859/1"), "ascii"),
        (("ISO IR87", "ASCII"), "iso2022_jp_ext"),
    ],
)
def test_the_first_repetition_counts_with_the_escapes_of_the_others(
    names: tuple[str, ...], codec: str
) -> None:
    found = declared_charset(names)
    assert found is not None
    assert found.codec == codec


def test_candidates_are_declared_then_default_then_fallbacks() -> None:
    assert candidates((), None, ()) == (ASCII,)
    assert candidates((), "UNICODE UTF-8", ("8859/1",)) == (UTF_8, link_charset("8859/1"))
    assert candidates(("8859/1",), "UNICODE UTF-8", ()) == (link_charset("8859/1"),)
    assert candidates(("?",), "UNICODE UTF-8", ()) == (UTF_8,)
    assert candidates(("?",), None, ()) == ()
    assert candidates((), "ASCII", ("ASCII",)) == (ASCII,)


def test_iso_8859_has_no_characters_where_windows_has_quotes() -> None:
    with pytest.raises(CharsetError) as caught:
        LATIN_1.decode(b"ab\x93", location="PID-5", offset=10)
    assert caught.value.position == 12
    assert caught.value.location == "PID-5"
    with pytest.raises(CharsetError):
        LATIN_1.encode("\x93")
    assert LATIN_1.decode(b"\xfc") == "ü"


def test_errors_are_strict_and_silent_about_content() -> None:
    with pytest.raises(CharsetError) as caught:
        UTF_8.decode(b"OKAFOR\xff")
    assert caught.value.position == 6
    assert "OKAFOR" not in str(caught.value)
    with pytest.raises(CharsetError, match="not in ASCII"):
        ASCII.encode("Müller")
