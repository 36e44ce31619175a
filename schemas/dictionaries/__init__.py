"""The dictionaries that this version ships: learned from synthetic messages alone, named by their SHA-256.

`dictionaries.json` lists them; `scripts/train_dictionaries.py` makes them. One that was ever shipped stays, since what
was stored with it must still open; the newest of each kind is what senders take.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Final, NamedTuple

INDEX: Final = "dictionaries.json"


class ShippedDictionary(NamedTuple):
    """One dictionary of the package."""

    id: bytes
    """SHA-256 of `raw`."""
    kind: str
    """What it was trained on: `hl7v2` or `fhir-json`."""
    is_current: bool
    """Whether senders of this version use it."""
    raw: bytes

    def __repr__(self) -> str:
        """Without the bytes."""
        return f"ShippedDictionary(id={self.id.hex()[:16]!r}, kind={self.kind!r}, {len(self.raw)} bytes)"


@cache
def shipped() -> tuple[ShippedDictionary, ...]:
    """Every dictionary of the package, as its index lists them; read once."""
    folder = resources.files(__name__)
    listed = json.loads(folder.joinpath(INDEX).read_text("utf-8"))
    return tuple(
        ShippedDictionary(
            id=bytes.fromhex(one["id"]),
            kind=one["kind"],
            is_current=one["current"],
            raw=folder.joinpath(one["file"]).read_bytes(),
        )
        for one in listed
    )


__all__ = ["INDEX", "ShippedDictionary", "shipped"]
