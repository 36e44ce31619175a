"""Everything that goes to the server in one turn of the event loop leaves in one write."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, NoReturn

from bus.transport.nats.wire import check_subject
from bus.transport.protocol import PayloadTooLarge

_CHUNK_BYTES: Final = 128 * 1024
"""So much is handed to the socket at once, also within a turn: larger joins only miss the processor's cache."""
_LINE_BYTES: Final = 64
"""What a message is taken to weigh besides its payload and headers."""
_KNOWN_SUBJECTS: Final = 32_768
_INBOXES: Final = "_INBOX."
_TABLE: Final = 4096
_NUMBERS: Final = tuple(b"%d " % number for number in range(_TABLE))
_SIZES: Final = tuple(b"%d\r\n" % number for number in range(_TABLE))


class Writer:
    """The way out of one connection. Who sends looks at `full` first: so what waits is bounded."""

    def __init__(
        self,
        stream: asyncio.StreamWriter,
        *,
        bound: int,
        max_payload: int,
        usable: Callable[[], bool],
        broken: Callable[[str], None],
    ) -> None:
        self.full = False
        """Whether the socket holds more than the bound allows; somebody waits for it to drain then."""
        self._stream = stream
        self._socket = stream.transport
        self._socket.set_write_buffer_limits(high=bound // 2, low=bound // 4)
        self._bound = bound
        self._max_payload = max_payload
        self._usable = usable
        self._broken = broken
        self._loop = asyncio.get_running_loop()
        self._plain: dict[str, bytes] = {}
        """Subjects that were checked, as they begin a PUB line."""
        self._headed: dict[str, bytes] = {}
        """The same for HPUB."""
        self._parts: list[bytes] = []
        self._size = 0
        self._due = 0
        """From which size on something is to be done: at once, where this turn has no write yet."""
        self._open = True
        self._waiting: list[asyncio.Future[None]] = []
        self._drainer: asyncio.Task[None] | None = None

    def send(
        self, subject: str, payload: bytes, reply: bytes = b"", headers: bytes | None = None
    ) -> None:
        """Add one message; never waits. Raises `SubjectError`, `PayloadTooLarge`."""
        if type(payload) is not bytes:
            payload = bytes(payload)  # it leaves later: what may change until then is copied
        size = len(payload)
        if headers is None:
            start = self._plain.get(subject) or self._begin("PUB", subject, self._plain)
            if size > self._max_payload:
                self._refuse(size)
            length = _SIZES[size] if size < _TABLE else b"%d\r\n" % size
            if reply:
                self._parts += (start, reply, b" ", length, payload, b"\r\n")
            else:
                self._parts += (start, length, payload, b"\r\n")
        else:
            start = self._headed.get(subject) or self._begin("HPUB", subject, self._headed)
            head = len(headers)
            size += head
            if size > self._max_payload:
                self._refuse(size)
            length = _SIZES[size] if size < _TABLE else b"%d\r\n" % size
            first = _NUMBERS[head] if head < _TABLE else b"%d " % head
            if reply:
                self._parts += (start, reply, b" ", first, length, headers, payload, b"\r\n")
            else:
                self._parts += (start, first, length, headers, payload, b"\r\n")
        self._size = size = self._size + size + _LINE_BYTES
        if size > self._due:
            self._plan()

    def answer(self, subject: bytes, payload: bytes) -> None:
        """Send to a subject that the server itself has written; never waits."""
        self.put(b"PUB %b %d\r\n%b\r\n" % (subject, len(payload), payload))

    def put(self, line: bytes) -> None:
        """Add a whole protocol message; never waits."""
        self._parts.append(line)
        self._size += len(line)
        if self._size > self._due:
            self._plan()

    def _begin(self, word: str, subject: str, known: dict[str, bytes]) -> bytes:
        check_subject(subject)
        start = f"{word} {subject} ".encode()
        if len(known) >= _KNOWN_SUBJECTS:
            known.clear()
        if not subject.startswith(_INBOXES):  # used once
            known[subject] = start
        return start

    def _refuse(self, size: int) -> NoReturn:
        raise PayloadTooLarge(
            f"message of {size} bytes; the server takes at most {self._max_payload} (max_payload)"
        )

    def _plan(self) -> None:
        if self._due:
            self.flush()
        else:
            self._due = _CHUNK_BYTES
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._due = 0
        self.flush()

    def flush(self) -> None:
        """Hand everything to the socket; after the end, drop it."""
        parts, self._parts = self._parts, []
        self._size = 0
        if not parts or not self._open:
            return
        if not self._usable():
            self._broken("connection_lost")
            return
        self._socket.write(b"".join(parts))
        if self._socket.get_write_buffer_size() > self._bound and not self.full:
            self.full = True
            self._drainer = self._loop.create_task(self._drain(), name="nats-drain")

    async def _drain(self) -> None:
        try:
            while self._open and self._socket.get_write_buffer_size() > self._bound // 2:
                await self._stream.drain()
        except OSError:
            self._broken("connection_lost")
        finally:
            self.full = False
            self._wake()

    async def room(self) -> None:
        """Return when the bound leaves room, or the connection has ended."""
        while self._open and self.full:
            place: asyncio.Future[None] = self._loop.create_future()
            self._waiting.append(place)
            await place

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for place in waiting:
            if not place.done():
                place.set_result(None)

    def stop(self) -> None:
        """Drop what is left and wake who waits."""
        self._open = False
        self._parts.clear()
        if self._drainer is not None:
            self._drainer.cancel()
        self._wake()


__all__ = ["Writer"]
