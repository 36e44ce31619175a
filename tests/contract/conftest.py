"""Every implementation of a seam runs the same suite."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from bus.transport.protocol import Transport
from tests.conftest import StartNatsServer
from tests.contract.carriers import PERMISSIONS, Carrier, MemoryCarrier, NatsCarrier

NATS = [pytest.param(path, marks=pytest.mark.server) for path in ("nats-fast", "nats-stock")]


@pytest.fixture(params=["memory", *NATS])
async def carrier(request: pytest.FixtureRequest) -> AsyncIterator[Carrier]:
    """A carrier of events: the in-memory twin, or a private nats-server on the fast or the stock path."""
    made: Carrier
    if request.param == "memory":
        made = MemoryCarrier()
    else:
        start: StartNatsServer = request.getfixturevalue("start_nats_server")
        made = NatsCarrier(start(extra=PERMISSIONS), fast=request.param == "nats-fast")
    yield made
    await made.close()


@pytest.fixture
async def transport(carrier: Carrier) -> Transport:
    """One connection to the carrier."""
    return await carrier.connect()
