"""grpcio in front of the bridge: the only file that knows it. It ships no types, so all of it is `Any` here.

Bytes go in and come out: no (de)serialisers. Everything runs on grpcio's streaming path, which serves methods of every
kind: on its unary one a call whose message never comes could not be ended, and its client not asked who it is before.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote

import grpc

from bus.telemetry.counters import Counters
from bus.telemetry.log import logger
from gateway.access.protocol import Credentials
from gateway.grpc.bridge import Bridge
from gateway.grpc.exchange import (
    API_KEY,
    AUTHORIZATION,
    CARRIED,
    PURPOSE,
    Arrival,
    Operation,
    read_metadata,
)
from gateway.grpc.gate import Places
from gateway.grpc.status import RpcFailed, Status, failure_of
from schemas.errors import ConfigurationError, MeshError

KEEPALIVE_S: Final = 60.0
"""After so long without a word the client is asked whether it is there; it has `_ANSWER_S` to say so."""
_ANSWER_S: Final = 20.0
LEAST_PING_S: Final = 10.0
"""A client that pings more often is sent away (ENHANCE_YOUR_CALM)."""
_CODES: Final = {one.value[0]: one for one in grpc.StatusCode}
_MAX_HANDLERS: Final = 4096
_NO_CERTIFICATE: Final[tuple[tuple[str, ...], bytes]] = ((), b"")
_log = logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontLimits:
    """Bounds of the listener."""

    max_message_bytes: int
    max_metadata_bytes: int
    streams_per_connection: int
    max_calls: int
    """Of all kinds, at a time, those included whose message has not come yet: a backstop behind `Places`."""
    idle_s: float
    body_timeout_s: float
    """Until the first message of a call must be there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM texts."""

    certificate: bytes
    key: bytes = field(repr=False)
    client_authority: bytes | None = None
    """With it each client must show a certificate of this authority."""


class Front:
    """What grpcio asks for handlers (`grpc.GenericRpcHandler`)."""

    def __init__(
        self,
        bridge: Bridge,
        *,
        requests: Places,
        streams: Places,
        body_timeout_s: float,
        has_certificates: bool,
        counters: Counters,
    ) -> None:
        self._bridge = bridge
        self._has_certificates = has_certificates
        self._handlers: dict[str, tuple[Operation, Any]] = {}
        self._requests = requests
        self._streams = streams
        self._body_timeout_s = body_timeout_s
        self._counters = counters

    def service(self, details: Any) -> Any:  # noqa: ANN401 -- grpcio's own type
        """The handler of a path; there is one for each, if only to refuse."""
        path: str = details.method
        operation = self._bridge.operation(path)
        known = self._handlers.get(path)
        if known is not None and known[0] is operation:
            return known[1]
        handler = grpc.stream_stream_rpc_method_handler(self._handler(path, operation))
        if len(self._handlers) >= _MAX_HANDLERS:
            self._handlers.clear()
        self._handlers[path] = (operation, handler)
        return handler

    def _handler(self, path: str, operation: Operation) -> Any:  # noqa: ANN401 -- a coroutine function as grpcio takes it
        run = operation.run
        places = self._streams if operation.is_long else self._requests

        async def handle(_: Any, context: Any) -> None:  # noqa: ANN401 -- grpcio's own types
            try:
                with nullcontext() if operation.is_always else places.place():
                    steps = run(
                        self._arrival(path, context), _Frames(context, self._body_timeout_s)
                    )
                    try:
                        async for frame in steps:
                            await context.write(frame)
                    finally:
                        await steps.aclose()
            except asyncio.CancelledError:
                self._counters.add("grpc_cancelled")
                raise
            except Exception as error:  # noqa: BLE001 -- the RPC's outermost edge: the client gets a status, no traceback
                await self._abort(context, error)

        return handle

    def _arrival(self, path: str, context: Any) -> Arrival:  # noqa: ANN401 -- grpcio's own type
        found = read_metadata(context.invocation_metadata() or ())
        has_certificates = self._has_certificates
        names, digest = (
            _certificate(context.auth_context()) if has_certificates else _NO_CERTIFICATE
        )
        return Arrival(
            path=path,
            metadata={name: value for name, value in found.items() if name in CARRIED},
            credentials=Credentials(
                authorization=found.get(AUTHORIZATION, ""),
                api_key=found.get(API_KEY, ""),
                certificate_names=names,
                certificate_hash=digest,
                purpose=found.get(PURPOSE, ""),
            ),
            timeout_s=context.time_remaining(),
            remote=peer_address(context.peer()),
        )

    async def _abort(self, context: Any, error: Exception) -> None:  # noqa: ANN401 -- grpcio's own type
        failure = failure_of(error)
        self._counters.add("grpc_failed", who=failure.status.name.lower(), reason=failure.reason)
        if not isinstance(error, MeshError):
            _log.error("grpc_crashed", error_type=type(error).__name__)
        await context.abort(_CODES[failure.status.value], failure.message, failure.trailers())


class _Frames:
    """A client's messages; the first must come in time. An object, since a generator that is left must be closed."""

    def __init__(self, context: Any, first_s: float) -> None:  # noqa: ANN401 -- grpcio's own type
        self._context = context
        self._first_s: float | None = first_s

    def __aiter__(self) -> _Frames:
        return self

    async def __anext__(self) -> bytes:
        limit_s, self._first_s = self._first_s, None
        try:
            async with asyncio.timeout(limit_s):
                frame = await self._context.read()
        except TimeoutError:
            raise RpcFailed(
                Status.DEADLINE_EXCEEDED,
                f"no message came within {limit_s:g} s ([gateway] body_timeout_s)",
                reason="no_message",
            ) from None
        if frame is grpc.aio.EOF:
            raise StopAsyncIteration
        return bytes(frame)


def _certificate(told: Any) -> tuple[tuple[str, ...], bytes]:  # noqa: ANN401 -- grpcio's own mapping
    """Alternative names and hash of the client's certificate, which TLS has verified; nothing without one."""
    pem = told.get("x509_pem_cert")
    if not pem:
        return (), b""
    names = tuple(
        dict.fromkeys(
            one.decode("utf-8", "replace")
            for key in ("peer_spiffe_id", "x509_subject_alternative_name")
            for one in told.get(key, ())
        )
    )
    return names, _hash_of(bytes(pem[0]))


@lru_cache(maxsize=1024)
def _hash_of(pem: bytes) -> bytes:
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem.decode("ascii"))).digest()


@lru_cache(maxsize=4096)
def peer_address(peer: str) -> str:
    """`127.0.0.1` of `ipv4:127.0.0.1:50412`; empty for what is no address."""
    kind, _, rest = peer.partition(":")
    if kind not in ("ipv4", "ipv6"):
        return ""
    return unquote(rest).rpartition(":")[0].strip("[]")


class Listener:
    """A grpcio server with one front."""

    def __init__(self, front: Front, limits: FrontLimits) -> None:
        self._front = front
        self._limits = limits
        self._server: Any = None

    async def start(self, address: str, tls: TlsFiles | None) -> int:
        """Listen; returns the port. Raises `ConfigurationError` for an address or certificate that cannot be used."""
        server = grpc.aio.server(
            options=_options(self._limits), maximum_concurrent_rpcs=self._limits.max_calls
        )
        server.add_generic_rpc_handlers((self._front,))
        try:
            if tls is None:
                port = server.add_insecure_port(address)
            else:
                port = server.add_secure_port(address, _credentials(tls))
        except (RuntimeError, ValueError):
            port = 0
        if not port:
            await server.stop(None)
            raise ConfigurationError(
                f"gateway.grpc.listen: {address} cannot be listened on: it is taken, is no address of this machine, "
                "or certificate and key do not belong together"
            )
        await server.start()
        self._server = server
        return int(port)

    async def stop(self, grace_s: float | None) -> None:
        """Take nothing new; what is in hand has `grace_s` to end, then it is cut short. None: at once."""
        if self._server is not None:
            await self._server.stop(grace_s)


def _credentials(tls: TlsFiles) -> Any:  # noqa: ANN401 -- grpcio's own type
    return grpc.ssl_server_credentials(
        ((tls.key, tls.certificate),),
        root_certificates=tls.client_authority,
        require_client_auth=tls.client_authority is not None,
    )


def _options(limits: FrontLimits) -> list[tuple[str, int]]:
    """Channel arguments of gRPC core. Messages that are too large end with RESOURCE_EXHAUSTED, metadata too."""
    return [
        ("grpc.max_receive_message_length", limits.max_message_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", limits.max_metadata_bytes),
        ("grpc.absolute_max_metadata_size", limits.max_metadata_bytes),
        ("grpc.max_concurrent_streams", limits.streams_per_connection),
        ("grpc.max_connection_idle_ms", round(limits.idle_s * 1000)),
        ("grpc.keepalive_time_ms", round(KEEPALIVE_S * 1000)),
        ("grpc.keepalive_timeout_ms", round(_ANSWER_S * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", round(LEAST_PING_S * 1000)),
        ("grpc.http2.max_ping_strikes", 2),
        ("grpc.so_reuseport", 0),
    ]


__all__ = ["Front", "FrontLimits", "Listener", "TlsFiles", "peer_address"]
