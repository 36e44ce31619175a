"""How large an event may be: the arithmetic, from the smallest carrier to the largest."""

from __future__ import annotations

import pytest

from bus.envelope.limits import Limits
from bus.envelope.types import ContentTooLarge
from bus.events.sizes import (
    HEADER_ROOM_BYTES,
    MIN_PAYLOAD_BYTES,
    WRAPPING_BYTES,
    check_event,
    max_content_bytes,
    sealed_at_most,
    shortened,
)
from schemas.errors import ConfigurationError

MIB = 1 << 20


@pytest.mark.parametrize("payload", [MIN_PAYLOAD_BYTES, MIB, 5 * MIB + 12345, 8 * MIB, 64 * MIB])
def test_the_largest_event_fits_into_a_dead_letter_and_little_is_given_away(payload: int) -> None:
    most = max_content_bytes(payload)
    room = min(payload - HEADER_ROOM_BYTES, Limits().max_envelope_bytes)
    assert sealed_at_most(sealed_at_most(most) + WRAPPING_BYTES) <= room
    assert most > room * 0.75


def test_the_default_limit_of_mllp_fits_the_embedded_server() -> None:
    assert max_content_bytes(8 * MIB) > 7 * MIB + 64 * 1024


def test_too_large_is_said_with_the_setting_and_the_limit() -> None:
    most = max_content_bytes(MIB)
    check_event(most, MIB)
    with pytest.raises(
        ContentTooLarge, match=rf"{most + 1} bytes; at most {most} fit.*max_payload"
    ):
        check_event(most + 1, MIB)


def test_a_carrier_that_takes_hardly_anything_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="max_payload"):
        max_content_bytes(MIN_PAYLOAD_BYTES - 1)


def test_texts_beside_an_envelope_are_bounded() -> None:
    assert shortened("short") == "short"
    assert len(shortened("long" * 1000).encode()) < 2000
