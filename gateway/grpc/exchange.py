"""What a transport and the bridge say to each other. No transport is known here: frames are bytes, without prefixes.

A transport reads an RPC's path, metadata and frames, asks `Bridge.operation` what answers it, and runs that. Frames
that come out are the answer; a `RpcFailed` is its status; an end without one is OK. Cancelling it cancels what it does.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from bus.flow.priority import Priority
from gateway.access.protocol import Credentials
from gateway.grpc.status import invalid

AUTHORIZATION: Final = "authorization"
API_KEY: Final = "x-api-key"
PURPOSE: Final = "x-purpose-of-use"
PRIORITY: Final = "x-priority"
IDEMPOTENCY_KEY: Final = "idempotency-key"
TRACEPARENT: Final = "traceparent"
CARRIED: Final = frozenset({PURPOSE, PRIORITY, IDEMPOTENCY_KEY, TRACEPARENT})
"""Metadata that means something to the mesh. All other metadata, binary one included, goes no further."""
_READ: Final = CARRIED | {AUTHORIZATION, API_KEY}
_MAX_VALUE_CHARS: Final = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One RPC as it came in."""

    path: str
    """`/package.Service/Method`."""
    metadata: Mapping[str, str] = field(repr=False, default_factory=dict)
    """Of `CARRIED`, what was there."""
    credentials: Credentials = field(repr=False, default_factory=Credentials)
    timeout_s: float | None = None
    """How long the client waits; None: it does not say."""
    remote: str = ""
    """Address of the peer."""

    @property
    def priority(self) -> Priority:
        """As the client says in `x-priority`. Raises `RpcFailed` for a word that is no priority."""
        name = self.metadata.get(PRIORITY, "")
        if not name:
            return Priority.ROUTINE
        try:
            return Priority[name.upper()]
        except KeyError:
            words = ", ".join(one.name.lower() for one in Priority)
            raise invalid(f"metadata {PRIORITY} is one of {words}") from None


def read_metadata(pairs: Iterable[tuple[str, str | bytes]]) -> dict[str, str]:
    """Metadata that is looked at, by name: the first of several. Raises `RpcFailed` for overlong values."""
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in _READ and isinstance(value, str) and name not in found:
            found[name] = value
    for name in CARRIED:
        if len(found.get(name, "")) > _MAX_VALUE_CHARS:
            raise invalid(f"metadata {name} has more than {_MAX_VALUE_CHARS} characters")
    return found


Run = Callable[[Arrival, AsyncIterator[bytes]], AsyncGenerator[bytes, None]]
"""Frames in, frames out. It asks who the client is before it reads a frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What answers a path."""

    run: Run
    is_long: bool = False
    """It may go on for hours: counted apart from requests, and ended when the gateway drains."""
    is_always: bool = False
    """It is answered whatever the load, and while the gateway drains: at once, from memory."""


async def first_frame(frames: AsyncIterator[bytes]) -> bytes:
    """The frame of a method that is known to take one: whether more follow is not waited for. Raises `RpcFailed`."""
    async for frame in frames:
        return frame
    raise invalid("no message was sent", reason="not_unary")


async def only_frame(frames: AsyncIterator[bytes]) -> bytes:
    """The one frame of a request that must have exactly one. Raises `RpcFailed`."""
    found = await first_frame(frames)
    async for _ in frames:
        raise invalid("more than one message was sent to a unary method", reason="not_unary")
    return found


__all__ = [
    "API_KEY",
    "AUTHORIZATION",
    "CARRIED",
    "IDEMPOTENCY_KEY",
    "PRIORITY",
    "PURPOSE",
    "TRACEPARENT",
    "Arrival",
    "Operation",
    "Run",
    "first_frame",
    "only_frame",
    "read_metadata",
]
