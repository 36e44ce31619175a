"""Events of one PublishAll on their way to the disk: many at a time, but of each subject one, so that order holds.

Where one fails, those of its subject behind it are not tried: what is sent again comes in the right place.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from gateway.grpc.status import RpcFailed, Status, failure_of
from schemas.errors import MeshError
from schemas.generated.medmesh.gateway.v1 import mesh_pb2 as pb

STORED_KEY: Final = "medmesh-stored"
"""Trailing metadata of a PublishAll that failed: how many events from its beginning are on the disk."""
MAX_EVENTS: Final = 10_000
"""Of one PublishAll: its answer names each of them."""
_IN_FLIGHT: Final = 64

Store = Callable[[], Awaitable[pb.Stored]]


class Line:
    """First in, first counted."""

    def __init__(self) -> None:
        self.stored: list[pb.Stored] = []
        """Of the events from the beginning, as far as all are on the disk."""
        self.count = 0
        """How many were added."""
        self._waiting: deque[asyncio.Task[pb.Stored]] = deque()
        self._last: dict[str, asyncio.Task[pb.Stored]] = {}

    async def room(self) -> None:
        """Return when one more may be added. Raises what storing an earlier one raised, and `RpcFailed`."""
        if self.count >= MAX_EVENTS:
            raise RpcFailed(
                Status.RESOURCE_EXHAUSTED,
                f"one PublishAll takes {MAX_EVENTS} events: begin another one",
                reason="too_many_events",
            )
        while self._waiting and (len(self._waiting) >= _IN_FLIGHT or self._waiting[0].done()):
            await self._next()

    def add(self, subject: str, store: Store) -> None:
        """Begin to store one, behind those of its subject."""
        self.count += 1
        task = asyncio.create_task(_after(self._last.get(subject), store))
        task.add_done_callback(_seen)
        self._last[subject] = task
        self._waiting.append(task)

    async def end(self) -> None:
        """Return when all are stored. Raises what storing one raised."""
        while self._waiting:
            await self._next()

    async def _next(self) -> None:
        self.stored.append(await self._waiting[0])
        self._waiting.popleft()

    async def failed(self, error: MeshError) -> RpcFailed:
        """The failure, with how many from the beginning are on the disk once nothing is under way any more."""
        for ended in await asyncio.gather(*self._waiting, return_exceptions=True):
            if isinstance(ended, BaseException):
                break
            self.stored.append(ended)
        self._waiting.clear()
        failure = failure_of(error)
        return RpcFailed(
            failure.status,
            failure.message,
            reason=failure.reason,
            retry_after_s=failure.retry_after_s,
            trailers=((STORED_KEY, str(len(self.stored))),),
        )

    async def close(self) -> None:
        """Give up what is still under way."""
        for task in self._waiting:
            task.cancel()
        await asyncio.gather(*self._waiting, return_exceptions=True)


async def _after(before: asyncio.Task[pb.Stored] | None, store: Store) -> pb.Stored:
    if before is not None:
        await before
    return await store()


def _seen(task: asyncio.Task[pb.Stored]) -> None:
    """Its error is told by whoever awaits it, or by the one before it."""
    if not task.cancelled():
        task.exception()


__all__ = ["MAX_EVENTS", "STORED_KEY", "Line"]
