"""A message as rows of a table, whatever its format. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

HIDDEN: Final = "•••"
"""Stands for every hidden value, whatever its length: the length would tell."""
MAX_ROWS: Final = 3000
_HARMLESS: Final = re.compile(r"[A-Za-z0-9 _.,:;/+()^&~|\\#<>=*@%'\[\]-]{0,96}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One element that has a value."""

    name: str
    """Its last step, below the rows it stands under: `PID-5`, `family`, `given[1]`."""
    path: str = ""
    """Its whole address, where that is more than its name: `name[0].family`."""
    label: str = ""
    """What the standard calls it; empty where it is not known here."""
    value: str = field(default="", repr=False)
    is_hidden: bool = False
    is_head: bool = False
    """It begins a segment or an object: no value of its own."""
    depth: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Masked:
    """A message as an operator sees it."""

    format: str
    """`HL7 v2 message ADT^A01`, `FHIR Patient`, or the content type."""
    rows: tuple[Row, ...] = ()
    hidden: int = 0
    """How many values are hidden."""
    size: int = 0
    """Bytes of the content."""
    is_cut: bool = False
    """There is more than is shown."""
    note: str = ""
    """Why nothing can be shown of it, in words."""


def is_harmless(text: str) -> bool:
    """Whether a value has the shape of a code, a time or a short name of a thing."""
    return bool(_HARMLESS.match(text))


__all__ = ["HIDDEN", "MAX_ROWS", "Masked", "Row", "is_harmless"]
