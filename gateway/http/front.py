"""The HTTP side as a whole: its own routes and those of the parts, on one listener. Five verbs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from adapters.contract import Condition, Health
from gateway.access.mtls import MtlsListener
from gateway.access.protocol import Access
from gateway.contract import GatewayRuntime
from gateway.http.connections import cut_silent
from gateway.http.documents import Documents
from gateway.http.edge import Edge
from gateway.http.origins import Origins
from gateway.http.router import Router
from gateway.http.server import HttpServer, Listening
from gateway.http.state import State
from gateway.part import Mount, Part
from schemas.gateway import GatewaySection

_THIS_MACHINE: Final = frozenset({b"localhost", b"127.0.0.1", b"[::1]"})
_SILENT_S: Final = 10.0
_SWEEP_S: Final = 5.0
_CLOSE_S: Final = 2.0
"""For connections to close once nothing is in hand."""


class HttpFront:
    """Runs parts behind one listener. `__init__` has no side effects."""

    def __init__(
        self,
        section: GatewaySection,
        runtime: GatewayRuntime,
        access: Access,
        parts: Sequence[Part],
        *,
        is_anonymous: bool,
    ) -> None:
        self._section = section
        self._runtime = runtime
        self._access = access
        self._parts = tuple(parts)
        self._is_anonymous = is_anonymous
        self._started: list[Part] = []
        self._edge: Edge | None = None
        self._server: HttpServer | None = None
        self._mutual: MtlsListener | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._is_draining = False

    async def start(self) -> None:
        """Start the parts, then listen. Raises `MeshError`."""
        for part in self._parts:
            self._started.append(part)
            await part.start()
        self._edge = edge = self._new_edge(self._mounts())
        section = self._section
        host, _, port = section.listen.rpartition(":")
        self._server = HttpServer(
            edge,
            Listening(
                host=host.strip("[]"),
                port=int(port),
                max_header=section.max_header,
                max_connections=section.max_requests + section.max_streams,
                certificate=section.tls.certificate if section.tls else None,
                key=section.tls.key if section.tls else None,
            ),
        )
        await self._server.start()
        if section.access.mtls_listen:
            self._mutual = MtlsListener(section, edge, self._runtime.counters)
            await self._mutual.start()
        self._sweeper = asyncio.create_task(self._sweep(), name="gateway-sweeper")

    def _mounts(self) -> list[Mount]:
        state = State(
            is_connected=self._runtime.is_connected, is_draining=lambda: self._is_draining
        )
        documents = Documents(
            self._runtime,
            self._access,
            url=self._section.public_url,
            is_anonymous=self._is_anonymous,
            in_hand=lambda: self._edge.in_hand if self._edge is not None else 0,
        )
        mounts = [
            *state.mounts(),
            *documents.mounts(),
            *(mount for part in self._parts for mount in part.mounts()),
        ]
        documents.describe(mounts, [part.components() for part in self._parts])
        return mounts

    def _new_edge(self, mounts: Sequence[Mount]) -> Edge:
        section = self._section
        return Edge(
            Router(mounts),
            Origins(
                section.cors_origins, hosts=_THIS_MACHINE if self._is_anonymous else frozenset()
            ),
            max_requests=section.max_requests,
            counters=self._runtime.counters,
            chance=self._runtime.random,
        )

    @property
    def bound_port(self) -> int:
        """The port listened on; 0 when none is."""
        return self._server.bound_port if self._server is not None else 0

    @property
    def mutual_port(self) -> int:
        """The port for clients with a certificate; 0 when none is."""
        return self._mutual.bound_port if self._mutual is not None else 0

    def health(self) -> Health:
        """Answer at once."""
        if self._server is None or not self._server.is_open:
            return Health(condition=Condition.STOPPED, detail="not listening")
        if self._is_draining:
            return Health(condition=Condition.DEGRADED, detail="draining: takes nothing new")
        in_hand = self._edge.in_hand if self._edge is not None else 0
        return Health(condition=Condition.HEALTHY, detail=f"{in_hand} requests in work")

    async def drain(self, *, timeout_s: float) -> None:
        """Refuse what is new, finish what is in hand, tell streams to come back elsewhere, close."""
        self._is_draining = True
        if self._edge is None or self._server is None:
            return
        self._edge.is_draining = True
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        await asyncio.gather(*(part.drain(timeout_s=timeout_s) for part in self._started))
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, deadline_s - loop.time())):
                await self._edge.finished()
        close_s = min(_CLOSE_S, max(0.1, deadline_s - loop.time()))
        await asyncio.gather(*(one.drain(timeout_s=close_s) for one in self._listeners()))

    def _listeners(self) -> list[HttpServer | MtlsListener]:
        return [one for one in (self._server, self._mutual) if one is not None]

    async def stop(self) -> None:
        """Close everything at once."""
        self._is_draining = True
        sweeper, self._sweeper = self._sweeper, None
        if sweeper is not None:
            sweeper.cancel()
            await asyncio.gather(sweeper, return_exceptions=True)
        for listener in self._listeners():
            await listener.stop()
        for part in reversed(self._started):
            await part.stop()
        self._started.clear()

    async def _sweep(self) -> None:
        """Cut connections that say nothing: granian waits for their first byte for ever."""
        while True:
            await asyncio.sleep(_SWEEP_S)
            silent = await asyncio.to_thread(cut_silent, self.bound_port, after_s=_SILENT_S)
            if silent:
                self._runtime.counters.add(
                    "connection_cut", who="http", reason="silent", count=silent
                )


__all__ = ["HttpFront"]
