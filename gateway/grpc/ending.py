"""Why a stream must end that could go on for hours: the gateway stops, or the client's token has expired."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TypeVar

from gateway.access.protocol import Client
from gateway.grpc.status import RpcFailed, Status, draining
from schemas.clock import Clock

T = TypeVar("T")


class Ending:
    """One for all streams of a gateway."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._leaving = asyncio.Event()

    def leave(self) -> None:
        """End every stream: their clients go on at another gateway."""
        self._leaving.set()

    async def until(self, steps: AsyncIterator[T], client: Client) -> AsyncGenerator[T, None]:
        """What comes, until there is no more; raises `RpcFailed` when the stream must end, whatever it waits for."""
        end = asyncio.ensure_future(self._of(client))
        step: asyncio.Future[T] | None = None
        try:
            while True:
                step = asyncio.ensure_future(_next(steps))
                await asyncio.wait((step, end), return_when=asyncio.FIRST_COMPLETED)
                if end.done():
                    raise end.result()
                try:
                    found = step.result()
                except _Over:
                    return
                yield found
        finally:
            pending = [one for one in (step, end) if one is not None and not one.done()]
            for one in pending:
                one.cancel()
            await asyncio.gather(*pending, return_exceptions=True)

    async def _of(self, client: Client) -> RpcFailed:
        """Return why it must end, when it must."""
        left_s = (client.expires_ms - self._clock.now_ms()) / 1000 if client.expires_ms else None
        try:
            async with asyncio.timeout(None if left_s is None else max(0.0, left_s)):
                await self._leaving.wait()
        except TimeoutError:
            return RpcFailed(
                Status.UNAUTHENTICATED, "the client's token has expired", reason="expired"
            )
        return draining()


class _Over(Exception):
    """There is no more. `StopAsyncIteration` itself cannot be the end of a task."""


async def _next(steps: AsyncIterator[T]) -> T:
    try:
        return await anext(steps)
    except StopAsyncIteration:
        raise _Over from None


__all__ = ["Ending"]
