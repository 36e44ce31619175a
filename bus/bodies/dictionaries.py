"""Which dictionaries are known, and which may be used: those of the package and those that were learned. Pure."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from bus.bodies.errors import BadBody, BodyReason
from schemas.dictionaries import ShippedDictionary, shipped

ID_BYTES: Final = 32
MAX_DICTIONARY_BYTES: Final = 256 * 1024
"""A dictionary of ours has 32 KiB; a larger one is not believed."""
MAX_LEARNED: Final = 16
"""Dictionaries of other versions that are kept, least recently used out first: they are found again."""


class Dictionaries:
    """Dictionaries by their SHA-256.

    A sender takes only those that are `open_for` it: they are where every reader finds them.
    """

    def __init__(self, own: Iterable[ShippedDictionary] | None = None) -> None:
        listed = shipped() if own is None else tuple(own)
        self._own = {one.id: one for one in listed}
        self._current = {one.kind: one.id for one in listed if one.is_current}
        self._offered: set[bytes] = set()
        self._learned: OrderedDict[bytes, bytes] = OrderedDict()

    def current(self) -> tuple[ShippedDictionary, ...]:
        """Those that senders of this version use."""
        return tuple(self._own[one] for one in self._current.values())

    def is_offered(self, dictionary_id: bytes) -> bool:
        """Whether readers of any version find it in the mesh."""
        return dictionary_id in self._offered

    def offered(self, dictionary_id: bytes) -> None:
        """It lies where every reader finds it: from now on bodies may be encoded with it."""
        self._offered.add(dictionary_id)

    def open_for(self, kind: str) -> bytes:
        """The id of the dictionary to encode bodies of a kind with; empty for none."""
        found = self._current.get(kind, b"")
        return found if found in self._offered else b""

    def find(self, dictionary_id: bytes) -> bytes | None:
        """The bytes of a dictionary; None when it is not known here."""
        own = self._own.get(dictionary_id)
        if own is not None:
            return own.raw
        raw = self._learned.get(dictionary_id)
        if raw is not None:
            self._learned.move_to_end(dictionary_id)
        return raw

    def learn(self, dictionary_id: bytes, raw: bytes) -> None:
        """Keep a dictionary that was fetched from wherever. Raises `BadBody` unless it has that hash."""
        if len(raw) > MAX_DICTIONARY_BYTES:
            raise BadBody(
                BodyReason.WRONG_DICTIONARY,
                f"a dictionary of {len(raw)} bytes was offered; at most {MAX_DICTIONARY_BYTES} are taken",
            )
        if hashlib.sha256(raw).digest() != dictionary_id:
            raise BadBody(
                BodyReason.WRONG_DICTIONARY, "another dictionary was offered in its place"
            )
        self._learned[dictionary_id] = raw
        while len(self._learned) > MAX_LEARNED:
            self._learned.popitem(last=False)


__all__ = ["ID_BYTES", "MAX_DICTIONARY_BYTES", "MAX_LEARNED", "Dictionaries"]
