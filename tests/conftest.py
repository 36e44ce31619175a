"""Fixtures that any test may use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bus.transport.memory import MemoryBroker
from tests.nats_server import NatsServer, require_server

StartNatsServer = Callable[..., NatsServer]


@pytest.fixture
def memory_broker() -> MemoryBroker:
    """A fresh in-memory broker: `await memory_broker.connect()` gives a transport."""
    return MemoryBroker()


@pytest.fixture
def start_nats_server(tmp_path: Path) -> Iterator[StartNatsServer]:
    """Start as many private servers as the test asks for; all end with it."""
    require_server()
    servers: list[NatsServer] = []

    def start(
        *, jetstream: str = "", extra: str = "", folder: Path | None = None, greets: bool = True
    ) -> NatsServer:
        place = folder or tmp_path / f"nats-{len(servers)}"
        server = NatsServer(place, jetstream=jetstream, extra=extra, greets=greets)
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def nats_server(start_nats_server: StartNatsServer) -> NatsServer:
    """One private server: `url`, `port`, `kill()`, `start()`, `restart()`, `pause()`, `resume()`."""
    return start_nats_server()
