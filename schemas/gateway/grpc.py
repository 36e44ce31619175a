"""`[gateway.grpc]`: the gRPC listener."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from pydantic import Field, field_validator

from schemas.section import Section

_GRPC_SERVICE: Final = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*\Z", re.ASCII)
_MESH_SERVICE: Final = re.compile(r"[a-z0-9_-]{1,64}(?:\.v\d{1,4})?\Z")


class GrpcSection(Section):
    """`[gateway.grpc]`: without it there is no gRPC. TLS is that of `[gateway.tls]`."""

    listen: str = Field(
        pattern=r"^(\[[0-9a-fA-F:]+\]|[^\s:/]+):\d{1,5}$",
        description="Address for gRPC, e.g. 127.0.0.1:8081.",
    )
    client_authority: Path | None = Field(
        default=None,
        description="PEM file with the authority of client certificates. With it (and `[gateway.tls]`) every gRPC "
        "client must have a certificate; the names in it say who it is.",
    )
    services: dict[str, str] = Field(
        default_factory=dict,
        description="Which service of the mesh answers for a gRPC service, where it does not say so itself: "
        '{"lab.v1.Results" = "lab", "lab.v2.Results" = "lab.v2"}. The number is its major version, 1 if left out.',
    )
    descriptors: tuple[Path, ...] = Field(
        default=(),
        description="Descriptor sets (`buf build -o x.binpb`) of gRPC services whose schema is not in the registry.",
    )
    reflection: bool = Field(
        default=True, description="Whether clients that may use the gateway may ask it for schemas."
    )
    streams_per_connection: int = Field(
        default=1024,
        ge=1,
        le=10_000,
        description="Calls at a time on one connection; a client makes its further ones wait, "
        "or is refused (UNAVAILABLE).",
    )
    idle_timeout_s: float = Field(
        default=1800.0,
        ge=1.0,
        le=86_400.0,
        description="Seconds after which a connection without calls is closed.",
    )

    @field_validator("services")
    @classmethod
    def _names(cls, services: dict[str, str]) -> dict[str, str]:
        for theirs, ours in services.items():
            if not _GRPC_SERVICE.match(theirs):
                raise ValueError(f"{theirs!r} is no gRPC service: write package.v1.Service")
            if not _MESH_SERVICE.match(ours):
                raise ValueError(f"{ours!r} is no service of the mesh: write lab or lab.v2")
        return services


__all__ = ["GrpcSection"]
