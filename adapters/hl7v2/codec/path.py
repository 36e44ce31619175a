"""Addresses inside a message: `PID-3[2].4.1`, `OBX[3]-5`, `MSH-9.1`, `OBX[*]-3.1`.

Segment, its occurrence in the message (groups play no part), field, repetition, component, subcomponent; all count
from 1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from adapters.hl7v2.codec.errors import PathError

_PATH: Final = re.compile(
    r"(?P<segment>[A-Z][A-Z0-9]{2})(?:\[(?P<occurrence>\*|[1-9]\d{0,6})\])?"
    r"(?:-(?P<field>[1-9]\d{0,3})(?:\[(?P<repetition>\*|[1-9]\d{0,6})\])?"
    r"(?:\.(?P<component>[1-9]\d{0,3})(?:\.(?P<subcomponent>[1-9]\d{0,3}))?)?)?\Z"
)
EVERY: Final = 0
"""The value of an index written as `*`, or not written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """A parsed address. `occurrence` and `repetition` are EVERY when not given; the rest 0 when not given."""

    text: str
    segment: str
    key: bytes
    """The segment's name, as it stands in a message."""
    occurrence: int = EVERY
    field: int = 0
    repetition: int = EVERY
    component: int = 0
    subcomponent: int = 0


@lru_cache(maxsize=4096)
def parse_path(text: str) -> Path:
    """Parse an address. Raises `PathError`, which shows the grammar (addresses are configuration, not content)."""
    found = _PATH.match(text)
    if found is None:
        raise PathError(
            f"{text[:64]!r} is no path; write SEG[n]-field[n].component.subcomponent, "
            "such as PID-3[2].4.1, OBX[3]-5 or MSH-9.1; all count from 1"
        )
    number = {name: int(value) for name, value in found.groupdict().items() if _is_number(value)}
    name = found["segment"]
    return Path(text=text, segment=name, key=name.encode("ascii"), **number)


def _is_number(value: str | None) -> bool:
    return value is not None and value.isdigit()


__all__ = ["EVERY", "Path", "parse_path"]
