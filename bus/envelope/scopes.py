"""Which subjects share an epoch key, and which subjects a list of patterns covers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from schemas.subjects import matches

_ONE_OF_MANY: Final = re.compile(r"(?:[0-9]+|[0-9a-f]{16,})\Z")


def scope_of(subject: str) -> str:
    """The pattern under which subjects of one stream share an epoch key.

    A token that is one of many (a partition's number, a message id of 16 hex digits or more) becomes `*`:
    `evt.north.patient.admitted.17` gives `evt.north.patient.admitted.*`.
    """
    return ".".join("*" if _ONE_OF_MANY.match(part) else part for part in subject.split("."))


def covers(patterns: Iterable[str], subject: str) -> bool:
    """Whether one of the patterns covers the subject."""
    return any(matches(pattern, subject) for pattern in patterns)


__all__ = ["covers", "scope_of"]
