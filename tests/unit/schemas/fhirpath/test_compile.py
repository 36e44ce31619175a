"""What does not compile, and what the error says."""

from __future__ import annotations

import pytest

from schemas.errors import MeshError
from schemas.fhirpath import FhirPathError, compile_path
from schemas.fhirpath.lexer import MAX_CHARACTERS


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name.wher(use = 'x')", "did you mean where()?"),
        ("name.where()", "where() takes 1 arguments, not 0"),
        ("Pateint.name", "did you mean Patient?"),
        ("value is Quantitty", "did you mean Quantity?"),
        ("Observation.valueQuantity.unit", "write value.ofType(Quantity)"),
        ("name = 'x", "the string does not end"),
        ("name = 'x\\q'", "an escape that has no meaning"),
        ("/* comment", "the comment does not end"),
        ("name.", "the end; expected an element"),
        ("name name", "expected an operator or the end"),
        ("(name", "expected an operator or ')'"),
        ("birthDate > @2026-02-30", "a date or time that exists"),
        ("@T14:34:28Z", "a date or time that exists"),
        ("%", "expected a variable's name"),
        ("name.matches('(a')", "is not closed"),
        ("name.matches('(?=a)')", "not allowed in a pattern"),
        ("ofType(1)", "a type's name is expected"),
        ("memberOf('http://example.com/vs')", "function memberOf() is not in the subset"),
        ("", "the end; expected"),
        ("€", "a character that has no meaning here"),
    ],
)
def test_error_shows_the_place_and_what_was_allowed(text: str, says: str) -> None:
    with pytest.raises(FhirPathError) as failed:
        compile_path(text)
    assert says in str(failed.value)
    assert "column " in str(failed.value)
    assert isinstance(failed.value, MeshError)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 500 + "1" + ")" * 500,
        "-" * 500 + "1",
        "+".join("1" * 500),
        "where(" * 100 + "a" + ")" * 100,
        "a" * (MAX_CHARACTERS + 1),
        ".".join("a" * 5000),
        "1" * 1000,
        " = ".join(["(a)"] * 100),
        "a[" * 200 + "0" + "]" * 200,
        "x.matches('((a{99}){99}){99}')",
        "x.matches('" + "(" * 100 + ")" * 100 + "')",
        "'a'.matches('" + "a" * 1000 + "')",
    ],
)
def test_hostile_texts_are_refused(text: str) -> None:
    with pytest.raises(FhirPathError):
        compile_path(text)


def test_long_lists_of_codes_compile() -> None:
    codes = " | ".join(f"'{n}-1'" for n in range(900))
    path = compile_path(f"code.coding.exists(code in ({codes}))")
    assert path.test({"code": {"coding": [{"code": "899-1"}]}})
    assert not path.test({"code": {"coding": [{"code": "900-1"}]}})
