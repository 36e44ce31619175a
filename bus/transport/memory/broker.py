"""The in-memory broker and the transports that connect to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from bus.clock import SystemClock
from bus.transport.memory.core import Core
from bus.transport.memory.faults import Faults
from bus.transport.memory.key_value import Bucket, MemoryKeyValue
from bus.transport.memory.link import MemoryLink
from bus.transport.memory.messenger import MemoryMessenger
from bus.transport.memory.presence import DEPARTURES, Presence
from bus.transport.memory.store import MemoryStore
from bus.transport.protocol import (
    EventStore,
    KeyValue,
    LinkState,
    Messenger,
    StreamAdministration,
    Subscription,
)
from schemas.clock import Clock


class MemoryTransport:
    """One connection to a `MemoryBroker`. `disconnect` and `reconnect` are faults for tests."""

    def __init__(
        self, core: Core, link: MemoryLink, buckets: dict[str, Bucket], presence: Presence
    ) -> None:
        self._core = core
        self._link = link
        self._buckets = buckets
        self._presence = presence
        self._messenger = MemoryMessenger(core, link)
        self._store = MemoryStore(core, link)

    @property
    def messenger(self) -> Messenger:
        """Messages that are not stored."""
        return self._messenger

    @property
    def store(self) -> EventStore:
        """Streams."""
        return self._store

    @property
    def administration(self) -> StreamAdministration:
        """Operators' view of the streams."""
        return self._store

    @property
    def link(self) -> LinkState:
        """Whether the broker can be reached now."""
        return self._link.state

    @property
    def max_payload(self) -> int:
        """The largest message that the broker takes, in bytes."""
        return self._core.max_payload

    async def key_value(
        self, bucket: str, *, history: int = 1, max_age_s: float = 0.0, in_memory: bool = False
    ) -> KeyValue:
        """Open a bucket, creating it when it is missing. Only the newest value is kept, whatever `history` asks."""
        await self._link.ready(10.0)
        held = self._buckets.setdefault(bucket, Bucket(bucket, max_age_s, in_memory))
        return MemoryKeyValue(self._core, self._link, held)

    async def departures(self, gone: Callable[[str], None]) -> Subscription:
        """Call `gone` with the name of each connection that is cut or closed."""
        await self._link.ready(10.0)
        self._link.check_subscribe(DEPARTURES)
        return self._presence.attend(self._link, gone)

    async def close(self) -> None:
        """Disconnect for good."""
        self._core.listeners[:] = [x for x in self._core.listeners if x.link is not self._link]
        was_connected = self._link.connected
        self._link.close()
        if was_connected:
            self._presence.tell(self._link.name)
        await asyncio.sleep(0)

    def disconnect(self, *, with_server: bool = False) -> None:
        """Lose the connection until `reconnect`; where the server is lost, nobody is told."""
        if not self._link.connected:
            return
        self._link.cut()
        if not with_server:
            self._presence.tell(self._link.name)

    def reconnect(self) -> None:
        """Get the connection back: consumers are told that deliveries may have been lost."""
        self._link.restore()


class MemoryBroker:
    """A broker in this process: streams, places and buckets outlive the transports that connect to it.

    Without a clock it runs on the system's time and the event loop's timers. With a clock of its own a test moves the
    time and then calls `tick`, unless that clock is the loop's own (`timers`).
    """

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        timers: bool | None = None,
        max_payload: int = 8 * 1024 * 1024,
    ) -> None:
        self._core = Core(
            clock=clock or SystemClock(),
            timers=clock is None if timers is None else timers,
            max_payload=max_payload,
        )
        self._buckets: dict[str, Bucket] = {}
        self._presence = Presence()
        self._transports: list[MemoryTransport] = []

    @property
    def faults(self) -> Faults:
        """What goes wrong on the order of a test."""
        return self._core.faults

    @property
    def max_payload(self) -> int:
        """The largest message that it takes, in bytes; a test may change it, as an administrator may."""
        return self._core.max_payload

    @max_payload.setter
    def max_payload(self, most: int) -> None:
        self._core.max_payload = most

    async def connect(
        self,
        *,
        name: str = "memory",
        deny_publish: tuple[str, ...] = (),
        deny_subscribe: tuple[str, ...] = (),
    ) -> MemoryTransport:
        """Open a connection; `deny_…` are patterns on which it gets `PermissionRefused`."""
        link = MemoryLink(name, deny_publish=deny_publish, deny_subscribe=deny_subscribe)
        transport = MemoryTransport(self._core, link, self._buckets, self._presence)
        self._transports.append(transport)
        return transport

    def disconnect_all(self) -> None:
        """Cut every connection, as a dead server would: what is only in its memory is lost."""
        for transport in self._transports:
            transport.disconnect(with_server=True)
        for bucket in self._buckets.values():
            bucket.lose_memory()

    def reconnect_all(self) -> None:
        """Bring every cut connection back."""
        for transport in self._transports:
            transport.reconnect()

    def delete_stream(self, name: str) -> None:
        """Delete a stream and its durable consumers, as an administrator of the broker can. Raises `NotFound`."""
        stream = self._core.stream(name)
        del self._core.streams[name]
        for key in [key for key in self._core.places if key[0] == name]:
            del self._core.places[key]
        for call in tuple(stream.deleted):
            call()

    def tick(self) -> None:
        """Let what is due at the clock's present time happen: redeliveries and expiries."""
        now_ms = self._core.clock.now_ms()
        for bucket in self._buckets.values():
            bucket.expire(now_ms)
        for stream in self._core.streams.values():
            stream.expire(now_ms)
            stream.release(now_ms)
        for call in tuple(self._core.ticks):
            call()


__all__ = ["MemoryBroker", "MemoryTransport"]
