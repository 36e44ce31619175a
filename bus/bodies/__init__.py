"""How a body travels inside its content: as it is, or as a zstd frame, with a dictionary or without. Pure.

A body is compressed by itself, before it is sealed: never two messages together, never with anything beside it.
"""

from __future__ import annotations

from bus.bodies.codec import BodyCodec, Encoded
from bus.bodies.dictionaries import Dictionaries
from bus.bodies.errors import BadBody, BodyReason, DictionaryMissing, UnreadableContent
from bus.bodies.policy import BodyPolicy

__all__ = [
    "BadBody",
    "BodyCodec",
    "BodyPolicy",
    "BodyReason",
    "Dictionaries",
    "DictionaryMissing",
    "Encoded",
    "UnreadableContent",
]
