"""A mesh in memory, for users' tests: everything real but the carrier."""

from __future__ import annotations

import tempfile
from pathlib import Path

from bus.telemetry.counters import Counters
from bus.transport.memory import MemoryBroker
from bus.transport.protocol import Transport
from bus.trust import Trust
from medmesh.config import Configuration
from schemas.clock import Clock
from schemas.config import MeshSection, SiteConfig
from schemas.errors import Closed


class MemoryConnection:
    """A mesh in this process: real keys and envelopes on an in-memory carrier, nothing kept."""

    def __init__(self, site: str, clock: Clock, counters: Counters, *, name: str) -> None:
        self.name = name
        self._folder = tempfile.TemporaryDirectory(prefix="medmesh-memory-")
        settings = SiteConfig(mesh=MeshSection(site=site, data=Path(self._folder.name)))
        self.configuration = Configuration(settings=settings, adapters=(), file=None, origins={})
        self._clock = clock
        self._counters = counters
        self._transport: Transport | None = None
        self._trust: Trust | None = None

    @property
    def transport(self) -> Transport:
        """The in-memory carrier. Raises `Closed` outside of `start` and `stop`."""
        if self._transport is None:
            raise Closed("the mesh in memory is not open")
        return self._transport

    @property
    def trust(self) -> Trust:
        """Keys and certificates, in a temporary folder. Raises `Closed` outside of `start` and `stop`."""
        if self._trust is None:
            raise Closed("the mesh in memory is not open")
        return self._trust

    async def start(self) -> None:
        """Make the mesh."""
        transport = await MemoryBroker().connect(name=self.name)
        self._transport = transport
        mesh = self.configuration.settings.mesh
        self._trust = await Trust.open(
            mesh.data / "trust", mesh=mesh.name, site=mesh.site, buckets=transport,
            clock=self._clock, counters=self._counters, passphrase=lambda: "",
        )  # fmt: skip

    async def stop(self) -> None:
        """Forget everything."""
        if self._trust is not None:
            await self._trust.stop()
        if self._transport is not None:
            await self._transport.close()
        self._trust = self._transport = None
        self._folder.cleanup()


__all__ = ["MemoryConnection"]
