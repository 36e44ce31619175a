"""Watches over the open streams: signs of life, rights that are gone, clients that take nothing."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Final

from bus.telemetry.counters import Counters
from gateway.access.protocol import Access, Forbidden, TooMany, Unauthenticated
from gateway.http.exchange import Refused
from gateway.http.problems import Problem
from gateway.streams.session import End, Session
from schemas.clock import Clock
from schemas.errors import MeshError
from schemas.gateway.streams import StreamsSection

_TICK_S: Final = 1.0
_WHO: Final = "streams"


class Watch:
    """All streams of a gateway."""

    def __init__(
        self,
        section: StreamsSection,
        access: Access,
        *,
        max_streams: int,
        clock: Clock,
        counters: Counters,
    ) -> None:
        self._section = section
        self._access = access
        self._max_streams = max_streams
        self._clock = clock
        self._counters = counters
        self._sessions: dict[Session, bytes] = {}
        """Each with its sign of life."""
        self._of_client: Counter[str] = Counter()
        self._ticking: asyncio.Task[None] | None = None
        self.is_draining = False

    def start(self) -> None:
        """Begin to watch."""
        self._ticking = asyncio.create_task(self._tick_for_ever(), name="streams-watch")

    async def stop(self) -> None:
        """End every stream at once."""
        self.drain()
        if self._ticking is not None:
            self._ticking.cancel()
            await asyncio.gather(self._ticking, return_exceptions=True)

    def drain(self) -> None:
        """Take nothing new; tell every client to go on elsewhere."""
        self.is_draining = True
        for session in tuple(self._sessions):
            session.end(End.DRAINING)

    @property
    def streams(self) -> int:
        """How many are open."""
        return self._of_client.total()

    @contextmanager
    def admitted(self, client: str) -> Iterator[Callable[[Session, bytes], None]]:
        """Count one stream of a client; gives what enters its session. Raises `Refused`, `TooMany`."""
        if self.is_draining or self.streams >= self._max_streams:
            raise Refused(self._busy())
        if self._of_client[client] >= self._section.max_per_client:
            raise TooMany(
                f"this client holds {self._section.max_per_client} streams already ([gateway.streams] max_per_client)",
                retry_after_s=self._section.retry_s,
            )
        entered: list[Session] = []

        def enter(session: Session, sign: bytes) -> None:
            self._sessions[session] = sign
            entered.append(session)

        self._of_client[client] += 1
        try:
            yield enter
        finally:
            self._of_client[client] -= 1
            for session in entered:
                del self._sessions[session]

    def _busy(self) -> Problem:
        return Problem(
            status=HTTPStatus.SERVICE_UNAVAILABLE,
            code="draining" if self.is_draining else "too_many_streams",
            detail="this gateway is being stopped; another one answers"
            if self.is_draining
            else f"{self._max_streams} streams are open at this gateway ([gateway] max_streams)",
            retry_after_s=self._section.retry_s,
        )

    # once a second

    async def _tick_for_ever(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            await self.tick()

    async def tick(self) -> None:
        """Look at each stream as of now."""
        section, now_s = self._section, self._clock.monotonic_s()
        for session, sign in tuple(self._sessions.items()):
            if session.is_stuck(section.write_timeout_s):
                session.end(End.TOO_SLOW)
            elif session.has_expired():
                session.end(End.EXPIRED)
            else:
                if session.is_silent(section.heartbeat_s):
                    session.beat(sign)
                if now_s - session.looked_s >= section.heartbeat_s:
                    session.looked_s = now_s
                    await self._look_again(session)

    async def _look_again(self, session: Session) -> None:
        """Rights that were taken away end the stream; an access that cannot be asked now does not."""
        reader = session.reader
        try:
            client = await self._access.identify(reader.credentials)
            self._access.may_subscribe(client, reader.pattern)
        except (Unauthenticated, Forbidden):
            session.end(End.REVOKED)
        except MeshError as error:
            self._counters.add("stream_look_failed", who=_WHO, reason=error.code)


__all__ = ["Watch"]
