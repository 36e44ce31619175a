"""The two buckets of the registry, every call with a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Final, Protocol, TypeVar

from bus.transport.protocol import KeyValue
from schemas.errors import Unavailable

SCHEMAS: Final = "schemas"
"""`sha256.<hash>` to a compressed descriptor closure; never changed once it is there."""
BINDINGS: Final = "bindings"
"""An escaped subject pattern to a signed binding; earlier revisions are kept for whoever looks with a NATS client."""
HISTORY: Final = 64
CALL_S: Final = 10.0

_ResultT = TypeVar("_ResultT")


class Buckets(Protocol):
    """What the registry needs of a `bus.transport.protocol.Transport`."""

    async def key_value(self, bucket: str, *, history: int = 1) -> KeyValue:
        """Open a bucket, creating it when it is missing."""
        ...


async def open_schemas(buckets: Buckets) -> KeyValue:
    """The bucket of descriptor closures. Raises `MeshError`."""
    return await answered(buckets.key_value(SCHEMAS))


async def open_bindings(buckets: Buckets) -> KeyValue:
    """The bucket of bindings. Raises `MeshError`."""
    return await answered(buckets.key_value(BINDINGS, history=HISTORY))


async def answered(call: Awaitable[_ResultT]) -> _ResultT:
    """The answer of a bucket. Raises `Unavailable` when there is none in time."""
    try:
        async with asyncio.timeout(CALL_S):
            return await call
    except TimeoutError:
        raise Unavailable(f"the schema registry did not answer within {CALL_S:g} s") from None


__all__ = [
    "BINDINGS",
    "CALL_S",
    "HISTORY",
    "SCHEMAS",
    "Buckets",
    "answered",
    "open_bindings",
    "open_schemas",
]
