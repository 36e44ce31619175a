from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import ConfigurationError, MeshError
from schemas.expression import ExpressionError, compile_expression
from schemas.expression_glob import compile_glob
from schemas.expression_syntax import MAX_CHARACTERS, MAX_DEPTH, MAX_TESTS

Subject = Mapping[str, Sequence[str]]


class Names:
    """Paths are the keys of a mapping; `-` is no value."""

    @property
    def blanks(self) -> frozenset[str]:
        return frozenset({"", "-"})

    def compile(self, text: str) -> Callable[[Subject], Sequence[str]]:
        if text.startswith("bad"):
            raise ConfigurationError(f"{text} is no name")
        return lambda subject: subject.get(text, ())


SUBJECT: Subject = {
    "kind": ["ADT"],
    "age": ["42"],
    "codes": ["A01", "B2", ""],
    "null": ["-"],
    "odd": ["x", " 7.50 ", "1e3", "9" * 40, "٣"],
    "note": ['it\'s "quoted"'],
}


def holds(text: str) -> bool:
    return compile_expression(text, Names())(SUBJECT)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("kind = 'ADT'", True),
        ("kind = 'adt'", False),
        ('kind = "ADT"', True),
        ("kind != 'ADT'", False),
        ("absent != 'ADT'", True),
        ("absent = 'ADT'", False),
        ("codes = 'B2'", True),
        ("codes != 'B2'", False),
        ("codes in ('X', 'A01')", True),
        ("codes not in ('X', 'A01')", False),
        ("absent not in ('X')", True),
        ("age in (41, 42)", True),
        ("age in ('x', 42)", True),
        ("age in ('42', 7)", True),
        ("age in ('x', 7)", False),
        ("age = 42.0", True),
        ("age < 43 and age > 41 and age <= 42 and age >= 42", True),
        ("age > 42", False),
        ("age > -1.5", True),
        ("kind > 0", False),
        ("odd = 7.5", True),
        ("odd = 1000", False),
        ("odd = 3", False),
        ("odd > 1000000", False),
        ("codes valued", True),
        ("null valued", False),
        ("null not valued", True),
        ("absent not valued", True),
        ("count(codes) = 2", True),
        ("count(absent) = 0", True),
        ("count(codes) != 2", False),
        ("count(codes) in (1, 2)", True),
        ("count(codes) not in (1, 2)", False),
        ("length(codes) = 3", True),
        ("length(codes) > 3", False),
        ("length(null) >= 0", False),
        ("codes starts with 'A'", True),
        ("codes starts with 'C'", False),
        ("codes matches 'A*'", True),
        ("codes matches '*'", True),
        ("absent matches '*'", False),
        ("note = 'it''s \"quoted\"'", True),
        ('note = "it\'s ""quoted"""', True),
        ("KIND = 'ADT'", False),
        ("kind IN ('ADT') AND NOT age VALUED", False),
        ("count = 'x'", False),
        ("length valued", False),
    ],
)
def test_a_test_holds_when_it_holds_for_one_value(text: str, value: bool) -> None:
    assert holds(text) is value


@pytest.mark.parametrize("one", [False, True])
@pytest.mark.parametrize("two", [False, True])
@pytest.mark.parametrize("three", [False, True])
def test_not_binds_closer_than_and_and_and_than_or(one: bool, two: bool, three: bool) -> None:
    subject = {"a": ["1"] * one, "b": ["1"] * two, "c": ["1"] * three}

    def value(text: str) -> bool:
        return compile_expression(text, Names())(subject)

    assert value("a valued or b valued and c valued") is (one or (two and three))
    assert value("(a valued or b valued) and c valued") is ((one or two) and three)
    assert value("not a valued and b valued") is ((not one) and two)
    assert value("not (a valued and b valued)") is (not (one and two))
    assert value("not not a valued") is one


@pytest.mark.parametrize(
    ("text", "column", "allowed"),
    [
        ("", 1, "a path"),
        ("   ", 1, "a path"),
        ("kind", 5, "a comparison"),
        ("kind ==", 7, "a string or a number"),
        ("kind = ADT", 8, "strings stand in quotes"),
        ("kind = 'ADT", 8, "does not end"),
        ("kind in 'A'", 9, r"'\('"),
        ("kind in ()", 10, "a string or a number"),
        ("kind in ('A' 'B')", 14, "',' or"),
        ("kind not", 9, "'in' or 'valued'"),
        ("kind not = 'A'", 10, "'in' or 'valued'"),
        ("kind < 'A'", 8, "a number after '<'"),
        ("count(codes) = 'A'", 16, "a number after '='"),
        ("count(codes) in (1, 'A')", 21, "a number"),
        ("count(codes) valued", 14, "a comparison or 'in'"),
        ("length(codes) matches 'x'", 15, "a comparison or 'in'"),
        ("count(codes", 12, r"'\)'"),
        ("count('x') = 1", 7, "a path"),
        ("kind starts 'A'", 13, "'with'"),
        ("kind matches 5", 14, "a string in quotes"),
        ("kind valued and", 16, "a path"),
        ("kind valued kind valued", 13, "'and', 'or' or the end"),
        ("(kind valued", 13, r"'and', 'or' or '\)'"),
        ("kind valued)", 12, "the end"),
        ("'ADT' = kind", 1, "a path"),
        ("kind = 'A'; drop", 11, "no meaning"),
        ("kind.__class__() = 1", 15, "a comparison"),
        ("kind = 1x", 8, "no meaning"),
        ("age valued and bad = 'x'", 16, "bad is no name"),
        ("count(bad) = 1", 7, "bad is no name"),
    ],
)
def test_an_error_shows_the_place_and_what_was_allowed(
    text: str, column: int, allowed: str
) -> None:
    with pytest.raises(ExpressionError, match=allowed) as caught:
        holds(text)
    assert caught.value.position == column - 1
    first, shown, caret = str(caught.value).split("\n")
    assert first.startswith(f"column {column}: ")
    assert caret.index("^") - 2 == column - 1
    assert shown[2:] == text
    assert isinstance(caught.value, ValueError)


def test_a_long_expression_is_shown_around_the_place() -> None:
    text = " or ".join(["kind = 'A'"] * 40) + "\n or !"
    with pytest.raises(ExpressionError) as caught:
        holds(text)
    _, shown, caret = str(caught.value).split("\n")
    assert len(shown) < 120
    assert shown[caret.index("^")] == "!"


def test_size_and_depth_are_bounded() -> None:
    deep = MAX_DEPTH
    assert holds("(" * deep + "kind valued" + ")" * deep)
    for text in (
        "(" * 2_000 + "kind valued" + ")" * 2_000,
        "not " * (deep + 1) + "kind valued",
        "(" * (deep + 1) + "kind valued" + ")" * (deep + 1),
    ):
        with pytest.raises(ExpressionError, match=r"at most|characters"):
            holds(text)
    many = " and ".join(["a=1"] * MAX_TESTS)
    assert holds(many) is False
    with pytest.raises(ExpressionError, match="at most"):
        holds(many + " and a=1")
    with pytest.raises(ExpressionError, match="characters"):
        holds("kind = '" + "x" * MAX_CHARACTERS + "'")


@pytest.mark.parametrize(
    ("pattern", "text", "is_match"),
    [
        ("", "", True),
        ("", "a", False),
        ("abc", "abc", True),
        ("abc", "abcd", False),
        ("a?c", "abc", True),
        ("a?c", "ac", False),
        ("*", "", True),
        ("**", "anything", True),
        ("a*", "a", True),
        ("*a", "ba", True),
        ("*a", "ab", False),
        ("a*a", "a", False),
        ("a*b*c", "a-b-b-c", True),
        ("a*bb*c", "a-b-b-c", False),
        ("*ab", "aab", True),
        ("a*?b", "ab", False),
        ("a.c", "abc", False),
        ("a\\*", "a\\b", True),
        ("a*b", "a\nb", True),
    ],
)
def test_a_pattern_covers_the_whole_text(pattern: str, text: str, is_match: bool) -> None:
    assert compile_glob(pattern)(text) is is_match


@given(st.text(alphabet="ab*?", max_size=8), st.text(alphabet="ab", max_size=10))
def test_patterns_agree_with_their_definition(pattern: str, text: str) -> None:
    def covers(i: int, j: int) -> bool:
        if i == len(pattern):
            return j == len(text)
        if pattern[i] == "*":
            return covers(i + 1, j) or (j < len(text) and covers(i, j + 1))
        return j < len(text) and pattern[i] in ("?", text[j]) and covers(i + 1, j + 1)

    assert compile_glob(pattern)(text) is covers(0, 0)


def test_a_pattern_meant_to_backtrack_does_not() -> None:
    # exponential for a naive matcher: it would not end
    assert not compile_glob("*a" * 40 + "b")("a" * 20_000)


WORDS = st.sampled_from(
    [
        "kind",
        "codes",
        "age",
        "bad",
        "and",
        "or",
        "not",
        "in",
        "valued",
        "count",
        "length",
        "starts",
        "with",
        "matches",
        "(",
        ")",
        ",",
        "=",
        "!=",
        "<",
        ">=",
        "'A'",
        '"B"',
        "1",
        "-2.5",
        "'",
        "[",
        "PID-3[1].2",
        "\n",
        "\0",
        "ü",
    ]
)


@given(st.lists(WORDS, max_size=25).map(" ".join) | st.text(max_size=60))
def test_any_text_is_compiled_or_refused(text: str) -> None:
    try:
        test = compile_expression(text, Names())
    except MeshError:
        return
    assert test(SUBJECT) in (True, False)


TREES = st.recursive(
    st.sampled_from(["kind = 'ADT'", "age > 50", "codes valued", "absent valued"]),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda both: f"({both[0]} and {both[1]})"),
        st.tuples(inner, inner).map(lambda both: f"({both[0]} or {both[1]})"),
        inner.map(lambda one: f"(not {one})"),
    ),
    max_leaves=12,
)


@given(TREES)
def test_value_is_that_of_the_same_python_expression(text: str) -> None:
    python = text
    for test, value in (
        ("kind = 'ADT'", True),
        ("age > 50", False),
        ("codes valued", True),
        ("absent valued", False),
    ):
        python = python.replace(test, str(value))
    assert holds(text) is eval(python, {"__builtins__": {}})
