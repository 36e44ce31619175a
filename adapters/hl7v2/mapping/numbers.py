"""Numbers whose text is kept: 1.10 stays 1.10."""

from __future__ import annotations

import re
from typing import Final

_DECIMAL: Final = re.compile(
    r"(?P<sign>[+-]?)(?P<whole>\d{0,18})(?:\.(?P<fraction>\d{0,18}))?\Z", re.ASCII
)


_PLAIN: Final = re.compile(r"-?(?:0|[1-9]\d{0,17})(?:\.\d{1,18})?\Z", re.ASCII)
"""Written as JSON writes it."""


class DecimalText(float):
    """A FHIR decimal: compares as a number, is written as `text`. `writing.to_json` knows it."""

    __slots__ = ("text",)
    text: str

    @classmethod
    def parse(cls, text: str) -> DecimalText:
        """Of a number as HL7 writes it: `+1.10`, `.5`, `007`. Raises ValueError."""
        if _PLAIN.match(text):
            plain = cls(text)
            plain.text = text
            return plain
        found = _DECIMAL.match(text)
        if found is None or not (found["whole"] or found["fraction"]):
            raise ValueError("no decimal number")
        whole = found["whole"].lstrip("0") or "0"
        sign = "-" if found["sign"] == "-" else ""
        written = sign + whole + (f".{found['fraction']}" if found["fraction"] else "")
        made = cls(written)
        made.text = written
        return made

    def __reduce__(self) -> tuple[object, ...]:
        return DecimalText.parse, (self.text,)


__all__ = ["DecimalText"]
