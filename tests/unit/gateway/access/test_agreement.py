"""Gateways of one site work under one key, or the second does not start."""

from __future__ import annotations

import pytest

from bus.transport.memory import MemoryBroker
from gateway.access.agreement import check_site_key
from schemas.errors import ConfigurationError
from schemas.subjects import SiteId


async def test_the_same_key_is_agreed_on_again_and_again(memory_broker: MemoryBroker) -> None:
    records = (await memory_broker.connect()).key_value
    for _ in range(3):
        await check_site_key(records, SiteId("north"), b"k" * 32)


async def test_another_key_is_refused_with_what_to_do(memory_broker: MemoryBroker) -> None:
    records = (await memory_broker.connect()).key_value
    await check_site_key(records, SiteId("north"), b"k" * 32)
    with pytest.raises(ConfigurationError, match="copy of that one's data/trust"):
        await check_site_key(records, SiteId("north"), b"o" * 32)


async def test_another_site_on_the_same_server_has_its_own_key(memory_broker: MemoryBroker) -> None:
    records = (await memory_broker.connect()).key_value
    await check_site_key(records, SiteId("north"), b"k" * 32)
    await check_site_key(records, SiteId("south"), b"o" * 32)
