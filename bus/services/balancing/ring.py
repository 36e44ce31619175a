"""Consistent hashing: a key stays with its instance, and few keys move when instances come or go.

Karger's ring with points by weight; loads are bounded by the picker that walks it (Mirrokni, Thorup, Zadimoghaddam,
"Consistent Hashing with Bounded Loads", 2017). Every caller that knows the same instances walks the same way.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Final

_HASH_BYTES: Final = 8
_PER_DIGEST: Final = 8
_FULL_WEIGHT: Final = 100


def _hash(text: bytes) -> int:
    return int.from_bytes(blake2b(text, digest_size=_HASH_BYTES).digest(), "big")


def _points(member: str, count: int) -> Iterator[tuple[int, str]]:
    for block in range(0, count, _PER_DIGEST):
        digest = blake2b(f"{member}/{block}".encode()).digest()
        for i in range(min(_PER_DIGEST, count - block)):
            yield int.from_bytes(digest[i * _HASH_BYTES : (i + 1) * _HASH_BYTES], "big"), member


class Ring:
    """Members on a circle. A lookup costs O(log n); a change moves only the keys of the members that changed."""

    def __init__(self, points: int = 64) -> None:
        if points < 1:
            raise ValueError(f"{points} points a member; at least 1 is needed")
        self._points_each = points
        self._weights: dict[str, int] = {}
        self._points: list[tuple[int, str]] = []

    def update(self, weights: Mapping[str, int]) -> None:
        """Make these the members; a weight of 100 has the full number of points."""
        if weights == self._weights:
            return
        old, new = self._weights.items(), weights.items()
        gone = {member for member, _ in old - new}
        if gone:
            self._points = [point for point in self._points if point[1] not in gone]
        for member, weight in new - old:
            count = max(1, self._points_each * weight // _FULL_WEIGHT)
            self._points.extend(_points(member, count))
        self._points.sort()
        self._weights = dict(weights)

    def walk(self, key: bytes) -> Iterator[str]:
        """Each member once, the key's own first."""
        count = len(self._points)
        start = bisect_left(self._points, (_hash(key), ""))
        seen: set[str] = set()
        for step in range(count):
            member = self._points[(start + step) % count][1]
            if member not in seen:
                seen.add(member)
                yield member


__all__ = ["Ring"]
