"""Publishes what somebody may read: a change that no service subscribes to is no event, and does not wait for one."""

from __future__ import annotations

from collections.abc import Callable

from bus.envelope.types import NobodyMayRead
from bus.events.protocol import NewEvent, StoredEvent
from bus.transactions.relay import Publishes


class PublishesWhatIsRead:
    """`bus.transactions.relay.Publishes`; what nobody may read is counted, and done with."""

    def __init__(self, events: Publishes, count: Callable[[str, str], None]) -> None:
        self._events = events
        self._count = count

    async def publish(self, event: NewEvent, *, timeout_s: float = 30.0) -> StoredEvent:
        """Store one event. Raises what `Events.publish` does, but for `NobodyMayRead`."""
        try:
            return await self._events.publish(event, timeout_s=timeout_s)
        except NobodyMayRead:
            self._count("event_unread", ".".join(event.subject.split(".")[2:4]))
            return StoredEvent(message_id=event.message_id, stream="", seq=0, duplicate=False)


__all__ = ["PublishesWhatIsRead"]
