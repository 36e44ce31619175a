"""One part of the gateway's HTTP side: routes, and what the OpenAPI document says of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from adapters.contract import Rights
from gateway.access.protocol import Access
from gateway.contract import Asgi, GatewayRuntime
from schemas.gateway import GatewaySection
from schemas.subjects import SiteId

Render: TypeAlias = Callable[[int, str, str], tuple[bytes, bytes]]
"""(status, stable code, words) of a refusal to its content type and body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """Where a raw ASGI application stands. The longest prefix wins; the application sees the whole path."""

    prefix: str
    """`/v1/publish/`: everything below; `/healthz`: that path alone."""
    app: Asgi
    openapi: Mapping[str, Any] = field(default_factory=dict)
    """Path items of OpenAPI 3.1 by path; components it refers to are added by `Part.components`."""
    is_stream: bool = False
    """Its answers may last: they do not count against `max_requests`; the part itself bounds them (`max_streams`)."""
    render: Render | None = None
    """How refusals look here; None: as RFC 9457 problems."""


class Part(Protocol):
    """What the HTTP side is made of: /v1, /fhir, /console. Started in order, stopped in the opposite one."""

    async def start(self) -> None:
        """Begin what runs in the background."""
        ...

    def mounts(self) -> Sequence[Mount]:
        """Its routes; asked once, after `start`."""
        ...

    def components(self) -> Mapping[str, Any]:
        """Schemas for `components.schemas` of the OpenAPI document."""
        ...

    async def drain(self, *, timeout_s: float) -> None:
        """Take nothing new and finish what is in hand; long streams are told to come back elsewhere."""
        ...

    async def stop(self) -> None:
        """Stop at once."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PartKind:
    """One part of the gateway, as the composition root knows it."""

    name: str
    is_wanted: Callable[[GatewaySection], bool]
    """Whether the configuration asks for it."""
    rights: Callable[[GatewaySection, SiteId], Rights]
    """What the gateway's certificate must allow for it beyond the rights of the configured clients."""
    build: Callable[[GatewaySection, GatewayRuntime, Access], Part]
    """Make it; `__init__` has no side effects."""
    addresses: Callable[[GatewaySection], Sequence[str]] = lambda section: ()
    """Listeners of its own, `host:port`."""


__all__ = ["Mount", "Part", "PartKind", "Render"]
