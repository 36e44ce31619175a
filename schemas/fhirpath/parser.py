"""A path's text to its tree: recursive descent by precedence, bounded in length, depth and size."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from schemas.fhirpath.errors import FhirPathError
from schemas.fhirpath.lexer import Token, tokens
from schemas.fhirpath.quantity import Quantity, calendar_word
from schemas.fhirpath.temporal import Temporal, parse_date, parse_date_time, parse_time
from schemas.fhirpath.tree import (
    Binary,
    Call,
    Chain,
    Index,
    Literal,
    Member,
    Negative,
    Node,
    Several,
    Special,
    Step,
    TypeTest,
    Variable,
)
from schemas.fhirpath.values import Number

MAX_DEPTH: Final = 24
MAX_NODES: Final = 2_000
_LONGEST_NUMBER: Final = 40

# From the loosest to the tightest; `is` and `as` stand between `|` and `+`.
_LEVELS: Final[tuple[tuple[str, ...], ...]] = (
    ("implies",),
    ("or", "xor"),
    ("and",),
    ("in", "contains"),
    ("=", "~", "!=", "!~"),
    ("<", "<=", ">", ">="),
    ("|",),
    ("is", "as"),
    ("+", "-", "&"),
    ("*", "/", "div", "mod"),
)
_TYPE_LEVEL: Final = _LEVELS.index(("is", "as"))
_ASSOCIATIVE: Final = frozenset(("and", "or", "|"))
_NAMES: Final = frozenset(("as", "contains", "in", "is"))
_KEYWORDS: Final = frozenset(("and", "or", "xor", "implies", "div", "mod", "true", "false"))


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = tokens(text)
        self._at = 0
        self._nodes = 0

    @property
    def now(self) -> Token:
        return self._tokens[self._at]

    def error(self, allowed: str) -> FhirPathError:
        """What was allowed where the parser stands."""
        seen = "the end" if self.now.kind == "end" else repr(self.now.text[:40])
        return FhirPathError(f"{seen}; expected {allowed}", self._text, self.now.position)

    def expression(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise self.error(f"at most {MAX_DEPTH} nested parentheses, arguments and operators")
        return self._level(0, depth)

    def _level(self, level: int, depth: int) -> Node:
        if level == len(_LEVELS):
            return self._unary(depth)
        node = self._level(level + 1, depth)
        chained = 0
        while self.now.keyword in _LEVELS[level]:
            token = self._next()
            if level == _TYPE_LEVEL:
                node = TypeTest(token.text, node, self._type_name(), token.position)
            elif token.text in _ASSOCIATIVE:
                node = self._joined(token, node, level, depth)
                continue
            else:
                right = self._level(level + 1, depth)
                node = Binary(token.text, node, right, token.position)
            chained += 1
            if chained > MAX_DEPTH:
                raise self.error(f"at most {MAX_DEPTH} operators in a row without parentheses")
        return node

    def _joined(self, token: Token, first: Node, level: int, depth: int) -> Node:
        parts = [first, self._level(level + 1, depth)]
        while self._took(token.text):
            parts.append(self._level(level + 1, depth))
        return Several(token.text, tuple(parts), token.position)

    def _unary(self, depth: int) -> Node:
        if self.now.keyword in ("+", "-"):
            token = self._next()
            if depth > MAX_DEPTH:
                raise self.error("fewer signs")
            operand = self._unary(depth + 1)
            return Negative(operand, token.position) if token.text == "-" else operand
        return self._chain(depth)

    def _chain(self, depth: int) -> Node:
        start = self._start(depth)
        steps: list[Step] = []
        if start is None:
            steps.append(self._invocation(depth))
        while True:
            position = self.now.position
            if self._took("."):
                steps.append(self._invocation(depth))
            elif self._took("["):
                index = self.expression(depth + 1)
                self._expect("]")
                steps.append(Index(index, position))
            else:
                break
        if start is not None and not steps:
            return start
        return Chain(start, tuple(steps))

    def _start(self, depth: int) -> Node | None:
        """What a chain begins with, unless it begins at the focus."""
        self._count()
        token = self.now
        if token.kind == "special":
            self._next()
            return Special(token.text, token.position)
        if token.kind in ("number", "string", "temporal") or token.keyword in ("true", "false"):
            self._next()
            return Literal(self._literal(token))
        if self._took("("):
            inner = self.expression(depth + 1)
            self._expect(")")
            return inner
        if self._took("{"):
            self._expect("}")
            return Literal(None)
        if self._took("%"):
            return self._variable(token)
        return None

    def _variable(self, start: Token) -> Variable:
        token = self._next()
        if token.kind not in ("word", "quoted", "string"):
            self._at -= 1
            raise self.error("a variable's name")
        return Variable(token.text, start.position)

    def _literal(self, token: Token) -> str | bool | Number | Quantity | Temporal:
        if token.kind == "string":
            return token.text
        if token.kind == "number":
            return self._quantity(token)
        if token.kind == "temporal":
            return self._temporal(token)
        return token.text == "true"

    def _quantity(self, token: Token) -> Number | Quantity:
        if len(token.text) > _LONGEST_NUMBER:
            self._at -= 1
            raise self.error(f"a number of at most {_LONGEST_NUMBER} digits")
        unit = self.now
        word = calendar_word(unit.text) if unit.kind == "word" else None
        if word is not None:
            self._next()
            return Quantity(Decimal(token.text), word, True)
        if unit.kind == "string":
            self._next()
            return Quantity(Decimal(token.text), unit.text or "1")
        return Decimal(token.text) if "." in token.text else int(token.text)

    def _temporal(self, token: Token) -> Temporal:
        text = token.text[1:]
        read = parse_date_time if "T" in text else parse_date
        found = (parse_time if text.startswith("T") else read)(text)
        is_cut = self.now.position == token.position + len(token.text) and self.now.kind in (
            "word",
            "number",
        )
        if found is None or is_cut:
            self._at -= 1
            raise self.error("a date or time that exists")
        return found

    def _invocation(self, depth: int) -> Step:
        token = self.now
        is_name = token.kind == "quoted" or (token.kind == "word" and token.text not in _KEYWORDS)
        if not is_name:
            raise self.error("an element, a function, a value or '('")
        self._next()
        self._count()
        if token.kind == "word" and self._took("("):
            return Call(token.text, self._arguments(depth), token.position)
        return Member(token.text, token.position)

    def _arguments(self, depth: int) -> tuple[Node, ...]:
        if self._took(")"):
            return ()
        found = [self.expression(depth + 1)]
        while self._took(","):
            found.append(self.expression(depth + 1))
        self._expect(")")
        return tuple(found)

    def _type_name(self) -> str:
        names = [self._word("a type's name")]
        if self._took("."):
            names.append(self._word("a type's name"))
        return ".".join(names)

    def _word(self, allowed: str) -> str:
        token = self.now
        if token.kind not in ("word", "quoted"):
            raise self.error(allowed)
        return self._next().text

    def _count(self) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise self.error(f"at most {MAX_NODES} parts in one path")

    def _next(self) -> Token:
        token = self.now
        if token.kind != "end":
            self._at += 1
        return token

    def _took(self, symbol: str) -> bool:
        if self.now.keyword != symbol:
            return False
        self._at += 1
        return True

    def _expect(self, symbol: str) -> None:
        if not self._took(symbol):
            raise self.error(f"an operator or {symbol!r}")


def parse(text: str) -> Node:
    """Parse a path. Raises `FhirPathError`."""
    parser = _Parser(text)
    tree = parser.expression(0)
    if parser.now.kind != "end":
        raise parser.error("an operator or the end")
    return tree


__all__ = ["MAX_DEPTH", "MAX_NODES", "parse"]
