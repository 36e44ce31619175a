r"""Escape sequences (HL7 v2.5.1 section 2.7). Read at the leaf, written at the leaf.

F, S, T, R, E and P become delimiters; X becomes the characters of its bytes; `.br` and `.sp` line breaks; H and N
(highlighting) disappear. Everything else that has the shape of an escape (Z, C, M, other formatting commands), and
every lone escape character, stays as it was: `C:\dir` is `C:\dir`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

from adapters.hl7v2.codec.delimiters import Delimiters
from adapters.hl7v2.codec.errors import DelimitersRefused

Decode = Callable[[bytes], str]
"""Decodes bytes of the message's charset; raises ValueError when it cannot."""

_MAX_SKIPPED_LINES: Final = 20
_KEPT: Final = re.compile(
    r"(?:Z\S{0,64}|C[0-9A-Fa-f]{4}|M[0-9A-Fa-f]{4}(?:[0-9A-Fa-f]{2})?"
    r"|\.(?:in|ti|sk|fi|nf|ce|sp)[+-]?\d{0,9}|X[0-9A-Fa-f]{1,64}|P)\Z"
)


@lru_cache(maxsize=256)
def _meanings(marks: Delimiters) -> Mapping[str, str]:
    named = {
        "F": marks.field,
        "S": marks.component,
        "R": marks.repetition,
        "E": marks.escape,
        "T": marks.subcomponent,
        "P": marks.truncation,
    }
    out = {name: mark.decode("ascii") for name, mark in named.items() if mark}
    out |= {"H": "", "N": "", ".br": "\n", ".sp": "\n"}
    for lines in range(1, _MAX_SKIPPED_LINES + 1):
        out[f".sp{lines}"] = out[f".sp+{lines}"] = "\n" * lines
    return out


@lru_cache(maxsize=256)
def _escapes(marks: Delimiters) -> Mapping[int, str]:
    mark = marks.escape.decode("ascii")
    out = {code: f"{mark}X{code:02X}{mark}" for code in range(0x20) if code != 0x09}
    for name in "FSRET":
        if character := _meanings(marks).get(name):
            out[ord(character)] = f"{mark}{name}{mark}"
    return out


def unescape(text: str, marks: Delimiters, decode: Decode | None = None) -> str:
    """Replace the escape sequences of one leaf. Linear in its length; the result is at most a small multiple of it.

    `decode` reads the bytes of X sequences that are not ASCII; without it, or when it fails, such a sequence is kept.
    """
    mark = marks.escape.decode("ascii")
    if not mark or mark not in text:
        return text
    meanings, parts = _meanings(marks), text.split(mark)
    out, last, i = [parts[0]], len(parts) - 1, 1
    while i < last:
        body = parts[i]
        if (meaning := meanings.get(body)) is not None:
            out += (meaning, parts[i + 1])
            i += 2
        elif body[:1] == "X" and (raw := _hexadecimal(body)):
            i = _read_hexadecimal(parts, i, raw, out, mark, decode)
        elif _KEPT.match(body):
            out += (mark, body, mark, parts[i + 1])
            i += 2
        else:
            out += (mark, body)
            i += 1
    if i == last:
        out += (mark, parts[i])
    return "".join(out)


def _hexadecimal(body: str) -> bytes | None:
    """The bytes of an X sequence; None when it is none."""
    digits = body[1:]
    if body[:1] != "X" or not digits.isalnum():
        return None
    try:
        return bytes.fromhex(digits)
    except ValueError:
        return None


def _read_hexadecimal(
    parts: list[str], start: int, raw: bytes, out: list[str], mark: str, decode: Decode | None
) -> int:
    """Read adjacent X sequences as one run of bytes (a character can be spread over several); return where to go on."""
    run, after = [raw], start + 1
    while not parts[after] and after + 2 < len(parts) and (more := _hexadecimal(parts[after + 1])):
        run.append(more)
        after += 2
    text = _decoded(b"".join(run), decode)
    out += (f"{mark}{mark.join(parts[start:after])}{mark}" if text is None else text, parts[after])
    return after + 1


def _decoded(raw: bytes, decode: Decode | None) -> str | None:
    if raw.isascii():
        return raw.decode("ascii")
    try:
        return decode(raw) if decode else None
    except ValueError:
        return None


def escape(text: str, marks: Delimiters) -> str:
    r"""Write text so that `unescape` gives it back: delimiters as F, S, T, R, E, control characters as X (`\X0D\`).

    Raises `DelimitersRefused` when the text needs escaping and the message has no escape character.
    """
    escaped = text.translate(_escapes(marks))
    truncation = marks.truncation.decode("ascii")
    if truncation and escaped.endswith(truncation):
        mark = marks.escape.decode("ascii")
        escaped = f"{escaped[: -len(truncation)]}{mark}P{mark}"
    if not marks.escape and escaped != text:
        raise DelimitersRefused(
            "the text needs escaping and the message has no escape character", location="MSH-2"
        )
    return escaped


__all__ = ["Decode", "escape", "unescape"]
