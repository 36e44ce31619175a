"""`Transport` on NATS, and how to get one."""

from __future__ import annotations

import os
import random
import ssl
from collections.abc import Callable, Sequence

from bus.telemetry.counters import Counters
from bus.transport.nats import hooks
from bus.transport.nats.api import JetStream
from bus.transport.nats.connection import Connection
from bus.transport.nats.key_value import BucketSpec, open_bucket
from bus.transport.nats.messenger import NatsMessenger
from bus.transport.nats.monitor import Monitor
from bus.transport.nats.options import Credentials, NatsOptions
from bus.transport.nats.presence import watch_departures
from bus.transport.nats.requests import Requests
from bus.transport.nats.store import NatsStore
from bus.transport.protocol import (
    EventStore,
    KeyValue,
    LinkState,
    Messenger,
    StreamAdministration,
    Subscription,
)


class NatsTransport:
    """One connection to NATS with its three faces. Made by `connect`."""

    def __init__(self, connection: Connection, requests: Requests, monitor: Monitor | None) -> None:
        self._connection = connection
        self._jetstream = JetStream(connection, requests)
        self._messenger = NatsMessenger(connection, requests)
        self._store = NatsStore(self._jetstream, monitor)

    @property
    def messenger(self) -> Messenger:
        """Messages that are not stored."""
        return self._messenger

    @property
    def store(self) -> EventStore:
        """Streams."""
        return self._store

    @property
    def administration(self) -> StreamAdministration:
        """Operators' view of the streams."""
        return self._store

    @property
    def link(self) -> LinkState:
        """Whether a server can be reached now."""
        return self._connection.state

    @property
    def max_payload(self) -> int:
        """The largest message that the server takes, in bytes."""
        return self._connection.max_payload

    async def key_value(
        self, bucket: str, *, history: int = 1, max_age_s: float = 0.0, in_memory: bool = False
    ) -> KeyValue:
        """Open a bucket, creating it when it is missing."""
        spec = BucketSpec(bucket, history=history, max_age_s=max_age_s, in_memory=in_memory)
        return await open_bucket(self._jetstream, spec)

    async def departures(self, gone: Callable[[str], None]) -> Subscription:
        """Call `gone` with the name of each connection of the account that ends; see `presence`."""
        return await watch_departures(self._messenger, gone)

    async def close(self) -> None:
        """Flush what is pending and disconnect."""
        await self._connection.close()


async def connect(
    servers: Sequence[str],
    *,
    name: str,
    tls: ssl.SSLContext | None = None,
    credentials: Credentials | None = None,
    options: NatsOptions | None = None,
    counters: Counters | None = None,
    rng: random.Random | None = None,
) -> NatsTransport:
    """Connect to one of `servers` (`nats://host:port`, `tls://host:port`).

    `name` is shown in the server's monitoring. Once connected, a lost connection is sought again for ever. Raises
    `Unavailable` when no server answers within `options.start_timeout_s`, `PermissionRefused` for a wrong login,
    `ConfigurationError`.
    """
    options = options or NatsOptions()
    fast = options.fast and os.environ.get("MEDMESH_NATS_FAST", "1") != "0"
    lacking = hooks.missing() if fast else []
    connection = Connection(
        servers,
        name=name,
        tls=tls,
        credentials=credentials or Credentials(),
        options=options,
        counters=counters or Counters(),
        rng=rng or random.Random(),
        fast=fast and not lacking,
    )
    if lacking:
        connection.fast_unavailable(lacking)
    requests = Requests(connection)
    await connection.start()
    try:
        await requests.start()
    except BaseException:
        await connection.close()
        raise
    return NatsTransport(
        connection, requests, Monitor(options.monitor_url) if options.monitor_url else None
    )


__all__ = ["NatsTransport", "connect"]
