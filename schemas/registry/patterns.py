"""Patterns as keys of a bucket, and which of several bindings holds for a subject.

The binding with more literal tokens wins; of those with equally many, the one with more `*`. So whatever lies within
another pattern is stronger than it. Two patterns of one rank that share a subject cannot both be bound.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from schemas import subjects
from schemas.errors import SubjectError
from schemas.registry.errors import SchemaError
from schemas.subjects import Pattern, SiteId

_STAR: Final = "=s"
_REST: Final = "=g"
_CALL: Final = re.compile(
    r"svc\.[a-z0-9_-]+\.(?:[a-z0-9_-]+|\*)\.v\d{1,5}\.rpc\.(?:[a-z0-9_-]+|\*)\Z"
)
_ESCAPED: Final = {"*": _STAR, ">": _REST}
_PLAIN: Final = {escaped: plain for plain, escaped in _ESCAPED.items()}


def is_of_calls(pattern: str) -> bool:
    """Whether a pattern speaks of calls to services, not of events."""
    return pattern.startswith("svc.")


def is_call_pattern(pattern: str) -> bool:
    """Whether it is `svc.<site>.<service>.v<major>.rpc.<method>`; service and method may be `*`."""
    return _CALL.match(pattern) is not None


def is_of_site(site: SiteId, pattern: str) -> bool:
    """Whether everything that a pattern covers is an event of a site, or a call to its services."""
    if is_of_calls(pattern):
        return is_call_pattern(pattern) and pattern.split(".")[1] == site
    return subjects.matches(subjects.events_of(site), pattern)


def key_of(pattern: str) -> str:
    """The key of a pattern in a bucket, whose keys hold no wildcards: `evt.north.raw.=g`."""
    return ".".join(_ESCAPED.get(token, token) for token in pattern.split("."))


def pattern_of(key: str) -> Pattern:
    """The pattern of a key. Raises `SchemaError` for a key that `key_of` does not give."""
    try:
        pattern = subjects.pattern(".".join(_PLAIN.get(token, token) for token in key.split(".")))
    except SubjectError:
        raise SchemaError("a key of the bindings' bucket is no escaped subject pattern") from None
    if key_of(pattern) != key:
        raise SchemaError("a key of the bindings' bucket is no escaped subject pattern")
    return pattern


def schema_key(schema: str) -> str:
    """`sha256.<64 hex>`: the key of a descriptor closure."""
    return f"sha256.{schema}"


def rank(pattern: str) -> tuple[int, int]:
    """How specific a pattern is: literal tokens, then `*`."""
    tokens = pattern.split(".")
    stars, rests = tokens.count("*"), tokens.count(">")
    return len(tokens) - stars - rests, stars


def strongest(patterns: Iterable[str], subject: str) -> str | None:
    """The pattern that holds for a subject; of two of one rank, which no writer may leave, the first by name."""
    covering = sorted(one for one in patterns if subjects.matches(one, subject))
    return max(covering, key=rank, default=None)


def conflicting(pattern: str, others: Iterable[str]) -> list[str]:
    """Those of the others that share a subject with the pattern at the same rank."""
    wanted = rank(pattern)
    return sorted(
        one
        for one in others
        if one != pattern and rank(one) == wanted and subjects.overlaps(one, pattern)
    )


__all__ = [
    "conflicting",
    "is_call_pattern",
    "is_of_calls",
    "is_of_site",
    "key_of",
    "pattern_of",
    "rank",
    "schema_key",
    "strongest",
]
