"""From a consumer's patterns to those of one partition: `evt.north.raw.>` is `evt.north.raw.*.17` for 17. Pure."""

from __future__ import annotations

from typing import Final

from schemas.errors import SubjectError
from schemas.subjects import PARTITIONS, matches, pattern

_TOKENS: Final = 5
"""Of an event subject: `evt.<site>.<domain>.<event>.<partition>`."""


def narrowed(patterns: tuple[str, ...], partition: int) -> tuple[str, ...]:
    """What of the patterns lies in one partition, none covered by another; empty when nothing does.

    Raises `SubjectError` for a pattern that is not one of events.
    """
    found = dict.fromkeys(one for one in (_narrow(p, partition) for p in patterns) if one)
    return tuple(
        one for one in found if not any(one != other and matches(other, one) for other in found)
    )


def partitions_in(patterns: tuple[str, ...]) -> tuple[int, ...]:
    """Every partition in which the patterns cover something. Raises `SubjectError`."""
    return tuple(p for p in range(PARTITIONS) if narrowed(patterns, p))


def _narrow(wanted: str, partition: int) -> str:
    parts = pattern(wanted).split(".")
    if parts[-1] == ">" and len(parts) <= _TOKENS:
        parts[-1:] = ["*"] * (_TOKENS + 1 - len(parts))
    if parts[0] != "evt" or len(parts) != _TOKENS:
        raise SubjectError(
            f"{wanted!r} cannot be shared by partition: it must be evt.<site>.<domain>.<event>.<partition>, "
            "with * or a final > where anything may stand"
        )
    last = parts[-1]
    if last != "*" and not _is_partition(last):
        raise SubjectError(
            f"{wanted!r} cannot be shared by partition: its last part {last!r} is neither * nor 0 to {PARTITIONS - 1}"
        )
    if last not in ("*", str(partition)):
        return ""
    return ".".join((*parts[:-1], str(partition)))


def _is_partition(text: str) -> bool:
    return text.isascii() and text.isdigit() and text == str(int(text)) and int(text) < PARTITIONS


__all__ = ["narrowed", "partitions_in"]
