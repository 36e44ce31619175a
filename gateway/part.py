"""One part of the gateway's HTTP side: routes, and what the OpenAPI document says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from gateway.contract import Asgi


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """Where a raw ASGI application stands. The longest prefix wins; the application sees the whole path."""

    prefix: str
    """`/v1/publish/`: everything below; `/healthz`: that path alone."""
    app: Asgi
    openapi: Mapping[str, Any] = field(default_factory=dict)
    """Path items of OpenAPI 3.1 by path; components it refers to are added by `Part.components`."""


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


__all__ = ["Mount", "Part"]
