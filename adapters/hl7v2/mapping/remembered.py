"""One value that is kept, with the resources that were created for it: see `memory`."""

from __future__ import annotations

from typing import Final

_MAX_SHIFTED: Final = 256


class Remembered:
    """One value with the resources that were created for it."""

    __slots__ = (
        "blob", "head", "ids", "is_creating", "kinds", "links", "nested", "order", "origins", "shifted", "sound",
        "spots",
    )  # fmt: skip

    def __init__(self) -> None:
        self.blob = b""
        """Value, bodies of the created resources, references (of `links`) in them, marshalled together."""
        self.is_creating = False
        """Whether the value is a reference to one of the resources."""
        self.head = 0
        """The number of that resource."""
        self.order: tuple[Remembered | None, ...] = ()
        """Of each resource, in the order of their making: what it is remembered with, None for its own."""
        self.kinds: tuple[str, ...] = ()
        """Types of the created resources."""
        self.links: tuple[tuple[Remembered | None, int, int], ...] = ()
        """Of each reference: whose resource it refers to (None for its own), its number, and that of its owner."""
        self.nested: tuple[tuple[Remembered, int], ...] = ()
        """What of it is remembered by itself, and how far from the value's place."""
        self.origins = b""
        """Value, bodies, and origins within them, marshalled together."""
        self.spots: frozenset[int] = frozenset()
        """Leaves that are in it, from the start of the value."""
        self.shifted: dict[int, frozenset[int]] = {}
        self.ids: dict[tuple[str, int], tuple[str, tuple[str, str] | None]] = {}
        """Ids and their keys by tenant and number of the resource."""
        self.sound: set[int] = set()
        """Resources that were found valid."""

    def read(self, start: int) -> frozenset[int]:
        """The leaves of it where the value starts at a spot."""
        found = self.shifted.get(start)
        if found is None:
            if len(self.shifted) >= _MAX_SHIFTED:
                self.shifted.clear()
            found = self.shifted[start] = frozenset(start + one for one in self.spots)
        return found


__all__ = ["Remembered"]
