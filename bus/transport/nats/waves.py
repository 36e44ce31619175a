"""Many messages under way to the store at once: one timer and one wake-up for all of their answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from bus.transport.nats.requests import Requests
from bus.transport.nats.wire import Wire
from schemas.errors import MeshError

Word = bytes | MeshError
"""What came back to a message: the store's words, or why there are none."""


class Wave:
    """Messages sent and their answers. `came` is told of each word of the store at once."""

    def __init__(
        self, requests: Requests, came: Callable[[int, bytes], None] | None = None
    ) -> None:
        self.words: dict[int, Word] = {}
        self._requests = requests
        self._came = came
        self._open: dict[int, bytes] = {}
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[None] | None = None

    def send(
        self, wire: Wire, place: int, subject: str, payload: bytes, headers: bytes | None
    ) -> None:
        """Send one message. Raises what `Wire.send` raises."""
        self._open[place] = self._requests.put(wire, subject, payload, headers, self, place)

    def answered(self, place: int, payload: bytes) -> None:
        """Take a word of the store."""
        self.words[place] = payload
        if self._came is not None:
            self._came(place, payload)
        self._close(place)

    def failed(self, place: int, error: MeshError) -> None:
        """Take that there will be none."""
        self.words[place] = error
        self._close(place)

    def _close(self, place: int) -> None:
        self._open.pop(place, None)
        if not self._open:
            self._wake()

    def _wake(self) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_result(None)

    async def wait(self, timeout_s: float) -> None:
        """Return when every message has its word, or after `timeout_s`; what comes later is not heard."""
        if not self._open:
            return
        self._done = self._loop.create_future()
        timer = self._loop.call_later(timeout_s, self._wake)
        try:
            await self._done
        finally:
            timer.cancel()
            self.forget()

    def forget(self) -> None:
        """Hear nothing more."""
        for token in self._open.values():
            self._requests.forget(token)
        self._open.clear()


__all__ = ["Wave", "Word"]
