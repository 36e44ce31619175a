from __future__ import annotations

import contextlib
import re

from hypothesis import given
from hypothesis import strategies as st

from schemas import subjects
from schemas.errors import SubjectError

tokens = st.text("abcz019_-", min_size=1, max_size=4)
names = st.lists(tokens, min_size=1, max_size=5).map(".".join)
patterns = st.tuples(
    st.lists(st.one_of(tokens, st.just("*")), max_size=4), st.one_of(tokens, st.just(">"))
).map(lambda parts: ".".join([*parts[0], parts[1]]))


@given(patterns, names)
def test_matching_agrees_with_a_regular_expression(pattern: str, subject: str) -> None:
    expression = r"\.".join(
        {"*": r"[^.]+", ">": r".+"}.get(part, re.escape(part)) for part in pattern.split(".")
    )
    assert subjects.matches(pattern, subject) is bool(re.fullmatch(expression, subject))


@given(patterns, patterns, names)
def test_patterns_that_share_a_subject_overlap(one: str, other: str, subject: str) -> None:
    if subjects.matches(one, subject) and subjects.matches(other, subject):
        assert subjects.overlaps(one, other)


@given(st.text())
def test_any_text_is_a_subject_of_the_grammar_or_refused(text: str) -> None:
    with contextlib.suppress(SubjectError):
        assert re.fullmatch(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*", subjects.subject(text))
