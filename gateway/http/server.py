"""granian in our own event loop: HTTP/1.1, h2c, HTTP/2 over TLS and WebSocket on one port, and an orderly end.

granian's own socket would share a port in silence with whoever holds it, and could not say which port it got, so it is
given ours.
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from granian._granian import SocketHolder
from granian.constants import Interfaces, SSLProtocols
from granian.http import HTTP1Settings, HTTP2Settings
from granian.server.embed import Server

from gateway.contract import Asgi
from gateway.http.connections import cut
from schemas.errors import ConfigurationError, Unavailable

_BACKLOG: Final = 1024
_HEAD_TIMEOUT_MS: Final = 10_000
_PING_MS: Final = 15_000
_PING_ANSWER_S: Final = 20
_STREAMS_PER_CONNECTION: Final = 256
_MIN_BUFFER: Final = 8192
_GRACE_S: Final = 1.0
"""For connections that have nothing in hand and do not close when they are told to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """Where and how a server listens."""

    host: str
    port: int
    max_header: int
    max_connections: int
    certificate: Path | None = None
    key: Path | None = None

    @property
    def shown(self) -> str:
        """`host:port`."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class _Embedded(Server):
    """granian on a socket that was opened before."""

    def __init__(self, app: Asgi, listener: socket.socket, **settings: Any) -> None:  # noqa: ANN401 - granian's own
        super().__init__(app, **settings)
        self._listener = listener

    def _init_shared_socket(self) -> None:
        self._shd = SocketHolder(  # type: ignore[assignment]  # granian's stubs know no socket of ours
            os.dup(self._listener.fileno()),  # type: ignore[call-arg]
            False,  # no Unix socket
            _BACKLOG,
        )
        self._ssp = None
        self._listener.close()

    def end(self) -> None:
        """Begin to stop."""
        self.signal_handler_interrupt()  # type: ignore[no-untyped-call]


class HttpServer:
    """One listener; `start`, `drain`, `stop`."""

    def __init__(self, app: Asgi, listening: Listening) -> None:
        self._app = app
        self._listening = listening
        self._server: _Embedded | None = None
        self._serving: asyncio.Task[None] | None = None
        self.bound_port = 0
        """The port listened on: the one asked of the system where the configuration says 0."""

    @property
    def is_open(self) -> bool:
        """Whether it serves."""
        return self._serving is not None and not self._serving.done()

    async def start(self) -> None:
        """Listen. Raises `Unavailable` when the address cannot be had, `ConfigurationError` for certificates."""
        at = self._listening
        try:
            listener = await _listener(at.host, at.port)
        except OSError as error:
            raise Unavailable(
                f"gateway: cannot listen on {at.shown}: {error.strerror or error}"
            ) from error
        self.bound_port = listener.getsockname()[1]
        try:
            self._server = self._embedded(listener)
        except OSError as error:
            listener.close()
            raise ConfigurationError(
                f"gateway.tls: certificate {at.certificate} or key {at.key} cannot be used: {error.strerror or error}"
            ) from error
        self._serving = asyncio.create_task(self._server.serve(), name="gateway-http")
        await asyncio.sleep(0)
        if self._serving.done() and (fault := self._serving.exception()) is not None:
            raise Unavailable(f"gateway: the HTTP server has not started: {fault}") from fault

    def _embedded(self, listener: socket.socket) -> _Embedded:
        at = self._listening
        return _Embedded(
            self._app,
            listener,
            interface=Interfaces.ASGINL,
            backlog=_BACKLOG,
            backpressure=at.max_connections,
            http1_settings=HTTP1Settings(
                header_read_timeout=_HEAD_TIMEOUT_MS,
                max_buffer_size=max(_MIN_BUFFER, at.max_header),
            ),
            http2_settings=HTTP2Settings(
                keep_alive_interval=_PING_MS,
                keep_alive_timeout=_PING_ANSWER_S,
                max_concurrent_streams=_STREAMS_PER_CONNECTION,
                max_headers_size=at.max_header,
            ),
            # granian would write to standard output, which is the program's own
            log_enabled=False,
            log_dictconfig={"incremental": True, "handlers": {}, "loggers": {}},
            ssl_cert=at.certificate,
            ssl_key=at.key,
            ssl_protocol_min=SSLProtocols.tls12,
        )

    async def drain(self, *, timeout_s: float) -> None:
        """Take no new connection, let what is in hand end, and close the connections."""
        server, serving = self._server, self._serving
        if server is None or serving is None:
            return
        server.end()
        await asyncio.wait({serving}, timeout=timeout_s)

    async def stop(self) -> None:
        """Close what is left."""
        server, serving = self._server, self._serving
        self._server = self._serving = None
        if server is None or serving is None:
            return
        server.end()
        await asyncio.wait({serving}, timeout=0.1)
        if not serving.done():
            cut(self.bound_port)
            await asyncio.wait({serving}, timeout=_GRACE_S)
        if serving.done():
            with suppress(Exception):
                serving.result()
        else:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)


async def _listener(host: str, port: int) -> socket.socket:
    """A listening socket of the first address that a name stands for. Raises `OSError`."""
    found = await asyncio.get_running_loop().getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    family, _, _, _, address = found[0]
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


__all__ = ["HttpServer", "Listening"]
