"""The fast path: our parser and writer on a client of nats-py, which logs in, reads the socket and answers pings."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable

from nats.aio.client import Client

from bus.transport.nats import hooks
from bus.transport.nats.parsing import ControlParser, Parser
from bus.transport.nats.wire import Registration, check_pattern
from bus.transport.nats.writing import Writer
from schemas.errors import Unavailable


class FastWire(Writer):
    """`Wire` on the hooks of nats-py. Raises `HookMissing` when the client's inside is not as expected."""

    def __init__(
        self,
        client: Client,
        *,
        pending_bytes: int,
        failed: Callable[[Exception], None],
        broken: Callable[[str], None],
        nonsense: Callable[[str], None],
        round_trip: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__(
            hooks.socket_of(client),
            bound=pending_bytes,
            max_payload=client.max_payload,
            usable=lambda: client.is_connected,
            broken=broken,
        )
        self._round_trip = round_trip
        self._ids = itertools.count(1)

        def make(control: ControlParser) -> Parser:
            return Parser(control, failed=failed, broken=nonsense)

        self._handlers = hooks.take_parser(client, make).handlers

    async def settle(self) -> None:
        """Hand everything to the socket, which keeps the order. Raises `Unavailable`."""
        self.flush()
        if not self._open:
            raise Unavailable("the connection to NATS is lost")

    async def subscribe(self, registration: Registration) -> None:
        """Begin. Raises `SubjectError`."""
        check_pattern(registration.subject, registration.queue)
        sid = b"%d" % next(self._ids)
        self._handlers[sid] = registration.take
        registration.live = sid
        self.put(f"SUB {registration.subject} {registration.queue} ".encode() + sid + b"\r\n")

    async def unsubscribe(self, live: object, *, hand_over: bool) -> None:
        """Stop; with `hand_over` what the server sent before it knew is handled first."""
        if not isinstance(live, bytes):
            return
        self.put(b"UNSUB %b\r\n" % live)
        try:
            if hand_over:
                await self._round_trip()
        except Unavailable:
            pass  # with the connection everything that it brought is over
        finally:
            self._handlers.pop(live, None)

    def end(self) -> None:
        """Deliver nothing more and wake who waits."""
        self._handlers.clear()
        self.stop()


__all__ = ["FastWire"]
