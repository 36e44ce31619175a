"""What is wrong with tables. The message names file, document, rule and key, what was seen and what is allowed."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import ClassVar

from schemas.errors import ConfigurationError


class TablesError(ConfigurationError):
    """A mapping table cannot be used. Tables are configuration: the message may show what stands in them."""

    code: ClassVar[str] = "mapping_tables"


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'a' or 'b'?`, or an empty text when nothing is near."""
    close = get_close_matches(name, list(known), n=3, cutoff=0.6)
    return "; did you mean " + " or ".join(repr(one) for one in close) + "?" if close else ""


__all__ = ["TablesError", "nearest"]
