"""Who left the in-memory broker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from bus.transport.memory.link import MemoryLink

DEPARTURES: Final = "$SYS.ACCOUNT.*.DISCONNECT"
"""What a connection must be allowed to subscribe to be told of departures, as on NATS."""


class Presence:
    """Who wants to know of connections that end."""

    def __init__(self) -> None:
        self._listeners: list[DepartureListener] = []

    def attend(self, link: MemoryLink, gone: Callable[[str], None]) -> DepartureListener:
        """Tell `gone` of each connection that ends while `link` is connected."""
        listener = DepartureListener(self._listeners, link, gone)
        self._listeners.append(listener)
        return listener

    def tell(self, name: str) -> None:
        """A connection has ended."""
        loop = asyncio.get_running_loop()
        for listener in self._listeners:
            if listener.link.connected:
                loop.call_soon(listener.gone, name)


class DepartureListener:
    """A running subscription to departures."""

    def __init__(
        self, listeners: list[DepartureListener], link: MemoryLink, gone: Callable[[str], None]
    ) -> None:
        self.link = link
        self.gone = gone
        self._listeners = listeners

    async def close(self) -> None:
        """Stop it."""
        if self in self._listeners:
            self._listeners.remove(self)
        await asyncio.sleep(0)  # one turn of the loop: what had arrived is handed over


__all__ = ["DEPARTURES", "DepartureListener", "Presence"]
