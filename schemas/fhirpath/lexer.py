"""A path's text to tokens (FHIRPath 2.0, lexical elements)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from schemas.fhirpath.errors import FhirPathError

MAX_CHARACTERS: Final = 16_384

_TOKEN: Final = re.compile(
    r"""
      (?P<blank>\s+|//[^\r\n]*|/\*.*?\*/)
    | (?P<temporal>@T\d\d(?::\d\d(?::\d\d(?:\.\d+)?)?)?
        | @\d{4}(?:-\d\d(?:-\d\d)?)?(?:T(?:\d\d(?::\d\d(?::\d\d(?:\.\d+)?)?)?(?:Z|[+-]\d\d:\d\d)?)?)?)
    | (?P<number>\d+(?:\.\d+)?)
    | (?P<string>'(?:[^'\\]|\\.)*')
    | (?P<quoted>`(?:[^`\\]|\\.)*`)
    | (?P<special>\$(?:this|index|total)\b)
    | (?P<symbol><=|>=|!=|!~|[=~<>+\-*/&|()\[\]{},.%])
    | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_ESCAPE: Final = re.compile(r"\\(u[0-9A-Fa-f]{4}|.)", re.DOTALL)
_ESCAPED: Final = {"f": "\f", "n": "\n", "r": "\r", "t": "\t"} | {c: c for c in "\\/'\"`"}


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of a path's text. `text` is unescaped for strings and quoted names."""

    kind: str
    text: str
    position: int

    @property
    def keyword(self) -> str:
        """The word or symbol, or nothing for what is quoted."""
        return self.text if self.kind in ("word", "symbol") else ""


def tokens(text: str) -> list[Token]:
    """All tokens and one of kind `end`. Raises `FhirPathError`."""
    if len(text) > MAX_CHARACTERS:
        detail = f"{len(text)} characters; {MAX_CHARACTERS} are allowed"
        raise FhirPathError(detail, text, MAX_CHARACTERS)
    found: list[Token] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or (text.startswith("/*", at) and match.lastgroup != "blank"):
            raise FhirPathError(_unknown(text[at]), text, at)
        kind = str(match.lastgroup)
        if kind != "blank":
            found.append(Token(kind, _content(kind, match[0], text, at), at))
        at = match.end()
    found.append(Token("end", "", len(text)))
    return found


def _unknown(character: str) -> str:
    return {
        "'": "the string does not end",
        "`": "the quoted name does not end",
        "/": "the comment does not end",
    }.get(character, "a character that has no meaning here")


def _content(kind: str, raw: str, text: str, at: int) -> str:
    if kind not in ("string", "quoted"):
        return raw

    def unescaped(match: re.Match[str]) -> str:
        code = match[1]
        if len(code) == 5:
            return chr(int(code[1:], 16))
        if code not in _ESCAPED:
            raise FhirPathError("an escape that has no meaning", text, at + 1 + match.start())
        return _ESCAPED[code]

    return _ESCAPE.sub(unescaped, raw[1:-1])


__all__ = ["MAX_CHARACTERS", "Token", "tokens"]
