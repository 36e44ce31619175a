"""`grpc.health.v1.Health`: of the gateway (the empty name), of our own services, and of those of the mesh behind it.

It needs no client's name: load balancers ask it, and it says nothing that a refused connection would not say.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from typing import Final, Protocol

from gateway.grpc.exchange import Arrival, Operation, first_frame
from gateway.grpc.foreign import (
    HEALTH,
    Serving,
    health_list,
    health_response,
    health_service,
)
from gateway.grpc.status import RpcFailed, Status

_LOOK_S: Final = 0.5
"""How soon a watcher hears of a change."""
_MAX_LISTED: Final = 100
"""As the reference implementations answer."""


class Served(Protocol):
    """What is known of services of the mesh."""

    def owned(self) -> Iterable[str]:
        """Names of gRPC services that somebody answers for."""
        ...

    def is_serving(self, name: str) -> bool:
        """Whether an instance may be asked."""
        ...


class Health:
    """Answers from memory."""

    def __init__(
        self, own: Iterable[str], served: Served, *, is_connected: Callable[[], bool]
    ) -> None:
        self._own = frozenset(own)
        self._served = served
        self._is_connected = is_connected
        self._leaving = asyncio.Event()

    def operations(self) -> Mapping[str, Operation]:
        """By path."""
        return {
            f"/{HEALTH}/Check": Operation(run=self._check, is_always=True),
            f"/{HEALTH}/List": Operation(run=self._list, is_always=True),
            f"/{HEALTH}/Watch": Operation(run=self._watch, is_long=True),
        }

    def drain(self) -> None:
        """From now on nothing is served; watchers hear of it at once."""
        self._leaving.set()

    def status(self, name: str) -> Serving:
        """How a service is; the empty name is the gateway."""
        if name and name not in self._own and name not in self._served.owned():
            return Serving.SERVICE_UNKNOWN
        if self._leaving.is_set() or not self._is_connected():
            return Serving.NOT_SERVING
        is_there = not name or name in self._own or self._served.is_serving(name)
        return Serving.SERVING if is_there else Serving.NOT_SERVING

    async def _check(
        self, arrival: Arrival, frames: AsyncIterator[bytes]
    ) -> AsyncGenerator[bytes, None]:
        status = self.status(health_service(await first_frame(frames)))
        if status is Serving.SERVICE_UNKNOWN:
            raise RpcFailed(
                Status.NOT_FOUND, "no such service is known here", reason="unknown_service"
            )
        yield health_response(status)

    async def _list(
        self, arrival: Arrival, frames: AsyncIterator[bytes]
    ) -> AsyncGenerator[bytes, None]:
        names = ["", *sorted({*self._own, *self._served.owned()})]
        if len(names) > _MAX_LISTED:
            raise RpcFailed(
                Status.RESOURCE_EXHAUSTED,
                f"{len(names)} services are too many for a list",
                reason="too_many_services",
            )
        yield health_list({name: self.status(name) for name in names})

    async def _watch(
        self, arrival: Arrival, frames: AsyncIterator[bytes]
    ) -> AsyncGenerator[bytes, None]:
        name = health_service(await first_frame(frames))
        told: Serving | None = None
        while True:
            status = self.status(name)
            if status is not told:
                yield health_response(status)
                told = status
            if self._leaving.is_set():
                return
            try:
                async with asyncio.timeout(_LOOK_S):
                    await self._leaving.wait()
            except TimeoutError:
                continue


__all__ = ["Health", "Served"]
