"""MSH-1 and MSH-2: the delimiters that a message chose for itself (HL7 v2.5.1 section 2.5.4)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from adapters.hl7v2.codec.errors import DelimitersRefused

_USUAL: Final = rb"^~\&"
_MAX_ENCODING_CHARACTERS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Delimiters:
    """One byte each; empty when the message has none, in which case nothing is split or escaped by it."""

    field: bytes = b"|"
    component: bytes = b"^"
    repetition: bytes = b"~"
    escape: bytes = b"\\"
    subcomponent: bytes = b"&"
    truncation: bytes = b""
    """The fifth character of MSH-2, `#` since v2.7. It never splits."""
    encoding_characters: bytes = _USUAL
    """MSH-2 as it was sent."""


@lru_cache(maxsize=256)
def delimiters_of(field: bytes, encoding_characters: bytes) -> Delimiters:
    r"""Check MSH-1 and MSH-2 and return the delimiters.

    Characters that a short MSH-2 leaves out get their usual value (`^~\&`), or none when another delimiter has it.
    Raises `DelimitersRefused` on letters, digits, spaces, control or non-ASCII bytes, on duplicates, on a sixth.
    """
    if len(encoding_characters) > _MAX_ENCODING_CHARACTERS:
        raise DelimitersRefused(
            f"{len(encoding_characters)} encoding characters; 2 to 5 are allowed", location="MSH-2"
        )
    given = field + encoding_characters
    for i, byte in enumerate(given):
        if not 0x20 < byte < 0x7F or chr(byte).isalnum():
            raise DelimitersRefused(
                "a delimiter must be an ASCII punctuation character",
                location="MSH-2" if i else "MSH-1",
            )
    if len(set(given)) != len(given):
        raise DelimitersRefused("two delimiters are the same character", location="MSH-2")
    chosen = [encoding_characters[i : i + 1] for i in range(4)]
    for i, byte in enumerate(_USUAL):
        if not chosen[i] and byte not in given:
            chosen[i] = bytes((byte,))
    return Delimiters(
        field=field,
        component=chosen[0],
        repetition=chosen[1],
        escape=chosen[2],
        subcomponent=chosen[3],
        truncation=encoding_characters[4:5],
        encoding_characters=encoding_characters,
    )


DEFAULT_DELIMITERS: Final = Delimiters()

__all__ = ["DEFAULT_DELIMITERS", "Delimiters", "delimiters_of"]
