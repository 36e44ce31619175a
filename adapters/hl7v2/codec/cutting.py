"""Splitting with a bound, at the speed of memory where one part is a document of megabytes."""

from __future__ import annotations

from typing import Final

_LARGE: Final = 64 * 1024
_FOUND_ONE_BY_ONE: Final = 64


def cut(raw: bytes, mark: bytes, most: int) -> list[bytes] | None:
    """`raw.split(mark)`, or None when it holds the mark more than `most` times; nothing is split then.

    `bytes.split` and `bytes.count` look at each byte in turn, `bytes.find` at many at once: in a large value the first
    marks are found one by one, which leaves nothing to split when the bulk is one part.
    """
    if len(raw) < _LARGE:
        return raw.split(mark) if len(raw) <= most or raw.count(mark) <= most else None
    parts: list[bytes] = []
    at = 0
    while len(parts) < _FOUND_ONE_BY_ONE:
        found = raw.find(mark, at)
        if found < 0:
            parts.append(raw[at:])
            return parts if len(parts) <= most + 1 else None
        parts.append(raw[at:found])
        at = found + len(mark)
    rest = raw[at:]
    if len(parts) + rest.count(mark) > most:
        return None
    return parts + rest.split(mark)


__all__ = ["cut"]
