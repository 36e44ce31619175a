"""The syntax of filter and mapping conditions: text to tokens to a tree. Bounded in length, depth and size.

    expression := term ("or" term)*            term := factor ("and" factor)*
    factor     := "not" factor | "(" expression ")" | test
    test       := value ("=" | "!=" | "<" | "<=" | ">" | ">=") literal
                | value ["not"] "in" "(" literal ("," literal)* ")"
                | value ["not"] "valued" | "valued" "(" path ")"
                | value "starts" "with" string | value "matches" string
    value      := path | "count" "(" path ")" | "length" "(" path ")"

Keywords are not case-sensitive. Strings stand in single or double quotes, which are doubled inside.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from schemas.expression_tree import (
    Compare,
    Every,
    ExpressionError,
    Function,
    Literal,
    Matches,
    Node,
    Not,
    Some,
    StartsWith,
    Value,
    Valued,
)

MAX_CHARACTERS: Final = 4_096
MAX_DEPTH: Final = 32
MAX_TESTS: Final = 256

_TOKEN: Final = re.compile(
    r"""\s*(?:
      (?P<string>'(?:[^']|'')*'|"(?:[^"]|"")*")
    | (?P<number>-?\d{1,15}(?:\.\d{1,15})?(?![\w.]))
    | (?P<symbol>!=|<=|>=|[=<>(),])
    | (?P<word>(?:[A-Za-z_]|\.\d)(?:[\w.\-:]|\[(?:\d{1,9}|\*)\])*)
    )""",
    re.VERBOSE | re.ASCII,
)
_COMPARISONS: Final = ("=", "!=", "<", "<=", ">", ">=")
_AFTER_VALUE: Final = (
    "a comparison (= != < <= > >=), 'in', 'not in', 'valued', 'not valued', "
    "'starts with' or 'matches'"
)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    position: int

    @property
    def keyword(self) -> str:
        return self.text.lower() if self.kind in ("word", "symbol") else ""


class _Parser:
    """Recursive descent; only parentheses and `not` nest, and their depth is counted."""

    def __init__(self, text: str, tokens: list[_Token]) -> None:
        self._text = text
        self._tokens = tokens
        self._at = 0
        self._tests = 0

    @property
    def now(self) -> _Token:
        return self._tokens[self._at]

    def error(self, allowed: str) -> ExpressionError:
        """What was allowed where the parser stands."""
        seen = "the end" if self.now.kind == "end" else repr(self.now.text[:40])
        return ExpressionError(f"{seen}; expected {allowed}", self._text, self.now.position)

    def expression(self, depth: int) -> Node:
        """Terms joined by `or`."""
        parts = [self._term(depth)]
        while self._took("or"):
            parts.append(self._term(depth))
        return parts[0] if len(parts) == 1 else Some(tuple(parts))

    def _term(self, depth: int) -> Node:
        parts = [self._factor(depth)]
        while self._took("and"):
            parts.append(self._factor(depth))
        return parts[0] if len(parts) == 1 else Every(tuple(parts))

    def _factor(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise self.error(f"at most {MAX_DEPTH} nested parentheses and 'not'")
        if self._took("not"):
            return Not(self._factor(depth + 1))
        if self._took("("):
            inner = self.expression(depth + 1)
            self._expect(")", "'and', 'or' or ')'")
            return inner
        return self._test()

    def _test(self) -> Node:
        self._tests += 1
        if self._tests > MAX_TESTS:
            raise self.error(f"at most {MAX_TESTS} tests in one expression")
        value = self._value()
        if value.function is Function.VALUES and value.path.lower() == "valued" and self._took("("):
            return self._valued_call()
        if self.now.keyword in _COMPARISONS:
            return self._comparison(value)
        is_negated = self._took("not")
        if self._took("in"):
            return self._membership(value, is_negated)
        if self.now.keyword == "valued":
            self._only_a_path(value)
            self._at += 1
            return Valued(value=value, is_negated=is_negated)
        if is_negated:
            raise self.error("'in' or 'valued' after 'not'")
        return self._text_test(value)

    def _valued_call(self) -> Node:
        path = self.now
        if path.kind != "word":
            raise self.error("a path")
        self._at += 1
        self._expect(")", "')'")
        value = Value(function=Function.VALUES, path=path.text, position=path.position)
        return Valued(value=value)

    def _text_test(self, value: Value) -> Node:
        if self.now.keyword not in ("starts", "matches"):
            raise self.error(_AFTER_VALUE)
        self._only_a_path(value)
        if self._took("matches"):
            return Matches(value=value, pattern=self._string())
        self._at += 1
        self._expect("with", "'with'")
        return StartsWith(value=value, prefix=self._string())

    def _comparison(self, value: Value) -> Node:
        operator = self.now.text
        self._at += 1
        needs_number = value.is_number or operator not in ("=", "!=")
        literal = self._literal("a number" if needs_number else "a string or a number")
        if needs_number and isinstance(literal, str):
            self._at -= 1
            raise self.error(f"a number after {operator!r}")
        negated = operator == "!="
        return Compare(
            value=value,
            operator="=" if negated else operator,
            literals=(literal,),
            is_negated=negated,
        )

    def _membership(self, value: Value, is_negated: bool) -> Node:
        self._expect("(", "'('")
        literals: list[Literal] = []
        while True:
            literal = self._literal("a number" if value.is_number else "a string or a number")
            if value.is_number and isinstance(literal, str):
                self._at -= 1
                raise self.error("a number")
            literals.append(literal)
            if not self._took(","):
                break
        self._expect(")", "',' or ')'")
        return Compare(value=value, operator="in", literals=tuple(literals), is_negated=is_negated)

    def _value(self) -> Value:
        token = self.now
        if token.kind != "word":
            raise self.error("a path, 'count(path)', 'length(path)', 'not' or '('")
        self._at += 1
        function = token.keyword
        if function in ("count", "length") and self._took("("):
            path = self.now
            if path.kind != "word":
                raise self.error("a path")
            self._at += 1
            self._expect(")", "')'")
            return Value(function=Function(function), path=path.text, position=path.position)
        return Value(function=Function.VALUES, path=token.text, position=token.position)

    def _literal(self, allowed: str) -> Literal:
        token = self.now
        if token.kind == "number":
            self._at += 1
            return float(token.text)
        if token.kind == "string":
            return self._string()
        raise self.error(f"{allowed} (strings stand in quotes)")

    def _string(self) -> str:
        token = self.now
        if token.kind != "string":
            raise self.error("a string in quotes")
        self._at += 1
        quote = token.text[0]
        return token.text[1:-1].replace(quote * 2, quote)

    def _only_a_path(self, value: Value) -> None:
        if value.is_number:
            raise self.error("a comparison or 'in' after a number")

    def _took(self, keyword: str) -> bool:
        if self.now.keyword != keyword:
            return False
        self._at += 1
        return True

    def _expect(self, keyword: str, allowed: str) -> None:
        if not self._took(keyword):
            raise self.error(allowed)


def parse(text: str) -> Node:
    """Parse and type-check an expression. Raises `ExpressionError`."""
    if len(text) > MAX_CHARACTERS:
        raise ExpressionError(
            f"{len(text)} characters; {MAX_CHARACTERS} are allowed", text, MAX_CHARACTERS
        )
    parser = _Parser(text, _tokens(text))
    tree = parser.expression(0)
    if parser.now.kind != "end":
        raise parser.error("'and', 'or' or the end")
    return tree


def _tokens(text: str) -> list[_Token]:
    tokens, at, end = [], 0, len(text.rstrip())
    while at < end:
        found = _TOKEN.match(text, at)
        if found is None:
            at = len(text) - len(text[at:].lstrip())
            is_open = text[at] in "'\""
            raise ExpressionError(
                "the string does not end" if is_open else "a character that has no meaning here",
                text,
                at,
            )
        kind = str(found.lastgroup)
        tokens.append(_Token(kind, found[kind], found.start(kind)))
        at = found.end()
    tokens.append(_Token("end", "", end))
    return tokens


__all__ = ["MAX_CHARACTERS", "MAX_DEPTH", "MAX_TESTS", "parse"]
