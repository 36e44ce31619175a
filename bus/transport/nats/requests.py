"""Requests on one inbox: no subscription, no task, no timer and no callback object per request."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Mapping
from typing import Protocol

from bus.transport.nats.connection import Connection
from bus.transport.nats.deadlines import Deadlines
from bus.transport.nats.errors import Violation
from bus.transport.nats.headers import encode, says_no_responders
from bus.transport.nats.wire import Wire, incoming
from bus.transport.protocol import Incoming, NoResponders
from schemas.errors import DeadlineExceeded, MeshError, PermissionRefused, Unavailable

Answer = Incoming | MeshError
"""What a request ends with. Errors are values here: a future that nobody asks any more raises nothing."""


class Asker(Protocol):
    """Who asks many questions at once and knows them by number."""

    def answered(self, place: int, payload: bytes) -> None:
        """Take what was answered to the question of that number."""
        ...

    def failed(self, place: int, error: MeshError) -> None:
        """Take why there will be no answer to it."""
        ...


class Sleeper(Protocol):
    """Who waits with a deadline."""

    def wake(self) -> None:
        """End the wait."""
        ...


def _wake(sleeper: Sleeper) -> None:
    sleeper.wake()


class Requests:
    """Sends requests and brings answers, refusals and losses back to the call that they belong to."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._inbox = f"{connection.options.inbox_prefix}.{secrets.token_hex(8)}."
        self._prefix = self._inbox.encode()
        self._start = len(self._prefix)
        self._tokens = itertools.count()
        self._loop = asyncio.get_running_loop()
        self._deadlines: Deadlines[bytes] = Deadlines(self._expired)
        self.waves: Deadlines[Sleeper] = Deadlines(_wake)
        """Who waits for answers to many questions, until when."""
        self._calls: dict[bytes, tuple[asyncio.Future[Answer], str, dict[bytes, None]]] = {}
        """One caller's question each: who waits, on which subject, until when."""
        self._questions: dict[bytes, tuple[Asker, int, str]] = {}

    async def start(self) -> None:
        """Open the inbox."""
        self._connection.on_lost(self._lost)
        self._connection.on_violation(self._violated)
        await self._connection.listen(f"{self._inbox}*", self._answered)

    async def ask(
        self,
        subject: str,
        payload: bytes,
        *,
        timeout_s: float,
        headers: Mapping[str, str] | None = None,
    ) -> Incoming:
        """Send and wait. Raises `DeadlineExceeded`, `NoResponders`, `PermissionRefused`, `Unavailable`."""
        wire = self._connection.live_wire()
        if wire.full:
            wire = await self._room(subject, timeout_s)
        token = b"%x" % next(self._tokens)
        answer: asyncio.Future[Answer] = self._loop.create_future()
        bucket = self._deadlines.add(token, timeout_s)
        self._calls[token] = (answer, subject, bucket)
        try:
            wire.send(subject, payload, self._prefix + token, encode(headers) if headers else None)
            got = await answer
        finally:
            if self._calls.pop(token, None) is not None:  # refused, or given up by its caller
                bucket.pop(token, None)
        if isinstance(got, MeshError):
            raise got
        return got

    async def _room(self, subject: str, timeout_s: float) -> Wire:
        try:
            async with asyncio.timeout(timeout_s):
                await self._connection.live_wire().room()
        except TimeoutError:
            raise DeadlineExceeded(f"not sent to {subject}: the connection was full") from None
        return self._connection.live_wire()

    def put(
        self,
        wire: Wire,
        subject: str,
        payload: bytes,
        headers: bytes | None,
        asker: Asker,
        place: int,
    ) -> bytes:
        """Send one of many questions without waiting; `forget` what this returns when nobody waits any more.

        Raises what `Wire.send` raises.
        """
        token = b"%x" % next(self._tokens)
        wire.send(subject, payload, self._prefix + token, headers)
        self._questions[token] = (asker, place, subject)
        return token

    def forget(self, token: bytes) -> None:
        """Expect no answer to a question any more."""
        self._questions.pop(token, None)

    def _answered(
        self, subject: bytes, reply: bytes, headers: bytes | None, payload: bytes
    ) -> None:
        token = subject[self._start :]
        call = self._calls.pop(token, None)
        if call is not None:
            answer, asked, bucket = call
            bucket.pop(token, None)
            if answer.done():
                return
            if headers is None or not says_no_responders(headers, payload):
                answer.set_result(incoming(subject, reply, headers, payload))
            else:
                answer.set_result(NoResponders(f"nobody listens on {asked}"))
            return
        question = self._questions.pop(token, None)
        if question is None:
            return
        asker, place, asked = question
        if headers is None or not says_no_responders(headers, payload):
            asker.answered(place, payload)
        else:
            asker.failed(place, NoResponders(f"nobody listens on {asked}"))

    def _expired(self, token: bytes) -> None:
        call = self._calls.pop(token, None)
        if call is not None and not call[0].done():
            call[0].set_result(DeadlineExceeded(f"no answer on {call[1]} in time"))

    def _fail(self, token: bytes, error: MeshError) -> None:
        call = self._calls.pop(token, None)
        if call is not None:
            call[2].pop(token, None)
            if not call[0].done():
                call[0].set_result(error)
        question = self._questions.pop(token, None)
        if question is not None:
            question[0].failed(question[1], error)

    def _lost(self) -> None:
        lost = Unavailable(f"{self._connection.name}: the connection was lost before the answer")
        for token in (*self._calls, *self._questions):
            self._fail(token, lost)
        self._deadlines.clear()

    def _violated(self, refused: Violation) -> None:
        if refused.kind == "subscription":
            return
        asked = {token: call[1] for token, call in self._calls.items()}
        asked |= {token: question[2] for token, question in self._questions.items()}
        error = PermissionRefused(f"{self._connection.name} may not publish to {refused.subject}")
        for token, subject in asked.items():
            inbox = (self._inbox + token.decode()).lower()
            if refused.subject in (subject.lower(), inbox):
                self._fail(token, error)


__all__ = ["Answer", "Asker", "Requests", "Sleeper"]
