"""`[gateway.streams]`: events as they come, over server-sent events and WebSocket."""

from __future__ import annotations

from pydantic import Field

from schemas.section import Section


class StreamsSection(Section):
    """`[gateway.streams]`: `GET /v1/subscribe/{pattern}`."""

    max_per_client: int = Field(
        default=256,
        ge=1,
        le=100_000,
        description="Streams that one client may hold open at this gateway; further ones are refused with 429.",
    )
    heartbeat_s: float = Field(
        default=15.0,
        ge=1.0,
        le=300.0,
        description="A stream without events says so often that it is alive; so often its client's rights are looked "
        "at again, too.",
    )
    write_timeout_s: float = Field(
        default=30.0,
        ge=1.0,
        le=600.0,
        description="A client that takes nothing for so long is cut; it goes on where it was when it comes back.",
    )
    retry_s: float = Field(
        default=2.0,
        gt=0.0,
        le=300.0,
        description="When clients of server-sent events shall come back after their stream ended.",
    )


__all__ = ["StreamsSection"]
