"""Requests on one inbox: no subscription, no task and no timer per request."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Mapping

from bus.transport.nats.connection import Connection
from bus.transport.nats.errors import Violation
from bus.transport.protocol import Incoming, NoResponders
from schemas.errors import DeadlineExceeded, MeshError, PermissionRefused, Unavailable

Answer = Incoming | MeshError
"""What a request ends with. Errors are values here: a future that nobody asks any more raises nothing."""


class Requests:
    """Sends requests and brings answers, refusals and losses back to the call that they belong to."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._prefix = f"{connection.options.inbox_prefix}.{secrets.token_hex(8)}."
        self._tokens = itertools.count()
        self._waiting: dict[str, tuple[asyncio.Future[Answer], str]] = {}

    async def start(self) -> None:
        """Open the inbox."""
        self._connection.on_lost(self._lost)
        self._connection.on_violation(self._violated)
        await self._connection.subscribe(f"{self._prefix}*", self._answered)

    async def send(
        self, subject: str, payload: bytes, headers: Mapping[str, str] | None = None
    ) -> asyncio.Future[Answer]:
        """Send without waiting for the answer. Requests leave in the order of the calls.

        Raises what `Connection.publish` raises. The future never raises.
        """
        token = f"{next(self._tokens):x}"
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[token] = (answer, subject.lower())
        answer.add_done_callback(lambda _: self._waiting.pop(token, None))
        try:
            await self._connection.publish(subject, payload, f"{self._prefix}{token}", headers)
        except BaseException:
            answer.cancel()
            raise
        return answer

    async def ask(
        self,
        subject: str,
        payload: bytes,
        *,
        timeout_s: float,
        headers: Mapping[str, str] | None = None,
    ) -> Incoming:
        """Send and wait. Raises `DeadlineExceeded`, `NoResponders`, `PermissionRefused`, `Unavailable`."""
        answer = await self.send(subject, payload, headers)
        try:
            async with asyncio.timeout(timeout_s):
                got = await answer
        except TimeoutError:
            raise DeadlineExceeded(f"no answer on {subject} within {timeout_s:.1f} s") from None
        if isinstance(got, MeshError):
            raise got
        return got

    def _answered(self, message: Incoming) -> None:
        waiting = self._waiting.get(message.subject[len(self._prefix) :])
        if waiting is None or waiting[0].done():
            return
        if not message.payload and message.headers and message.headers.get("Status") == "503":
            waiting[0].set_result(NoResponders(f"nobody listens on {waiting[1]}"))
        else:
            waiting[0].set_result(message)

    def _lost(self) -> None:
        lost = Unavailable(f"{self._connection.name}: the connection was lost before the answer")
        for answer, _ in tuple(self._waiting.values()):
            if not answer.done():
                answer.set_result(lost)

    def _violated(self, refused: Violation) -> None:
        if refused.kind == "subscription":
            return
        for token, (answer, subject) in tuple(self._waiting.items()):
            hit = subject == refused.subject or refused.subject == (self._prefix + token).lower()
            if hit and not answer.done():
                answer.set_result(
                    PermissionRefused(
                        f"{self._connection.name} may not publish to {refused.subject}"
                    )
                )


__all__ = ["Answer", "Requests"]
