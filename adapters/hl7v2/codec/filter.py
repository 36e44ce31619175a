"""Filters on messages: `MSH-9.1 in ('ADT', 'ORM') and PID-3 valued`. The language is `schemas.expression`'s."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from adapters.hl7v2.codec.limits import DEFAULT_LIMITS, Limits
from adapters.hl7v2.codec.message import Message
from adapters.hl7v2.codec.path import parse_path
from schemas.expression import compile_expression

_BLANKS: Final = frozenset({"", '""'})


class Hl7Paths:
    """HL7 v2 paths for expressions. An index that is not given, or `*`, means every occurrence or repetition."""

    @property
    def blanks(self) -> frozenset[str]:
        """An empty field and a null are no values."""
        return _BLANKS

    def compile(self, text: str) -> Callable[[Message], Sequence[str]]:
        """Compile `OBX[*]-3.1`; `OBX` alone finds the segment's name once for each segment. Raises `PathError`."""
        at = parse_path(text)
        if at.field:
            return lambda message: message.get_all(text)
        return lambda message: [at.segment] * message.count(text)


def compile_filter(
    text: str,
    *,
    charset: str | None = None,
    fallback: Sequence[str] = (),
    limits: Limits = DEFAULT_LIMITS,
) -> Callable[[Message | bytes], bool]:
    """Compile a filter. Bytes are parsed first; `charset`, `fallback` and `limits` are those of `Message.parse`.

    Raises `ExpressionError` for a wrong filter (a ValueError, with a caret under the place). The function raises
    `Hl7Error` for bytes that are no message, and `CharsetError` when a value that it looks at cannot be decoded.
    """
    test = compile_expression(text, Hl7Paths())
    tried = tuple(fallback)

    def is_wanted(message: Message | bytes) -> bool:
        if isinstance(message, bytes):
            message = Message.parse(message, charset=charset, fallback=tried, limits=limits)
        return test(message)

    return is_wanted


__all__ = ["Hl7Paths", "compile_filter"]
