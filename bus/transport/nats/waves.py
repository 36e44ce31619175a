"""Many messages under way to the store at once: one wake-up and one deadline for all of their answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from bus.transport.nats.requests import Requests
from bus.transport.nats.wire import Wire
from schemas.errors import MeshError

Word = bytes | MeshError
"""What came back to a message: the store's words, or why there are none."""


class Wave:
    """Messages sent and their answers. `came` may take a word of the store at once; `words` keeps what it leaves."""

    __slots__ = ("_came", "_done", "_requests", "_tokens", "_waiting_for", "words")

    def __init__(
        self, requests: Requests, came: Callable[[int, bytes], bool] | None = None
    ) -> None:
        self.words: dict[int, Word] = {}
        self._requests = requests
        self._came = came
        self._tokens: list[bytes] = []
        self._waiting_for = 0
        self._done: asyncio.Future[None] | None = None

    def send(
        self, wire: Wire, place: int, subject: str, payload: bytes, headers: bytes | None
    ) -> None:
        """Send one message. Raises what `Wire.send` raises."""
        self._tokens.append(self._requests.put(wire, subject, payload, headers, self, place))
        self._waiting_for += 1

    def answered(self, place: int, payload: bytes) -> None:
        """Take a word of the store."""
        if self._came is None or not self._came(place, payload):
            self.words[place] = payload
        self._waiting_for -= 1
        if not self._waiting_for:
            self.wake()

    def failed(self, place: int, error: MeshError) -> None:
        """Take that there will be none."""
        self.words[place] = error
        self._waiting_for -= 1
        if not self._waiting_for:
            self.wake()

    def wake(self) -> None:
        """End the wait."""
        if self._done is not None and not self._done.done():
            self._done.set_result(None)

    async def wait(self, timeout_s: float) -> None:
        """Return when every message has its word, or after `timeout_s`; what comes later is not heard."""
        if not self._waiting_for:
            return
        self._done = asyncio.get_running_loop().create_future()
        bucket = self._requests.waves.add(self, timeout_s)
        try:
            await self._done
        finally:
            bucket.pop(self, None)
            self.forget()

    def forget(self) -> None:
        """Hear nothing more."""
        if self._waiting_for:
            for token in self._tokens:
                self._requests.forget(token)
            self._waiting_for = 0


__all__ = ["Wave", "Word"]
