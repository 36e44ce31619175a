"""Patterns in linear time agree with Python's where Python's are linear too."""

from __future__ import annotations

import re

import pytest

from schemas.fhirpath.regex import compile_pattern

PATTERNS = [
    "abc", "a|b|", "(ab)*c", "a+b?", "[a-c]x", "[^a-c]", r"\d{2,3}", r"^\w+$", "a{3}", "a{2,}b", "(a|bc){1,2}d",
    "^$", "^", "$", "x*", "(a*)*b", "[]a]", r"[\d-]+", r"\.", "a.c", "(?:ab|a)(c|bcd)", "a??b", "^a|b$", "(^a)b",
]  # fmt: skip
TEXTS = [
    "",
    "a",
    "abc",
    "aab",
    "abab",
    "ababc",
    "xabcx",
    "123",
    "a1",
    "b",
    "bcd",
    "abcd",
    "]",
    "a.c",
    "a\nc",
    "12-3",
    "ab\n",
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_pattern_means_what_python_means(pattern: str) -> None:
    ours, theirs = (
        compile_pattern(pattern),
        re.compile(pattern.replace("$", r"\Z"), re.DOTALL | re.ASCII),
    )
    for text in TEXTS:
        assert ours.fits(text) is (theirs.fullmatch(text) is not None), text
        assert ours.occurs(text) is (theirs.search(text) is not None), text


@pytest.mark.parametrize(
    "pattern",
    [
        "(",
        ")",
        "a**b)",
        "*",
        "[a",
        "[z-a]",
        r"\b",
        r"\p{L}",
        "a{2",
        "a{3,2}",
        "(?i)a",
        "a++",
        "(a)\\1",
    ],
)
def test_what_is_not_linear_or_not_a_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError):
        compile_pattern(pattern)


def test_hostile_pattern_and_text_take_linear_work() -> None:
    pattern = compile_pattern("(a+)+$")
    assert not pattern.fits("a" * 50_000 + "b")
    assert not compile_pattern("(a|aa)*(a|aa)*c").occurs("a" * 20_000)


def test_replacement_takes_the_longest_at_each_place() -> None:
    assert compile_pattern("a+").replace("aabaaa", "x", lambda _: None) == "xbx"
    assert compile_pattern("^a").replace("aa", "x", lambda _: None) == "xa"
    assert compile_pattern("").replace("aa", "x", lambda _: None) == "aa"
