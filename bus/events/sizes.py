"""How large an event may be, so that whatever is accepted can also become a dead letter and be replayed. Pure.

A dead letter and a replay order hold the original envelope, byte for byte, in an envelope of their own. An event that
just fitted the carrier could never step aside; so events are bounded below what the carrier takes.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from bus.envelope.limits import SHELL_BYTES, Limits
from bus.envelope.padding import padme
from bus.envelope.types import ContentTooLarge
from bus.transport.protocol import PayloadTooLarge
from schemas.errors import ConfigurationError

HEADER_ROOM_BYTES: Final = 4096
"""What the carrier counts besides the payload: its own headers."""
WRAPPING_BYTES: Final = 16 * 1024
"""Everything in a dead letter or an order besides the original envelope; see `shortened`."""
MIN_PAYLOAD_BYTES: Final = 256 * 1024
"""A carrier that takes less is refused at the start: hardly a message would pass."""
TOO_LARGE: Final = frozenset({PayloadTooLarge.code, ContentTooLarge.code})
"""Codes that mean: not this message, not on this carrier."""
_TEXT_CHARACTERS: Final = 1000


def sealed_at_most(content_bytes: int) -> int:
    """The most bytes that the envelope of a content can have: padding may take one bucket more than it needs."""
    return padme(padme(content_bytes) + 1) + SHELL_BYTES


@lru_cache(maxsize=8)
def max_content_bytes(max_payload: int) -> int:
    """The largest content of an event on a carrier that takes `max_payload` bytes.

    Raises `ConfigurationError` for a carrier that takes hardly anything.
    """
    if max_payload < MIN_PAYLOAD_BYTES:
        raise ConfigurationError(
            f"the NATS server takes messages of at most {max_payload} bytes (max_payload); medmesh needs at least "
            f"{MIN_PAYLOAD_BYTES}, 8 MB is a good value"
        )
    room = min(max_payload - HEADER_ROOM_BYTES, Limits().max_envelope_bytes)
    low, high = 0, room
    while low < high:
        middle = (low + high + 1) // 2
        if sealed_at_most(sealed_at_most(middle) + WRAPPING_BYTES) <= room:
            low = middle
        else:
            high = middle - 1
    return low


def check_event(content_bytes: int, max_payload: int) -> None:
    """Raise `ContentTooLarge`, naming setting and limit, for an event that could not become a dead letter."""
    most = max_content_bytes(max_payload)
    if content_bytes > most:
        envelope = Limits().max_envelope_bytes
        bound = f"the NATS server takes {max_payload} (max_payload)"
        if max_payload - HEADER_ROOM_BYTES > envelope:
            bound = f"an envelope has at most {envelope} (max_envelope_bytes)"
        raise ContentTooLarge(
            f"the event has {content_bytes} bytes; at most {most} fit, since it must also fit into a dead letter "
            f"and {bound}"
        )


def shortened(text: str) -> str:
    """A text of ours that travels beside an original envelope: bounded, so that what holds both always fits."""
    return text if len(text) <= _TEXT_CHARACTERS else text[: _TEXT_CHARACTERS - 1] + "…"


__all__ = [
    "HEADER_ROOM_BYTES",
    "MIN_PAYLOAD_BYTES",
    "TOO_LARGE",
    "WRAPPING_BYTES",
    "check_event",
    "max_content_bytes",
    "sealed_at_most",
    "shortened",
]
