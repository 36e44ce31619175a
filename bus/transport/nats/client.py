"""One client of nats-py: how it is set up, when it is dead, what its messages are for us."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from nats.aio.client import Client

from bus.transport.nats.hooks import abandon
from bus.transport.nats.options import Credentials, NatsOptions
from bus.transport.nats.wire import Wire

FOREVER_S: Final = 10 * 365 * 86400
STALLED: Final = "stalled"
"""The reason of an end: the server does not answer, though the connection stands."""


class Generation:
    """One client and its end."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.client = Client()
        self.dead = asyncio.Event()
        self.reason = ""
        self.last_error: Exception | None = None
        self.wire: Wire | None = None
        """What messages go by, once it is connected."""
        self.ended: Callable[[], None] | None = None
        """Called once, at its end."""

    def end(self, reason: str) -> None:
        """Declare the client dead; the first reason stays."""
        if self.dead.is_set():
            return
        self.reason = reason
        self.dead.set()
        if self.wire is not None:
            self.wire.end()
        if reason == STALLED:
            abandon(self.client)  # else nats-py waits until the socket has sent what it holds
        if self.ended is not None:
            self.ended()

    @property
    def alive(self) -> bool:
        """Whether messages can go out on this client."""
        if not self.dead.is_set() and not self.client.is_connected:
            self.end("connection_lost")
        return not self.dead.is_set()

    async def connect(
        self,
        server: str,
        options: Mapping[str, Any],
        failed: Callable[[Exception], Awaitable[None]],
    ) -> None:
        """Log in to one server. Raises what nats-py and the socket raise."""

        async def ended() -> None:
            self.end("connection_lost")

        await self.client.connect(
            servers=[server],
            error_cb=failed,
            disconnected_cb=ended,
            closed_cb=ended,
            **options,
        )

    async def shut(self) -> None:
        """Take leave of the server, and let go of the socket in any case."""
        try:
            await self.client.close()
        finally:
            abandon(self.client)
        await asyncio.sleep(0)  # asyncio closes what was let go in the next turn


def client_options(
    options: NatsOptions, *, name: str, tls: ssl.SSLContext | None, credentials: Credentials
) -> dict[str, Any]:
    """What nats-py is told, the same for every client of a connection."""
    chosen: dict[str, Any] = {
        "name": name,
        "allow_reconnect": False,
        "max_reconnect_attempts": 1,
        "reconnect_time_wait": 0,
        "connect_timeout": options.connect_timeout_s,
        "ping_interval": FOREVER_S,  # Connection pings, and does not forget a lost answer
        "pending_size": 0,  # never block inside nats-py: Connection.publish has its own bound
        "inbox_prefix": options.inbox_prefix,
        "tls_handshake_first": options.tls_first,
    }
    if tls is not None:
        chosen["tls"] = tls
    if credentials.user:
        chosen.update(user=credentials.user, password=credentials.password)
    if credentials.token:
        chosen["token"] = credentials.token
    if credentials.credentials_file is not None:
        chosen["user_credentials"] = str(credentials.credentials_file)
    return chosen


def without_secret(server: str) -> str:
    """A server's address as it may be shown: without user and password."""
    scheme, _, rest = server.rpartition("://")
    return f"{scheme or 'nats'}://{rest.rpartition('@')[2]}"


__all__ = ["FOREVER_S", "STALLED", "Generation", "client_options", "without_secret"]
