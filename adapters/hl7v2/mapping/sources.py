"""Source paths of rules: `PID-3[*].4`, `.1.2`, `.`, `parameter.name`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from adapters.hl7v2.mapping.errors import TablesError

EVERY: Final = 0
"""The repetition of `[*]`."""
_FIELD: Final = re.compile(
    r"(?P<segment>[A-Z][A-Z0-9]{2})-(?P<field>[1-9]\d{0,2})"
    r"(?:\[(?P<repetition>\*|[1-9]\d{0,3})\])?"
    r"(?:\.(?P<component>[1-9]\d{0,2})(?:\.(?P<subcomponent>[1-9]\d{0,2}))?)?\Z"
)
_RELATIVE: Final = re.compile(
    r"\.(?:(?P<component>[1-9]\d{0,2})(?:\.(?P<subcomponent>[1-9]\d{0,2}))?)?\Z"
)
_PARAMETER: Final = re.compile(r"parameter\.(?P<name>[a-z][a-z0-9_]{0,63})\Z")


class Kind(Enum):
    """What a source reads."""

    FIELD = "field"
    RELATIVE = "relative"
    PARAMETER = "parameter"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A parsed source. Numbers are 0 where none is given; `repetition` is 1 then, and EVERY for `[*]`."""

    kind: Kind
    text: str
    segment: str = ""
    field: int = 0
    repetition: int = 1
    component: int = 0
    subcomponent: int = 0
    name: str = ""


def parse_source(text: str, where: str) -> Source:
    """Parse a source path. Raises `TablesError`."""
    if found := _FIELD.match(text):
        repetition = found["repetition"]
        return Source(
            kind=Kind.FIELD,
            text=text,
            segment=found["segment"],
            field=int(found["field"]),
            repetition=EVERY if repetition == "*" else int(repetition or 1),
            component=int(found["component"] or 0),
            subcomponent=int(found["subcomponent"] or 0),
        )
    if found := _RELATIVE.match(text):
        return Source(
            kind=Kind.RELATIVE,
            text=text,
            component=int(found["component"] or 0),
            subcomponent=int(found["subcomponent"] or 0),
        )
    if found := _PARAMETER.match(text):
        return Source(kind=Kind.PARAMETER, text=text, name=found["name"])
    raise TablesError(
        f"{where}: {text!r:.80} is no source; write PID-3, PID-3[2], PID-3[*].4.1, .1.2, . or parameter.name"
    )


__all__ = ["EVERY", "Kind", "Source", "parse_source"]
