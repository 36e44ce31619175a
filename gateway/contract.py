"""What the gateway needs of the mesh, and what its parts need of each other. medmesh/runtime provides the first."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from adapters.contract import Health, Offered, OpenRecords, Serve
from bus.catalogue import Catalogue
from bus.events.following import Feed, Followed
from bus.events.opening import EnvelopeReader
from bus.events.protocol import Events
from bus.events.replays import DeadLetters
from bus.flow.priority import Priority
from bus.services.protocol import Offer, Response, Seen
from bus.telemetry.counters import Counters
from bus.transport.protocol import Transport
from schemas.clock import Clock
from schemas.errors import Closed, Unavailable
from schemas.subjects import SiteId

Scope: TypeAlias = Mapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Mapping[str, Any]]]
Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]
Asgi: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
"""A raw ASGI application (ASGI 3)."""


class Call(Protocol):
    """Calls a service of the mesh in the gateway's name."""

    async def __call__(
        self,
        service: str,
        method: str,
        body: bytes,
        *,
        type: str,
        version: int = 1,
        timeout_s: float = 5.0,
        idempotent: bool = False,
        call_id: bytes = b"",
        priority: Priority = Priority.ROUTINE,
        traceparent: str = "",
    ) -> Response:
        """The opened, verified answer. Cancelling it abandons the call.

        Raises what `bus.services.caller.Caller.call` does: `NoInstance`, `Overloaded`, `DeadlineExceeded`, `CallFailed`
        and its kin, `Unavailable`, `BadAnswer`, `PermissionRefused`.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodWords:
    """What an instance says of one of its methods (`$SRV.INFO`). Unsigned: for documents, never for decisions."""

    name: str
    request_type: str = ""
    response_type: str = ""
    request_schema: str = ""
    """JSON schema, or the name of a protobuf message."""
    response_schema: str = ""


Describe: TypeAlias = Callable[[str, str], Awaitable[Sequence[MethodWords]]]
"""(service, instance) to its methods; () where it does not answer."""


async def describes_nothing(service: str, instance: str) -> Sequence[MethodWords]:
    """Nobody is asked."""
    return ()


async def serves_nothing(offer: Offer) -> Offered:
    """Nobody can be answered here. Raises `Closed`."""
    raise Closed(f"nothing is served here: {offer.name}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Operations:
    """What operators' pages need beyond calls and events: the carrier, and what only operators may open."""

    transport: Transport
    letters: DeadLetters
    inspector: EnvelopeReader
    """Opens single stored events that the gateway's certificate lets it read."""
    adapters: Mapping[str, str] = field(default_factory=dict)
    """Adapters of this configuration by name, with their kinds."""


class FollowsNothing:
    """A feed of a gateway that has none."""

    async def follow(
        self, patterns: tuple[str, ...], *, after_seq: int | None
    ) -> AsyncGenerator[Followed, None]:
        """Raises `Unavailable`."""
        for step in await self._nothing():
            yield step

    async def incarnation(self) -> str:
        """Raises `Unavailable`."""
        return str(await self._nothing())

    async def position_before(self, at_ms: int) -> int:
        """Raises `Unavailable`."""
        return len(await self._nothing())

    async def _nothing(self) -> Sequence[Followed]:
        raise Unavailable("this gateway follows no events")


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayRuntime:
    """The mesh in the gateway's own name, time, chance, and where to count and write."""

    site: SiteId
    site_key: bytes
    """Secret of the site for partitions and keyed hashes of identifiers."""
    events: Events
    call: Call
    services: Callable[[], Mapping[str, Sequence[Seen]]]
    """Who runs now, from memory; answers at once."""
    catalogue: Catalogue | None
    """What subjects are bound to; None where `[schemas] check` is off."""
    health: Callable[[], Mapping[str, Health]]
    """Adapters of this process."""
    is_connected: Callable[[], bool]
    """Whether the carrier can be reached now."""
    counters: Counters
    clock: Clock
    random: random.Random
    folder: Path
    """For files of the gateway's own (`<data>/gateway`)."""
    records: OpenRecords
    """Opens durable buckets that every gateway shares. The carrier reads them: no patient data, no secrets."""
    describe: Describe = describes_nothing
    """Asks an instance for its methods."""
    serve: Serve = serves_nothing
    """Offers methods in the gateway's own name, for a part that owns something."""
    operations: Operations | None = None
    """For the console; None where there is none."""
    feed: Feed = field(default_factory=FollowsNothing)
    """Follows the site's events without a place in the stream."""


__all__ = [
    "Asgi",
    "Call",
    "Describe",
    "FollowsNothing",
    "GatewayRuntime",
    "MethodWords",
    "Operations",
    "Receive",
    "Scope",
    "Send",
    "describes_nothing",
    "serves_nothing",
]
