"""The gateway's gRPC side: bridge, our own interface, health and reflection behind one listener."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from gateway.access.protocol import Access
from gateway.contract import GatewayRuntime
from gateway.grpc.api import SERVICE, MeshApi
from gateway.grpc.asking import Asking
from gateway.grpc.bridge import Bridge
from gateway.grpc.descriptors import DescriptorIndex
from gateway.grpc.ending import Ending
from gateway.grpc.exchange import Operation
from gateway.grpc.foreign import HEALTH, REFLECTION
from gateway.grpc.front import Front, FrontLimits, Listener, TlsFiles
from gateway.grpc.gate import Gate, Places
from gateway.grpc.health import Health
from gateway.grpc.reflection import Reflection
from gateway.grpc.routes import Routes
from gateway.grpc.sources import DescriptorSources
from gateway.part import Mount
from schemas.errors import ConfigurationError
from schemas.gateway import GatewaySection
from schemas.gateway.grpc import GrpcSection

_RECORDS_S: Final = 5.0
"""How long the last access records may take to be kept when it stops."""


class GrpcServer:
    """A `gateway.part.Part` with a listener of its own. Needs `[gateway.grpc]`."""

    def __init__(
        self,
        section: GatewaySection,
        runtime: GatewayRuntime,
        access: Access,
    ) -> None:
        if section.grpc is None:
            raise ConfigurationError("gateway.grpc: there is no such table, so there is no gRPC")
        self._section = section
        self._counters = runtime.counters
        self._grpc = grpc = section.grpc
        self._index = DescriptorIndex()
        routes = Routes(
            grpc.services,
            runtime.services,
            is_described=self._index.is_described,
            clock=runtime.clock,
            counters=runtime.counters,
        )
        self._gate = gate = Gate(
            access,
            timeout_s=section.request_timeout_s,
            site_key=runtime.site_key,
            counters=runtime.counters,
        )
        asking = Asking(runtime.call, gate)
        self._ending = ending = Ending(runtime.clock)
        api = MeshApi(runtime, gate=gate, asking=asking, ending=ending, feed=runtime.feed)
        names = (SERVICE, HEALTH, *(REFLECTION if grpc.reflection else ()))
        self._health = Health(names, routes, is_connected=runtime.is_connected)
        own: dict[str, Operation] = {**api.operations(), **self._health.operations()}
        if grpc.reflection:
            own |= Reflection(self._index, routes.owned, gate=gate, ending=ending).operations()
        self._sources = DescriptorSources(
            self._index,
            files=grpc.descriptors,
            announced=routes.schemas,
            catalogue=runtime.catalogue,
            records=runtime.records,
            counters=runtime.counters,
        )
        self.bridge = Bridge(own=own, routes=routes, shapes=self._index, asking=asking, gate=gate)
        """For another transport than the listener's."""
        self._requests = Places(section.max_requests, "max_requests")
        self._streams = Places(section.max_streams, "max_streams")
        front = Front(
            self.bridge,
            requests=self._requests,
            streams=self._streams,
            body_timeout_s=section.body_timeout_s,
            has_certificates=grpc.client_authority is not None,
            counters=runtime.counters,
        )
        self._listener = Listener(front, _limits(section, grpc))
        self._port = 0

    def mounts(self) -> Sequence[Mount]:
        """None: it is no part of the HTTP side, but lives and ends with it."""
        return ()

    def components(self) -> Mapping[str, Any]:
        """None."""
        return {}

    @property
    def address(self) -> str:
        """`host:port` that is listened on; the port is 0 before `start`."""
        return f"{_host(self._grpc.listen)}:{self._port}"

    async def start(self) -> None:
        """Listen. Raises `ConfigurationError`."""
        _check_plaintext(self._section, self._grpc.listen)
        tls = await asyncio.to_thread(_tls_files, self._section)
        await self._sources.start()
        try:
            self._port = await self._listener.start(self._grpc.listen, tls)
        except BaseException:
            await self._sources.stop()
            raise

    async def drain(self, *, timeout_s: float) -> None:
        """Say NOT_SERVING, take nothing new, send followers elsewhere, finish what is in hand."""
        for places in (self._requests, self._streams):
            places.close()
        self._health.drain()
        self._ending.leave()
        try:
            async with asyncio.timeout(timeout_s):
                await self._requests.idle()
                await self._streams.idle()
        except TimeoutError:
            self._counters.add("grpc_cut_short", count=self._requests.taken + self._streams.taken)
        await self._listener.stop(None)

    async def stop(self) -> None:
        """Stop at once; only records of what was done are waited for, for a moment."""
        self._health.drain()
        await self._listener.stop(None)
        await self._sources.stop()
        await self._gate.close(timeout_s=_RECORDS_S)


def _limits(section: GatewaySection, grpc: GrpcSection) -> FrontLimits:
    return FrontLimits(
        max_message_bytes=int(section.max_body),
        max_metadata_bytes=int(section.max_header),
        streams_per_connection=grpc.streams_per_connection,
        max_calls=section.max_requests + section.max_streams,
        idle_s=grpc.idle_timeout_s,
        body_timeout_s=section.body_timeout_s,
    )


def _host(listen: str) -> str:
    return listen.rpartition(":")[0]


def _check_plaintext(section: GatewaySection, listen: str) -> None:
    if section.tls is not None:
        return
    host = _host(listen).strip("[]")
    is_loopback = host == "localhost"
    with suppress(ValueError):
        is_loopback = is_loopback or ipaddress.ip_address(host).is_loopback
    if not is_loopback:
        raise ConfigurationError(
            f"gateway.grpc.listen: {listen} is not of this machine alone, so it needs [gateway.tls]"
        )
    if section.grpc is not None and section.grpc.client_authority is not None:
        raise ConfigurationError(
            "gateway.grpc.client_authority: client certificates need [gateway.tls]"
        )


def _tls_files(section: GatewaySection) -> TlsFiles | None:
    tls = section.tls
    if tls is None:
        return None
    authority = section.grpc.client_authority if section.grpc is not None else None
    return TlsFiles(
        certificate=_read(tls.certificate, "gateway.tls.certificate"),
        key=_read(tls.key, "gateway.tls.key"),
        client_authority=None
        if authority is None
        else _read(authority, "gateway.grpc.client_authority"),
    )


def _read(path: Path, setting: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{setting}: {path}: {error.strerror}") from None


__all__ = ["GrpcServer"]
