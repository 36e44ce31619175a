"""`[gateway.access]` and `[[gateway.client]]`: who a client is, and what it may do."""

from __future__ import annotations

from pydantic import Field

from schemas.section import NAME_PATTERN, Section


class AccessSection(Section):
    """`[gateway.access]`: how clients prove who they are."""


class ClientSection(Section):
    """`[[gateway.client]]`: one client and its rights. What is not allowed here is refused."""

    name: str = Field(pattern=NAME_PATTERN, description="Name of the client, as records show it.")
    publish: tuple[str, ...] = Field(
        default=(),
        description='Event subjects that it may publish, e.g. ["evt.north.raw.hl7v2.*"].',
    )
    subscribe: tuple[str, ...] = Field(
        default=(), description='Event subjects that it may read, e.g. ["evt.north.result.>"].'
    )
    call: tuple[str, ...] = Field(
        default=(),
        description='Methods of services that it may call, as <service>/<method>: ["beds/free", "lab/*"].',
    )


__all__ = ["AccessSection", "ClientSection"]
