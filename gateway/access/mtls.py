"""A listener for clients that prove who they are by a certificate: uvicorn (HTTP/1.1), since granian cannot tell whose.

What TLS has verified goes into the scope as `CERTIFICATE`; no header can put it there.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import ssl
from collections.abc import Mapping
from typing import Any, Final, cast

from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from bus.telemetry.counters import Counters
from bus.trust.tls import Settings, server_context
from gateway.contract import Asgi
from schemas.errors import ConfigurationError, Unavailable
from schemas.gateway import GatewaySection

CERTIFICATE: Final = "medmesh.certificate"
"""Key of a scope whose listener has verified a client certificate: (names, SHA-256)."""

_SETTINGS: Final = Settings(
    certificate="gateway.tls.certificate",
    key="gateway.tls.key",
    client_ca="gateway.access.mtls_authority",
)
_BACKLOG: Final = 256
_HANDSHAKE_S: Final = 10.0
_HEAD_S: Final = 10.0
_IDLE_S: Final = 75
_KINDS: Final = frozenset({"DNS", "URI"})


def names_in(certificate: Mapping[str, Any]) -> tuple[str, ...]:
    """DNS and URI alternative names of a certificate as `ssl` shows it. Its common name counts for nothing."""
    return tuple(name for kind, name in certificate.get("subjectAltName", ()) if kind in _KINDS)


class _Connection(HttpToolsProtocol):
    """One connection; its requests carry what TLS has verified. A head has a deadline and a size."""

    def __init__(self, config: Config, state: ServerState, limits: _Limits) -> None:
        super().__init__(config=config, server_state=state, app_state={})
        self.access_log = False  # addresses may name patients
        self._limits = limits
        self._verified: tuple[tuple[str, ...], bytes] = ((), b"")
        self._head_bytes = 0
        self._is_in_head = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast("asyncio.Transport", transport))
        shown = transport.get_extra_info("ssl_object")
        raw = shown.getpeercert(binary_form=True) if shown is not None else None
        if raw is None or len(self.connections) > self._limits.connections:
            self._cut("no_certificate" if raw is None else "max_connections")
            return
        self._verified = (names_in(shown.getpeercert()), hashlib.sha256(raw).digest())
        self._arm()

    def data_received(self, data: bytes) -> None:
        if self._is_in_head:
            self._head_bytes += len(data)
            if self._head_bytes > self._limits.head_bytes:
                self._cut("head_too_large")
                return
        if not self.transport.is_closing():
            super().data_received(data)

    def on_message_begin(self) -> None:
        self._is_in_head, self._head_bytes = True, 0
        self._arm()
        super().on_message_begin()
        cast("dict[str, Any]", self.scope)[CERTIFICATE] = self._verified

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._disarm()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def _arm(self) -> None:
        self._disarm()
        self._timer = self.loop.call_later(_HEAD_S, self._cut, "head_timeout")

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _cut(self, reason: str) -> None:
        self._limits.counters.add("connection_cut", who="mtls", reason=reason)
        self._disarm()
        self.transport.abort()


class _Limits:
    def __init__(self, section: GatewaySection, counters: Counters) -> None:
        self.connections = section.max_requests + section.max_streams
        self.head_bytes = int(section.max_header)
        self.counters = counters


class MtlsListener:
    """Runs an application for clients with a certificate. `__init__` has no side effects."""

    def __init__(self, section: GatewaySection, app: Asgi, counters: Counters) -> None:
        self._section = section
        self._app = app
        self._limits = _Limits(section, counters)
        self._state = ServerState()
        self._server: asyncio.Server | None = None

    @property
    def bound_port(self) -> int:
        """The port listened on; 0 when none is."""
        sockets = self._server.sockets if self._server is not None else ()
        return int(sockets[0].getsockname()[1]) if sockets else 0

    async def start(self) -> None:
        """Listen. Raises `ConfigurationError` for certificates, `Unavailable` when the address cannot be had."""
        # its warnings say nothing that the counters do not, and its errors may show what came
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL + 1)
        config = Config(
            cast("Any", self._app),
            interface="asgi3",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=_IDLE_S,
        )
        config.load()
        host, _, port = self._section.access.mtls_listen.rpartition(":")
        try:
            self._server = await asyncio.get_running_loop().create_server(
                lambda: _Connection(config, self._state, self._limits),
                host.strip("[]"),
                int(port),
                ssl=self._context(),
                backlog=_BACKLOG,
                ssl_handshake_timeout=_HANDSHAKE_S,
            )
        except OSError as error:
            where = self._section.access.mtls_listen
            raise Unavailable(f"gateway.access.mtls_listen {where}: {error.strerror}") from error

    def _context(self) -> ssl.SSLContext:
        tls, authority = self._section.tls, self._section.access.mtls_authority
        if tls is None or authority is None:
            raise ConfigurationError(
                "gateway.access.mtls_listen needs [gateway.tls] and gateway.access.mtls_authority"
            )
        return server_context(
            certificate=tls.certificate, key=tls.key, client_ca=authority, settings=_SETTINGS
        )

    async def drain(self, *, timeout_s: float) -> None:
        """Take no further connection or request; finish those in hand."""
        if self._server is None:
            return
        self._server.close()
        for connection in tuple(self._state.connections):
            connection.shutdown()
        if self._state.tasks:
            await asyncio.wait(tuple(self._state.tasks), timeout=timeout_s)

    async def stop(self) -> None:
        """Close everything at once."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        tasks = tuple(self._state.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in tuple(self._state.connections):
            connection.transport.abort()


__all__ = ["CERTIFICATE", "MtlsListener", "names_in"]
