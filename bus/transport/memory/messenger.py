"""Core messages of the in-memory broker: publish, request, subscribe with queue groups."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping

from bus.transport.memory.core import Core, Listener
from bus.transport.memory.link import MemoryLink
from bus.transport.protocol import Incoming, NoResponders, PayloadTooLarge, Subscription
from schemas.errors import DeadlineExceeded, Unavailable

_PUBLISH_WAIT_S = 10.0
_inboxes = itertools.count(1)


def check_size(payload: bytes, max_payload: int) -> None:
    """Raise `PayloadTooLarge` where the broker would refuse the size."""
    if len(payload) > max_payload:
        raise PayloadTooLarge(
            f"message of {len(payload)} bytes; at most {max_payload} are allowed (max_payload)"
        )


class MemorySubscription:
    """A running core subscription."""

    def __init__(self, core: Core, listener: Listener) -> None:
        self._core = core
        self._listener = listener

    async def close(self) -> None:
        """Stop it; messages that had arrived are still handed over."""
        if self._listener in self._core.listeners:
            self._core.listeners.remove(self._listener)
        await asyncio.sleep(0)  # one turn of the loop: what had arrived is handed over


class MemoryMessenger:
    """`Messenger` on one connection."""

    def __init__(self, core: Core, link: MemoryLink) -> None:
        self._core = core
        self._link = link

    async def publish(
        self,
        subject: str,
        payload: bytes,
        *,
        reply: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Hand the message to who listens; waits while the connection is cut."""
        await self._link.ready(_PUBLISH_WAIT_S)
        self._link.check_publish(subject)
        check_size(payload, self._core.max_payload)
        self._core.send(
            Incoming(subject=subject, payload=bytes(payload), reply=reply, headers=headers)
        )

    def send(
        self,
        subject: str,
        payload: bytes,
        *,
        reply: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Hand the message to who listens; what this connection may not publish is dropped, as a server does."""
        self._link.check_connected()
        check_size(payload, self._core.max_payload)
        if self._link.may_publish(subject):
            self._core.send(
                Incoming(subject=subject, payload=bytes(payload), reply=reply, headers=headers)
            )

    async def request(
        self,
        subject: str,
        payload: bytes,
        *,
        timeout_s: float,
        headers: Mapping[str, str] | None = None,
    ) -> Incoming:
        """Hand over and wait for one answer."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_s
        try:
            await self._link.ready(timeout_s)
        except Unavailable as gone:
            raise DeadlineExceeded(f"no answer on {subject}: {gone}") from None
        self._link.check_publish(subject)
        check_size(payload, self._core.max_payload)
        answer: asyncio.Future[Incoming] = loop.create_future()
        inbox = f"_INBOX.memory.{next(_inboxes)}"

        def answered(message: Incoming) -> None:
            if not answer.done():
                answer.set_result(message)

        listener = Listener(self._link, inbox, "", answered)
        self._core.listeners.append(listener)
        try:
            message = Incoming(
                subject=subject, payload=bytes(payload), reply=inbox, headers=headers
            )
            if not self._core.send(message):
                raise NoResponders(f"nobody listens on {subject}")
            async with asyncio.timeout_at(end):
                return await answer
        except TimeoutError:
            raise DeadlineExceeded(f"no answer on {subject} within {timeout_s} s") from None
        finally:
            self._core.listeners.remove(listener)

    async def subscribe(
        self, pattern: str, handler: Callable[[Incoming], None], *, queue: str = ""
    ) -> Subscription:
        """Call `handler` for each message that `pattern` covers."""
        await self._link.ready(_PUBLISH_WAIT_S)
        self._link.check_subscribe(pattern)
        listener = Listener(self._link, pattern, queue, handler)
        self._core.listeners.append(listener)
        return MemorySubscription(self._core, listener)


__all__ = ["MemoryMessenger", "MemorySubscription", "check_size"]
