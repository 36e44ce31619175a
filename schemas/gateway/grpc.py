"""`[gateway.grpc]`: the gRPC listener."""

from __future__ import annotations

from pydantic import Field

from schemas.section import Section


class GrpcSection(Section):
    """`[gateway.grpc]`: without it there is no gRPC. TLS is that of `[gateway.tls]`."""

    listen: str = Field(
        pattern=r"^(\[[0-9a-fA-F:]+\]|[^\s:/]+):\d{1,5}$",
        description="Address for gRPC, e.g. 127.0.0.1:8081.",
    )


__all__ = ["GrpcSection"]
