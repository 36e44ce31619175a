"""Core messages: publish, request, subscribe."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final

from bus.transport.nats.connection import Connection, Registration
from bus.transport.nats.headers import encode
from bus.transport.nats.requests import Requests
from bus.transport.nats.wire import check_subject
from bus.transport.protocol import Incoming, LinkState, Subscription
from schemas.errors import DeadlineExceeded, PermissionRefused, ResourceExhausted, Unavailable

_KNOWN_SUBJECTS: Final = 32_768
"""Subjects known to be allowed, some 150 bytes each; beyond, every first message of a subject costs a round trip."""


class NatsSubscription:
    """A running core subscription. Survives reconnects."""

    def __init__(self, connection: Connection, registration: Registration) -> None:
        self._connection = connection
        self._registration = registration

    async def close(self) -> None:
        """Stop it; messages that had arrived are still handed over."""
        await self._connection.unsubscribe(self._registration, hand_over=True)


class NatsMessenger:
    """`Messenger` on NATS."""

    def __init__(self, connection: Connection, requests: Requests) -> None:
        self._connection = connection
        self._requests = requests
        self._known: OrderedDict[str, None] = OrderedDict()
        connection.on_lost(self._known.clear)

    async def publish(
        self,
        subject: str,
        payload: bytes,
        *,
        reply: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Send without an answer.

        The server refuses a subject without being asked, so the first message of a subject on a connection waits for
        one round trip; later ones do not. Answers to inboxes are never waited for. `Unavailable` means that the message
        may not have arrived.
        """
        wire = self._connection.wire
        if (
            wire is not None
            and not wire.full
            and (subject in self._known or subject.startswith("_INBOX"))
        ):
            if headers or reply:
                block = encode(headers) if headers else None
                wire.send(subject, payload, _checked(reply) if reply else b"", block)
            else:
                wire.send(subject, payload)
            return
        await self._publish_patiently(subject, payload, reply, headers)

    async def _publish_patiently(
        self, subject: str, payload: bytes, reply: str, headers: Mapping[str, str] | None
    ) -> None:
        connection = self._connection
        before = await self._send(subject, payload, reply, headers)
        if subject in self._known or subject.startswith("_INBOX"):
            return
        await connection.round_trip(connection.options.ping_timeout_s)
        if connection.refusals("publish", subject) > before:
            raise PermissionRefused(f"{connection.name} may not publish to {subject}")
        self._known[subject] = None
        if len(self._known) > _KNOWN_SUBJECTS:
            self._known.popitem(last=False)

    async def _send(
        self, subject: str, payload: bytes, reply: str, headers: Mapping[str, str] | None
    ) -> int:
        """Send once, on the next connection if this one is lost; return the refusals counted before."""
        connection = self._connection
        while True:
            await connection.ready(connection.options.publish_wait_s)
            before = connection.refusals("publish", subject)
            try:
                await connection.publish(subject, payload, reply, headers)
            except Unavailable:  # nothing was sent
                if connection.state is LinkState.CONNECTED:
                    await asyncio.sleep(0)  # the keeper has not seen the loss yet
                continue
            return before

    def send(
        self,
        subject: str,
        payload: bytes,
        *,
        reply: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Send without an answer and without waiting. A refusal by the server is counted, not raised.

        Raises `Unavailable` while disconnected, `ResourceExhausted` at the pending bound, `PayloadTooLarge`,
        `SubjectError`, `Closed`.
        """
        wire = self._connection.live_wire()
        if wire.full:
            most = self._connection.options.pending_bytes
            raise ResourceExhausted(f"{self._connection.name}: {most} bytes (pending_bytes) wait")
        wire.send(
            subject,
            payload,
            _checked(reply) if reply else b"",
            encode(headers) if headers else None,
        )

    async def request(
        self,
        subject: str,
        payload: bytes,
        *,
        timeout_s: float,
        headers: Mapping[str, str] | None = None,
    ) -> Incoming:
        """Send and wait for one answer. A request whose connection is lost on the way gives `Unavailable`."""
        if self._connection.wire is None:
            loop = asyncio.get_running_loop()
            end = loop.time() + timeout_s
            try:
                await self._connection.ready(timeout_s)
            except Unavailable as gone:
                raise DeadlineExceeded(f"no answer on {subject}: {gone}") from None
            timeout_s = max(0.0, end - loop.time())
        return await self._requests.ask(subject, payload, timeout_s=timeout_s, headers=headers)

    async def subscribe(
        self, pattern: str, handler: Callable[[Incoming], None], *, queue: str = ""
    ) -> Subscription:
        """Call `handler` for each message that `pattern` covers, now and after each reconnect."""
        connection = self._connection
        await connection.ready(connection.options.publish_wait_s)
        before = connection.refusals("subscription", pattern)
        registration = await connection.subscribe(pattern, handler, queue=queue)
        try:
            await connection.round_trip(connection.options.ping_timeout_s)
        except BaseException:
            await connection.unsubscribe(registration)
            raise
        if connection.refusals("subscription", pattern) > before:
            await connection.unsubscribe(registration)
            raise PermissionRefused(f"{connection.name} may not subscribe to {pattern}")
        return NatsSubscription(connection, registration)


def _checked(reply: str) -> bytes:
    check_subject(reply)
    return reply.encode()


__all__ = ["NatsMessenger", "NatsSubscription"]
