"""Places to go on at: opaque, and bound to their question by a keyed hash. Pure."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Sequence
from typing import Final, TypeAlias

import msgspec

from adapters.fhir.store.refusals import Refusal
from schemas.keyed import keyed_hash

Key: TypeAlias = str | int | float
_MAC_BYTES: Final = 12
_MAX_CHARS: Final = 4096


class Place(msgspec.Struct, frozen=True, array_like=True):
    """The last row that was shown."""

    row: int
    keys: list[Key] = []
    """Its values of what is sorted by."""
    total: int = -1
    """As the first page had it; -1: not counted."""


_decoder: Final = msgspec.msgpack.Decoder(Place)


class Cursors:
    """Writes and reads places under the site's key."""

    def __init__(self, site_key: bytes) -> None:
        self._hash = keyed_hash(site_key)

    def write(self, place: Place, question: Sequence[str]) -> str:
        """A place as text for an address."""
        packed = msgspec.msgpack.encode(place)
        return base64.urlsafe_b64encode(self._mac(packed, question) + packed).decode().rstrip("=")

    def read(self, text: str, question: Sequence[str]) -> Place:
        """The place. Raises `Refusal` (400) for one that was not written here for the same question."""
        try:
            raw = base64.urlsafe_b64decode(text[:_MAX_CHARS] + "=" * (-len(text) % 4))
        except (binascii.Error, ValueError):
            raise _wrong() from None
        mac, packed = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(packed, question)):
            raise _wrong()
        return _decoder.decode(packed)

    def _mac(self, packed: bytes, question: Sequence[str]) -> bytes:
        asked = msgspec.msgpack.encode(list(question))
        return self._hash.digest(b"fhir-store-cursor.", asked, packed)[:_MAC_BYTES]


def _wrong() -> Refusal:
    text = "the cursor does not belong to this search: begin again with its first page"
    return Refusal(400, "invalid", text, expression="http._cursor")


__all__ = ["Cursors", "Key", "Place"]
