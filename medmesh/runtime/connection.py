"""How a process of this machine reaches its mesh: the embedded server or a cluster, one transport, trust on top."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bus.telemetry.counters import Counters
from bus.transport.nats import Credentials, NatsOptions, connect
from bus.transport.protocol import Transport
from bus.transport.server import EmbeddedServer, running_server
from bus.transport.server_files import Access
from bus.transport.server_log import Notice
from bus.trust import Trust, TrustSettings
from bus.trust.files import FileLock, private_folder
from medmesh.config import Configuration
from schemas.clock import Clock
from schemas.config import NatsSection
from schemas.errors import ConfigurationError, Unavailable

_DAY_S: Final = 86_400.0
_SEALED_LIFE_S: Final = 35 * _DAY_S


class SiteConnection:
    """Server, transport and trust of one process; `start` and `stop`."""

    def __init__(
        self,
        configuration: Configuration,
        *,
        name: str,
        clock: Clock,
        counters: Counters,
        owns_server: bool,
        on_notice: Callable[[Notice], None] | None = None,
    ) -> None:
        self.configuration = configuration
        self.name = name
        """Under which it is connected."""
        self._clock = clock
        self._counters = counters
        self._owns_server = owns_server
        self._on_notice = on_notice
        self._lock: FileLock | None = None
        self._embedded: EmbeddedServer | None = None
        self._transport: Transport | None = None
        self._trust: Trust | None = None
        self.server = ""
        """Address of the server, or of the cluster's."""

    @property
    def is_embedded(self) -> bool:
        """Whether the server is the one that medmesh runs itself."""
        return not self.configuration.settings.nats.servers

    @property
    def transport(self) -> Transport:
        """The connection to the carrier. Raises `Unavailable` before `start`."""
        if self._transport is None:
            raise Unavailable("not connected yet")
        return self._transport

    @property
    def trust(self) -> Trust:
        """Keys and certificates. Raises `Unavailable` before `start`."""
        if self._trust is None:
            raise Unavailable("not connected yet")
        return self._trust

    async def start(self) -> None:
        """Reach the mesh. Raises `MeshError` with what to do."""
        settings = self.configuration.settings
        data = settings.mesh.data
        private_folder(data)
        if self._owns_server:
            self._lock = _locked(data)
        self._transport = await self._connect(settings.nats, data)
        retention_s = settings.retention.events_h * 3600
        self._trust = await Trust.open(
            data / "trust",
            mesh=settings.mesh.name,
            site=settings.mesh.site,
            buckets=self._transport,
            clock=self._clock,
            settings=TrustSettings(
                retention_s=retention_s,
                bucket_max_age_s=max(_SEALED_LIFE_S, retention_s + 3 * _DAY_S),
            ),
            counters=self._counters,
            create_authority=self._owns_server,
        )

    async def stop(self) -> None:
        """Leave the mesh; the embedded server goes last."""
        trust, self._trust = self._trust, None
        if trust is not None:
            await trust.stop()
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.close()
        embedded, self._embedded = self._embedded, None
        if embedded is not None:
            await embedded.stop()
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()

    async def _connect(self, nats: NatsSection, data: Path) -> Transport:
        if nats.servers:
            servers, monitor, tls = nats.servers, nats.monitor, _tls(nats)
            credentials = Credentials(
                user=nats.user, password=nats.password, credentials_file=nats.credentials
            )
        else:
            access = await self._own_server(data)
            servers, monitor, tls = access.servers, access.monitor_url, None
            credentials = Credentials(user=access.user, password=access.password)
        self.server = ",".join(servers)
        return await connect(
            servers,
            name=self.name,
            tls=tls,
            credentials=credentials,
            options=NatsOptions(monitor_url=monitor),
            counters=self._counters,
        )

    async def _own_server(self, data: Path) -> Access:
        """The embedded server: started here, or the one that `medmesh up` runs on this folder."""
        folder = data / "nats"
        if self._owns_server:
            self._embedded = EmbeddedServer(
                folder, counters=self._counters, on_notice=self._on_notice
            )
            return await self._embedded.start()
        access = running_server(folder)
        if access is None:
            raise Unavailable(
                f"no mesh runs on {data}: start it with `medmesh up -c {self.configuration.file or 'mesh.toml'}`"
            )
        return access


def _locked(data: Path) -> FileLock:
    lock = FileLock(data / ".up.lock")
    if lock.try_acquire():
        return lock
    raise Unavailable(
        f"another `medmesh up` runs on {data}: stop it, or give this one a folder of its own (mesh.data)"
    )


def _tls(nats: NatsSection) -> ssl.SSLContext | None:
    settings = nats.tls
    if settings is None:
        wanted = any(server.startswith("tls://") for server in nats.servers)
        return ssl.create_default_context() if wanted else None
    try:
        context = ssl.create_default_context(cafile=settings.ca)
        if settings.certificate is not None:
            context.load_cert_chain(settings.certificate, settings.key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"nats.tls: a file cannot be used: {error.strerror or error} (ca {settings.ca}, "
            f"certificate {settings.certificate}, key {settings.key})"
        ) from error
    return context


__all__ = ["SiteConnection"]
