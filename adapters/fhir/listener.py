"""uvicorn's HTTP/1.1 in the adapter's own loop; beyond it: deadlines and a size for heads, and who may connect."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from adapters.fhir.link import Count

_MAX_HEAD_BYTES: Final = 64 * 1024
_BACKLOG: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of a listener's connections."""

    allow: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]
    max_connections: int
    head_timeout_s: float
    idle_timeout_s: float

    def refuses(self, client: tuple[str, int] | None, connections: int) -> str:
        """Why a new connection is closed; empty when it may stay."""
        if connections > self.max_connections:
            return "max_connections"
        if self.allow and (client is None or not self._is_allowed(client[0])):
            return "address_not_allowed"
        return ""

    def _is_allowed(self, host: str) -> bool:
        address = ipaddress.ip_address(host.partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None) or address
        return any(mapped in network for network in self.allow)


class _Connection(HttpToolsProtocol):
    """One connection: its head has a deadline and a size; a first request must come in time."""

    def __init__(self, config: Config, state: ServerState, limits: Limits, count: Count) -> None:
        super().__init__(config=config, server_state=state, app_state={})
        self.access_log = False  # addresses may name patients
        self._limits = limits
        self._count = count
        self._head_bytes = 0
        self._in_head = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast("asyncio.Transport", transport))
        reason = self._limits.refuses(self.client, len(self.connections))
        if reason:
            self._cut(reason)
            return
        self._arm(self._limits.idle_timeout_s, "idle")

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > _MAX_HEAD_BYTES:
                self._cut("head_too_large")
                return
        if not self.transport.is_closing():
            super().data_received(data)

    def on_message_begin(self) -> None:
        self._in_head, self._head_bytes = True, 0
        self._arm(self._limits.head_timeout_s, "head_timeout")
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._disarm()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def _arm(self, timeout_s: float, reason: str) -> None:
        self._disarm()
        self._timer = self.loop.call_later(timeout_s, self._cut, reason)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _cut(self, reason: str) -> None:
        self._count("connection_cut", reason)
        self._disarm()
        self.transport.abort()


class Listener:
    """Listens for HTTP and runs an ASGI application."""

    def __init__(self, app: Callable[..., Any], limits: Limits, count: Count) -> None:
        self._app = app
        self._limits = limits
        self._count = count
        self._state = ServerState()
        self._server: asyncio.Server | None = None

    @property
    def connections(self) -> int:
        """Connections that are open now."""
        return len(self._state.connections)

    @property
    def is_open(self) -> bool:
        """Whether it listens."""
        return self._server is not None

    @property
    def port(self) -> int:
        """The port listened on; 0 when none is."""
        sockets: Sequence[Any] = self._server.sockets if self._server is not None else ()
        return int(sockets[0].getsockname()[1]) if sockets else 0

    async def open(
        self, host: str, port: int, tls: ssl.SSLContext | None, handshake_timeout_s: float
    ) -> None:
        """Listen. Raises `OSError`."""
        # its warnings say nothing that the counters do not, and its errors may show what came
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL + 1)
        config = Config(
            self._app,
            interface="asgi3",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            timeout_keep_alive=max(1, round(self._limits.idle_timeout_s)),
        )
        config.load()
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Connection(config, self._state, self._limits, self._count),
            host or None,
            port,
            ssl=tls,
            backlog=_BACKLOG,
            ssl_handshake_timeout=handshake_timeout_s if tls else None,
        )

    def refuse_new(self) -> None:
        """Take no further connection and no further request on those that are open."""
        if self._server is not None:
            self._server.close()
        for connection in tuple(self._state.connections):
            connection.shutdown()

    async def finished(self) -> None:
        """Wait until every request in hand is answered."""
        while self._state.tasks:
            await asyncio.wait(tuple(self._state.tasks))

    async def close(self) -> None:
        """Close everything at once."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._state.tasks):
            task.cancel()
        await self.finished()
        for connection in tuple(self._state.connections):
            connection.transport.abort()
        self._server = None


__all__ = ["Limits", "Listener"]
