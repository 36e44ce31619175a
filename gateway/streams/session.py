"""One open stream: gives out what comes until there is a reason to end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from bus.events.following import Feed
from gateway.access.protocol import Client, Credentials
from gateway.contract import Receive
from gateway.streams.positions import Positions
from gateway.streams.rendering import Render
from schemas.clock import Clock


class End(Enum):
    """Why a stream ends. Stable: counted, and told to the client."""

    GONE = "gone"
    DRAINING = "draining"
    EXPIRED = "expired"
    REVOKED = "revoked"
    TOO_SLOW = "too_slow"
    POSITION_LOST = "position_lost"
    UNAVAILABLE = "unavailable"


WORDS: Mapping[End, str] = {
    End.DRAINING: "this gateway is being stopped; go on at another one",
    End.EXPIRED: "the client's token has expired; come back with a new one",
    End.REVOKED: "the client may not read these events any more",
    End.TOO_SLOW: "the client took nothing for too long; it can go on behind the last id",
    End.POSITION_LOST: "events behind the client's position are not kept any more",
    End.UNAVAILABLE: "the events cannot be followed now; come back",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Who reads what, and with which proof."""

    client: Client
    credentials: Credentials = field(repr=False)
    pattern: str
    remote: str


class Session:
    """`run` in the task of the request; `end` and `beat` by whoever watches over all of them."""

    def __init__(
        self,
        reader: Reader,
        write: Callable[[bytes], Awaitable[None]],
        render: Render,
        positions: Positions,
        clock: Clock,
    ) -> None:
        self.reader = reader
        self.given = 0
        """Events that were given out."""
        self.reason: End | None = None
        self.looked_s = clock.monotonic_s()
        """When the client's rights were looked at last."""
        self._write = write
        self._render = render
        self._positions = positions
        self._clock = clock
        self._turn = asyncio.Lock()
        self._task: asyncio.Task[Any] | None = None
        self._beating: asyncio.Task[None] | None = None
        self._written_s = clock.monotonic_s()
        self._since_s: float | None = None
        """Since when the client has not taken what is being written."""

    async def run(self, feed: Feed, receive: Receive, *, after_seq: int | None) -> End:
        """Give out events until the stream ends; why it does. Raises `MeshError` of the feed."""
        self._task = asyncio.current_task()
        watcher = asyncio.create_task(self._watch(receive))
        try:
            patterns = (self.reader.pattern,)
            async with aclosing(feed.follow(patterns, after_seq=after_seq)) as steps:
                async for step in steps:
                    await self._give(self._render(step, self._positions))
                    self.given += step.event is not None
        except asyncio.CancelledError:
            task = self._task
            if self.reason is None or task is None or task.uncancel():
                raise  # somebody else wants the task to end
        finally:
            rest = [one for one in (watcher, self._beating) if one is not None]
            for one in rest:
                one.cancel()
            await asyncio.gather(*rest, return_exceptions=True)
        return self.reason or End.UNAVAILABLE

    def end(self, reason: End) -> None:
        """End it, whatever it waits for."""
        if self.reason is None and self._task is not None:
            self.reason = reason
            self._task.cancel()

    def is_stuck(self, timeout_s: float) -> bool:
        """Whether the client has taken nothing for so long."""
        since_s = self._since_s
        return since_s is not None and self._clock.monotonic_s() - since_s > timeout_s

    def is_silent(self, for_s: float) -> bool:
        """Whether nothing was written for so long."""
        return self._since_s is None and self._clock.monotonic_s() - self._written_s >= for_s

    def has_expired(self) -> bool:
        """Whether the client's proof has ended."""
        expires_ms = self.reader.client.expires_ms
        return bool(expires_ms) and self._clock.now_ms() >= expires_ms

    def beat(self, sign: bytes) -> None:
        """Show that the stream is alive, unless something is being written."""
        if self._beating is None or self._beating.done():
            self._beating = asyncio.create_task(self._give(sign))

    async def _give(self, chunk: bytes) -> None:
        async with self._turn:
            self._since_s = self._clock.monotonic_s()
            await self._write(chunk)
            self._since_s = None
            self._written_s = self._clock.monotonic_s()

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] not in ("http.disconnect", "websocket.disconnect"):
            pass  # what a client says on a stream is not listened to
        self.end(End.GONE)


__all__ = ["WORDS", "End", "Reader", "Session"]
