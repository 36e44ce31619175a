"""The fast path: our parser and writer on a client of nats-py, which logs in, reads the socket and answers pings."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from typing import Final

from nats.aio.client import Client

from bus.transport.nats import hooks
from bus.transport.nats.parsing import ControlParser, Parser
from bus.transport.nats.wire import Registration, check_pattern, check_subject
from bus.transport.nats.writing import Writer
from bus.transport.protocol import PayloadTooLarge
from schemas.errors import Unavailable

_KNOWN_SUBJECTS: Final = 8192
_INBOXES: Final = "_INBOX."


class FastWire:
    """`Wire` on the hooks of nats-py. Raises `HookMissing` when the client's inside is not as expected."""

    def __init__(
        self,
        client: Client,
        *,
        pending_bytes: int,
        failed: Callable[[Exception], None],
        broken: Callable[[str], None],
        round_trip: Callable[[], Awaitable[None]],
    ) -> None:
        self._client = client
        self._round_trip = round_trip
        self._max_payload = client.max_payload
        self._subjects: dict[str, bytes] = {}
        """Subjects that were checked, as they begin a PUB line."""
        self._ids = itertools.count(1)
        stream = hooks.socket_of(client)
        self._abort = stream.transport.abort
        self._writer = Writer(
            stream,
            bound=pending_bytes,
            usable=lambda: client.is_connected,
            broken=broken,
        )
        self._put = self._writer.put
        self._ended = False

        def make(control: ControlParser) -> Parser:
            return Parser(control, failed=failed, broken=broken)

        self._handlers = hooks.take_parser(client, make).handlers

    @property
    def full(self) -> bool:
        """Whether more is under way than `pending_bytes` allows."""
        return self._writer.full

    def send(self, subject: str, payload: bytes, reply: bytes, headers: bytes | None) -> None:
        """Hand over one message; never waits. Raises `SubjectError`, `PayloadTooLarge`."""
        name = self._subjects.get(subject) or self._check(subject)
        if type(payload) is not bytes:
            payload = bytes(payload)  # it leaves later: what may change until then is copied
        size = len(payload)
        if headers is None:
            if size > self._max_payload:
                self._refuse(size)
            sizes = b"%b %d\r\n" % (reply, size) if reply else b"%d\r\n" % size
            self._put((b"PUB ", name, sizes, payload, b"\r\n"), size + len(name) + len(sizes) + 6)
            return
        head = len(headers)
        size += head
        if size > self._max_payload:
            self._refuse(size)
        sizes = b"%b %d %d\r\n" % (reply, head, size) if reply else b"%d %d\r\n" % (head, size)
        self._put(
            (b"HPUB ", name, sizes, headers, payload, b"\r\n"), size + len(name) + len(sizes) + 7
        )

    def answer(self, subject: bytes, payload: bytes) -> None:
        """Send to a subject that the server itself has written; never waits."""
        line = b"PUB %b %d\r\n%b\r\n" % (subject, len(payload), payload)
        self._put((line,), len(line))

    def _check(self, subject: str) -> bytes:
        check_subject(subject)
        name = subject.encode() + b" "
        if len(self._subjects) >= _KNOWN_SUBJECTS:
            self._subjects.clear()
        if not subject.startswith(_INBOXES):  # used once
            self._subjects[subject] = name
        return name

    def _refuse(self, size: int) -> None:
        raise PayloadTooLarge(
            f"message of {size} bytes; the server takes at most {self._max_payload} (max_payload)"
        )

    async def room(self) -> None:
        """Return when the bound leaves room, or the client has ended."""
        await self._writer.room()

    async def settle(self) -> None:
        """Hand everything to the socket, which keeps the order."""
        self._writer.flush()
        if self._ended:
            raise Unavailable("the connection to NATS is lost")

    async def subscribe(self, registration: Registration) -> None:
        """Begin. Raises `SubjectError`."""
        check_pattern(registration.subject, registration.queue)
        sid = b"%d" % next(self._ids)
        self._handlers[sid] = registration.take
        registration.live = sid
        line = f"SUB {registration.subject} {registration.queue} ".encode() + sid + b"\r\n"
        self._put((line,), len(line))

    async def unsubscribe(self, live: object, *, hand_over: bool) -> None:
        """Stop; with `hand_over` what the server sent before it knew is handled first."""
        if not isinstance(live, bytes):
            return
        line = b"UNSUB %b\r\n" % live
        self._put((line,), len(line))
        try:
            if hand_over:
                await self._round_trip()
        except Unavailable:
            pass  # with the connection everything that it brought is over
        finally:
            self._handlers.pop(live, None)

    def end(self, *, stalled: bool) -> None:
        """Deliver nothing more and wake who waits; what a stalled socket holds is let go."""
        self._ended = True
        self._handlers.clear()
        self._writer.end()
        if stalled:
            self._abort()


__all__ = ["FastWire"]
