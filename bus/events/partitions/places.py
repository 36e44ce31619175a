"""The durable places of a group: one for each partition, `<group>-p<partition>`, in the event stream."""

from __future__ import annotations

import asyncio

from bus.transport.protocol import ConsumerState, Transport
from schemas.subjects import token


def place_name(group: str, partition: int) -> str:
    """`<group>-p<partition>`. Raises `SubjectError` for a name that is too long."""
    return token(f"{group}-p{partition}", what="consumer")


class Places:
    """What the server knows of the places of a stream; who asks at the same time shares one question."""

    def __init__(self, transport: Transport, stream: str) -> None:
        self._transport = transport
        self._stream = stream
        self._next: asyncio.Task[dict[str, ConsumerState]] | None = None
        self._running: asyncio.Task[dict[str, ConsumerState]] | None = None

    async def state(self, name: str) -> ConsumerState | None:
        """Where a place stands, asked of the server after this call; None when it is missing. Raises `MeshError`."""
        if self._next is None:
            self._next = asyncio.create_task(self._ask(self._running), name="places of a group")
        return (await asyncio.shield(self._next)).get(name)

    async def _ask(
        self, before: asyncio.Task[dict[str, ConsumerState]] | None
    ) -> dict[str, ConsumerState]:
        """Wait for the question under way: those who come meanwhile get the answer of the next one."""
        if before is not None:
            await asyncio.wait((before,))
        self._running, self._next = self._next, None
        return await self._transport.administration.consumers(self._stream)

    async def close(self) -> None:
        """Forget what is under way."""
        tasks = [task for task in (self._next, self._running) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


__all__ = ["Places", "place_name"]
