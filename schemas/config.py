"""The sections of `mesh.toml` that belong to no adapter. A field's description is its manual (`medmesh config show`).

Files and the environment are a border: pydantic checks here, and everything inside gets these frozen models. Adapters
bring models of their own (`adapters.contract.AdapterConfig`); `medmesh.config` puts the two together.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import ByteSize, Field

from schemas.gateway import GatewaySection
from schemas.section import NAME_PATTERN, Section

Gibibytes: Final = 1 << 30


class MeshSection(Section):
    """`[mesh]`: who this site is, and where it writes."""

    name: str = Field(
        default="medmesh",
        pattern=NAME_PATTERN,
        description="Name of the whole mesh, the same at every site; part of each service's identity.",
    )
    site: str = Field(
        default="main",
        pattern=NAME_PATTERN,
        description="Name of this site; the second token of its subjects.",
    )
    zone: str = Field(
        default="",
        pattern=r"^([a-z0-9][a-z0-9_-]{0,62})?$",
        description="Where in the site this machine stands (room, building, data centre): calls prefer near instances.",
    )
    data: Path = Field(
        default=Path("data"),
        description="Folder for everything medmesh writes on this machine: keys, streams, adapters' files.",
    )


class NatsTls(Section):
    """`[nats.tls]`: how the connection to the servers is protected."""

    ca: Path | None = Field(
        default=None, description="PEM file of the authority that signed the servers' certificates."
    )
    certificate: Path | None = Field(
        default=None, description="PEM file with our certificate, for servers that ask clients."
    )
    key: Path | None = Field(
        default=None, description="PEM file with the key of `certificate`; mode 0600."
    )


class NatsSection(Section):
    """`[nats]`: leave `servers` out to run the embedded server under `mesh.data`."""

    servers: tuple[
        Annotated[str, Field(pattern=r"^(nats|tls)://[^/\s]+$", examples=["tls://n1:4222"])], ...
    ] = Field(default=(), description="Addresses of a JetStream cluster.")
    replicas: int = Field(
        default=1,
        ge=1,
        le=5,
        description="Servers that hold each event before it is acknowledged; needs as many servers.",
    )
    user: str = Field(default="", description="User at the servers.")
    password: str = Field(
        default="",
        repr=False,
        description="Password of `user`; better as MEDMESH_NATS__PASSWORD than in a file.",
    )
    credentials: Path | None = Field(
        default=None,
        description="A NATS credentials file (JWT and seed) instead of a user; mode 0600.",
    )
    tls: NatsTls | None = Field(default=None, description="Protection of the connection.")
    monitor: str = Field(
        default="",
        pattern=r"^(http://[^/\s:]+:\d+)?$",
        description="Monitoring address of one server, e.g. http://n1:8222: only it tells whether writes are synced.",
    )


class RetentionSection(Section):
    """`[retention]`: how long what everyone has received is kept for replay."""

    events_h: float = Field(
        default=168.0,
        ge=0.0,
        le=87600.0,
        description="Hours that an event is kept after it was stored, once every consumer has it, and that an access "
        "record is kept. What a consumer still waits for is never dropped.",
    )
    check_s: float = Field(
        default=60.0, ge=1.0, le=86400.0, description="Seconds between two rounds of the keeper."
    )


class LimitsSection(Section):
    """`[limits]`: bounds. At a bound senders are refused truthfully; nothing is dropped."""

    event_bytes: ByteSize = Field(
        default=ByteSize(20 * Gibibytes),
        ge=1 << 20,
        description='Disk that stored events may take, e.g. "20 GiB"; then senders are refused.',
    )
    dead_letter_bytes: ByteSize = Field(
        default=ByteSize(2 * Gibibytes),
        ge=1 << 20,
        description='Disk that dead letters may take, e.g. "2 GiB".',
    )
    access_bytes: ByteSize = Field(
        default=ByteSize(8 * Gibibytes),
        ge=1 << 20,
        description='Disk that access records may take, e.g. "8 GiB"; then the gateway refuses what it must record.',
    )
    events_per_s: float = Field(
        default=0.0,
        ge=0.0,
        description="Events that each service may publish a second, after a second's worth at once; 0 does not limit. "
        "What exceeds it waits up to `rate_wait_s`, then is refused. Stat events pass beyond, up to a quarter of it.",
    )
    bytes_per_s: ByteSize = Field(
        default=ByteSize(0),
        ge=0,
        description='The same in bytes of their bodies, e.g. "10 MB".',
    )
    rate_wait_s: float = Field(
        default=5.0,
        ge=0.0,
        le=600.0,
        description="Seconds that an event waits for `events_per_s` and `bytes_per_s` before it is refused.",
    )
    drain_s: float = Field(
        default=30.0,
        ge=0.1,
        le=3600.0,
        description="Seconds that a stop may take to finish and answer what was accepted.",
    )


class SchemasSection(Section):
    """`[schemas]`: whether publishers are held to what their subjects are bound to (`medmesh schema`)."""

    check: Literal["enforce", "warn", "off"] = Field(
        default="enforce",
        description="Content that does not fit the binding of its subject: `enforce` refuses it and says why, "
        "`warn` counts and logs it, `off` looks at nothing. Where nothing is bound, nothing is checked.",
    )


class EventsSection(Section):
    """`[events]`: how events are stored."""

    compress: Literal["auto", "off"] = Field(
        default="auto",
        description="`auto`: compress a body before it is sealed where that saves an eighth of it. `off`: sizes on "
        "disk then tell less about content. What others have compressed is read either way.",
    )
    compress_from: ByteSize = Field(
        default=ByteSize(256),
        ge=64,
        description='Bodies below this size stay as they are, e.g. "256 B".',
    )


class LogSection(Section):
    """`[log]`: what the program says on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least important level that is written."
    )
    format: Literal["auto", "text", "json"] = Field(
        default="auto", description="`auto`: text on a terminal, JSON lines elsewhere."
    )


class SiteConfig(Section):
    """A whole `mesh.toml` besides its `[[adapter]]` sections."""

    mesh: MeshSection = Field(default_factory=MeshSection, description="Who this site is.")
    nats: NatsSection = Field(default_factory=NatsSection, description="What carries the mesh.")
    retention: RetentionSection = Field(
        default_factory=RetentionSection, description="How long events are kept."
    )
    limits: LimitsSection = Field(default_factory=LimitsSection, description="Bounds.")
    schemas: SchemasSection = Field(
        default_factory=SchemasSection, description="What publishers are held to."
    )
    events: EventsSection = Field(
        default_factory=EventsSection, description="How events are stored."
    )
    gateway: GatewaySection | None = Field(
        default=None, description="The front door for systems that speak HTTP or gRPC."
    )
    log: LogSection = Field(default_factory=LogSection, description="The program's own words.")


__all__ = [
    "EventsSection",
    "LimitsSection",
    "LogSection",
    "MeshSection",
    "NatsSection",
    "NatsTls",
    "RetentionSection",
    "SchemasSection",
    "SiteConfig",
]
