"""The guide's conditions, spelled in a dozen ways, to the closed language of the tables."""

from __future__ import annotations

import re

from maps_official import Row

_TOKEN = re.compile(
    r"""\s*(?:(?P<text>"[^"]*"|'[^']*'|“[^”]*”)
    |(?P<operand>[A-Z][A-Z0-9]{1,2}\s?[-.]?\s?\d+(?:\.\d+)*\.?)
    |(?P<number>\d+)
    |(?P<word>[A-Za-z][A-Za-z.]*)
    |(?P<mark>!=|>=|<=|[(),=<>]))""",
    re.VERBOSE,
)
_FILLERS = {"IF", "IS", "ARE", "AREA", "DOES", "TO", "THAN", "LST", "THE"}
_VALUED = {"VALUED", "VALUE", "EXIST", "EXISTS", "POPULATED"}
_SIGNS = {"GREATER": ">", "LESS": "<", ">": ">", "<": "<", ">=": ">=", "<=": "<="}


class Unreadable(ValueError):
    """A condition that is not in the guide's usual words."""


def condition_of(row: Row, own: str) -> str:
    """The row's condition in the closed language; empty when it has none. `own` is the rule's source.

    Raises `Unreadable`.
    """
    text = row.condition.replace("IF IF", "IF").replace("VAlUED", "VALUED").strip()
    if not text:
        return ""
    return _Parser(text, row, own).parse()


class _Parser:
    def __init__(self, text: str, row: Row, own: str) -> None:
        self._row = row
        self._own = own
        self._tokens = self._cut(text)
        self._at = 0
        self._last = own

    def _cut(self, text: str) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        at = 0
        while at < len(text.rstrip()):
            match = _TOKEN.match(text, at)
            if match is None or match.lastgroup is None:
                raise Unreadable(f"{text[at : at + 20]!r} is in none of the guide's usual words")
            kind, value = match.lastgroup, match[match.lastgroup]
            at = match.end()
            if kind == "word":
                words = value.upper().split(".")
                found += [(kind, word) for word in words if word and word not in _FILLERS]
            else:
                found.append((kind, value))
        return found

    def parse(self) -> str:
        made = self._any()
        if self._peek():
            raise Unreadable(f"{self._peek()} is left over")
        return made

    def _peek(self) -> str:
        return self._tokens[self._at][1] if self._at < len(self._tokens) else ""

    def _kind(self) -> str:
        return self._tokens[self._at][0] if self._at < len(self._tokens) else ""

    def _take(self, *wanted: str) -> bool:
        if self._peek() in wanted and self._kind() != "text":
            self._at += 1
            return True
        return False

    def _any(self) -> str:
        parts = [self._every()]
        while self._take("OR"):
            parts.append(self._every())
        return " or ".join(parts)

    def _every(self) -> str:
        parts = [self._factor()]
        while self._take("AND") or self._kind() == "operand":
            one = self._factor()
            parts.append(f"({one})" if " or " in one else one)
        return " and ".join(f"({one})" if " or " in one else one for one in parts)

    def _factor(self) -> str:
        if self._take("("):
            made = self._any()
            if self._peek() and not self._take(")"):
                raise Unreadable("a parenthesis is not closed")
            return made if " and " in made or " or " not in made else f"({made})"
        return self._predicate()

    def _predicate(self) -> str:
        operands, joints = [], []
        while self._kind() == "operand":
            operands.append(self._path(self._tokens[self._at][1]))
            self._at += 1
            if self._peek() in ("AND", "OR") and self._is_shared():
                joints.append(self._peek().lower())
                self._at += 1
            else:
                break
        operands = operands or [self._last]
        self._last = operands[-1]
        tail = self._tail()
        made = tail.replace("@", operands[0])
        for joint, operand in zip(joints, operands[1:], strict=True):
            made += f" {joint} " + tail.replace("@", operand)
        return made

    def _is_shared(self) -> bool:
        """Whether the operand after AND or OR carries the predicate for both: `PID-33 AND PID-34 VALUED`."""
        return self._at + 1 < len(self._tokens) and self._tokens[self._at + 1][0] == "operand"

    def _tail(self) -> str:
        negated = self._take("NOT")
        if self._take(*_VALUED):
            if self._peek() == "NOT":
                raise Unreadable("two fields are compared")
            return "@ not valued" if negated else "@ valued"
        if self._take("EMPTY"):
            return "@ valued" if negated else "@ not valued"
        if self._take("IN"):
            return f"@ {'not ' if negated else ''}in ({', '.join(self._texts())})"
        if self._take("COUNT"):
            return f"count(@) {self._number()}"
        if self._take("LENGTH"):
            return f"length(@) {self._number()}"
        if self._take("!="):
            negated = not negated
        else:
            self._take("EQUALS", "EQUAL", "=")
            if self._take("EQUALS", "EQUAL"):
                pass
        negated = self._take("NOT") or negated
        if self._kind() == "text":
            return f"@ {'!=' if negated else '='} {self._text()}"
        raise Unreadable(f"{self._peek() or 'its end'} is not expected")

    def _number(self) -> str:
        sign = "="
        if self._peek() in _SIGNS:
            sign = _SIGNS[self._peek()]
            self._at += 1
        if self._take("OR"):
            sign += "="
        self._take("EQUALS", "EQUAL", "=")
        if self._kind() != "number":
            raise Unreadable("a number is expected")
        self._at += 1
        return f"{sign} {self._tokens[self._at - 1][1]}"

    def _text(self) -> str:
        value = self._tokens[self._at][1][1:-1]
        self._at += 1
        return f"'{value}'"

    def _texts(self) -> list[str]:
        if not self._take("("):
            raise Unreadable("a list is expected")
        found = []
        while not self._take(")"):
            if self._kind() == "text":
                found.append(self._text())
            elif not self._take(","):
                raise Unreadable("a list of texts is expected")
        return found

    def _path(self, text: str) -> str:
        found = re.match(r"([A-Z][A-Z0-9]{1,2}?)\s?[-.]?\s?(\d+)((?:\.\d+)*)\.?\Z", text)
        if found is None:
            raise Unreadable(f"{text} is no field")
        name, number, rest = found.groups()
        source = self._row.document.partition("[")[0]
        if self._row.is_datatype:
            return f".{number}{rest}"
        if name == self._row.v2_type and name != source:
            return f".{number}{rest}" if "[*]" in self._own else f"{self._own}.{number}{rest}"
        path = f"{name}-{number}"
        if rest and f"{path}[*]" == self._own:
            return rest
        return path + rest


__all__ = ["Unreadable", "condition_of"]
