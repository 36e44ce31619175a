"""A durable pull consumer with credits: in order, or the reader is told.

Each epoch (from one rewind to the next) has an inbox of its own. A rewind gives up the old inbox first, so that neither
messages on their way nor standing requests of the old epoch can reach the new one, then resets the consumer on the
server, then asks on the new inbox, where consumer sequences must come as 1, 2, 3 … without a gap.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import secrets
from collections.abc import Mapping
from typing import Final

from bus.transport.nats.api import NS, JetStream
from bus.transport.nats.connection import Registration
from bus.transport.nats.consumer_api import ensure_consumer, read_delivery
from bus.transport.nats.headers import decode
from bus.transport.nats.streams import consumer_state
from bus.transport.protocol import (
    ConsumerEvents,
    ConsumerSpec,
    ConsumerState,
    Delivery,
    LinkState,
    NotFound,
)
from schemas.errors import Closed, DeadlineExceeded, Unavailable

_RESET_S: Final = 2.0
_AGAIN_S: Final = 0.1
_MOST_PULLED: Final = 10_000


async def open_consumer(
    jetstream: JetStream, spec: ConsumerSpec, events: ConsumerEvents
) -> NatsConsumer:
    """Create or take up the durable consumer of `spec`."""
    found = await ensure_consumer(jetstream, spec)
    consumer = NatsConsumer(jetstream, spec, events)
    state = consumer_state(found)
    try:
        if spec.passing_s:
            await consumer.begin(next_delivery=1)
        elif state.unacknowledged or state.delivered > state.ack_floor:
            # an earlier reader died with messages in hand
            await consumer.rewind(state.ack_floor + 1)
        else:
            await consumer.begin(next_delivery=found["delivered"]["consumer_seq"] + 1)
    except BaseException:
        await consumer.close()
        raise
    return consumer


class NatsConsumer:
    """`DurableConsumer` on JetStream."""

    def __init__(self, jetstream: JetStream, spec: ConsumerSpec, events: ConsumerEvents) -> None:
        self._jetstream = jetstream
        self._connection = jetstream.connection
        self._options = jetstream.connection.options
        self._spec = spec
        self._events = events
        self._loop = asyncio.get_running_loop()
        self._inbox = f"{self._options.inbox_prefix}.{secrets.token_hex(8)}"
        self._epoch = 0
        self._mark = ""
        """How the opaque tokens of this epoch's deliveries begin."""
        self._registration: Registration | None = None
        self._holding = True
        self._closed = asyncio.Event()
        self._rewinding = asyncio.Lock()
        self._credit = 0
        self._asked = 0
        self._pulls = 0
        self._next = 1
        self._began_at = self._heard_at = self._loop.time() - _AGAIN_S
        self._heard = False
        self._ask_on = f"$JS.API.CONSUMER.MSG.NEXT.{spec.stream}.{spec.name}"
        self._question = json.dumps(
            {
                "expires": int(self._options.pull_expires_s * NS),
                "idle_heartbeat": int(self._options.pull_heartbeat_s * NS),
            }
        ).encode()[1:]
        self._pulse: asyncio.TimerHandle | None = None
        self._connection.on_lost(self._lost)
        self._connection.on_restored(self._restored)

    # -- the reader's side ---------------------------------------------------------------------

    def credit(self, messages: int) -> None:
        """Allow so many more deliveries."""
        self._credit += messages
        self._pull()

    def acknowledge(self, delivery: Delivery) -> None:
        """Mark as done; all acknowledgements of one turn of the loop leave together. Credits bound them."""
        self._answer(delivery, b"+ACK")

    def extend(self, delivery: Delivery) -> None:
        """Start the server's redelivery timer again."""
        self._answer(delivery, b"+WPI")

    def _answer(self, delivery: Delivery, word: bytes) -> None:
        if self._holding or not delivery.reply.startswith(self._mark):
            # delivered before a rewind: it comes again, and the reader acknowledges that one
            self._count("acknowledgement_dropped", "rewound")
            return
        wire = self._connection.wire
        if wire is not None:
            wire.answer(delivery.reply[len(self._mark) :].encode(), word)
        else:  # with the connection goes the epoch: it comes again after the rewind
            self._count("acknowledgement_dropped", "connection_lost")

    async def state(self) -> ConsumerState:
        """Ask the server where the consumer stands."""
        verb = f"CONSUMER.INFO.{self._spec.stream}.{self._spec.name}"
        return consumer_state(await self._jetstream.ask(verb))

    async def close(self) -> None:
        """Stop deliveries and flush acknowledgements."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._connection.forget(self._lost)
        self._connection.forget(self._restored)
        if self._pulse is not None:
            self._pulse.cancel()
        self._holding = True
        await self._leave_epoch()
        if self._connection.state is not LinkState.CONNECTED:
            return
        try:
            await (
                self._forget() if self._spec.passing_s else self._connection.round_trip(_RESET_S)
            )
        except (Unavailable, DeadlineExceeded, NotFound):
            self._count("acknowledgement_dropped", "connection_lost")

    async def _forget(self) -> None:
        verb = f"CONSUMER.DELETE.{self._spec.stream}.{self._spec.name}"
        await self._jetstream.ask(verb, timeout_s=_RESET_S)

    async def rewind(self, seq: int) -> None:
        """Deliver again from stream sequence `seq` on; waits for the server as long as that takes.

        Raises `Closed`, `NotFound` when the stream is gone, `PermissionRefused`.
        """
        async with self._rewinding:
            self._holding = True
            await self._leave_epoch()
            # what made the last rewind fail at once may do so again: no busy loop
            await self._pause(self._began_at + _AGAIN_S - self._loop.time())
            while True:
                self._check_open()
                try:
                    await self._connection.ready(_RESET_S)
                    await self._reset(seq)
                    await self.begin(next_delivery=1)
                except (Unavailable, DeadlineExceeded):
                    await self._pause(_AGAIN_S)
                    continue
                return

    async def _reset(self, seq: int) -> None:
        if self._spec.passing_s:  # one that acknowledges nothing cannot be reset: it is made anew
            with contextlib.suppress(NotFound):
                await self._forget()
            await ensure_consumer(self._jetstream, self._spec, start=seq)
            return
        # the server does not answer a reset of a consumer that is gone: look first, and make it again
        await ensure_consumer(self._jetstream, self._spec, start=seq)
        verb = f"CONSUMER.RESET.{self._spec.stream}.{self._spec.name}"
        await self._jetstream.ask(verb, {"seq": seq}, timeout_s=_RESET_S)

    async def _pause(self, seconds: float) -> None:
        if seconds <= 0:
            return
        try:
            async with asyncio.timeout(seconds):
                await self._closed.wait()
        except TimeoutError:
            return

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise Closed(f"consumer {self._spec.name} is closed")

    # -- epochs --------------------------------------------------------------------------------

    async def begin(self, *, next_delivery: int) -> None:
        """Open a new inbox, on which consumer sequence `next_delivery` must come first."""
        await self._leave_epoch()
        self._check_open()
        epoch = self._epoch
        self._registration = await self._connection.listen(
            f"{self._inbox}.{epoch}.*", functools.partial(self._arrived, epoch)
        )
        if epoch != self._epoch:
            raise Unavailable("the connection was lost while the consumer was opened")
        self._next = next_delivery
        self._asked = 0
        self._began_at = self._heard_at = self._loop.time()
        self._holding = False
        self._pull()
        self._watch()

    async def _leave_epoch(self) -> None:
        self._next_epoch()
        registration, self._registration = self._registration, None
        if registration is not None:
            await self._connection.unsubscribe(registration)

    def _interrupt(self, reason: str) -> None:
        if self._holding or self._closed.is_set():
            return
        self._holding = True
        self._count("deliveries_interrupted", reason)
        self._events.interrupted(reason)

    def _lost(self) -> None:
        self._next_epoch()

    def _next_epoch(self) -> None:
        """Nothing more of the last epoch is believed, and nothing of it is acknowledged."""
        self._epoch += 1
        self._mark = f"{self._epoch} "

    def _restored(self) -> None:
        self._interrupt("reconnected")

    # -- deliveries ----------------------------------------------------------------------------

    def _arrived(
        self, epoch: int, subject: bytes, reply: bytes, headers: bytes | None, payload: bytes
    ) -> None:
        if epoch != self._epoch or self._holding:
            return
        self._heard = True
        if not reply.startswith(b"$JS.ACK."):
            self._status(decode(headers or b""))
            return
        try:
            place, delivery = read_delivery(self._mark, subject, reply, headers, payload)
        except ValueError:
            self._interrupt("malformed_delivery")
            return
        if place != self._next:
            self._interrupt("gap")
            return
        self._next = place + 1
        self._asked -= 1
        self._credit -= 1
        self._events.delivered(delivery)
        if self._asked * 2 <= self._credit:
            self._pull()

    def _status(self, headers: Mapping[str, str]) -> None:
        status, text = headers.get("Status", ""), headers.get("Description", "")
        if status == "100":
            if int(headers.get("Nats-Last-Consumer", "0")) >= self._next:
                self._interrupt("gap")
            return
        if status == "503" or "Consumer Deleted" in text:
            self._interrupt("consumer_missing")
            return
        unserved = headers.get("Nats-Pending-Messages", "")
        if not unserved.isdigit():
            self._interrupt("pull_refused")
            return
        # 408 expired, 409 leadership change or shutdown: the rest of that request is asked for again
        self._asked = max(0, self._asked - int(unserved))
        self._pull()

    # -- pulling -------------------------------------------------------------------------------

    def _pull(self) -> None:
        """Ask for what is allowed and not asked for yet, once half of the allowance is used up."""
        if self._holding or self._closed.is_set() or self._asked * 2 > self._credit:
            return
        wanted = min(self._credit - self._asked, _MOST_PULLED)
        if wanted <= 0:
            return
        if self._asked == 0:
            self._heard_at = self._loop.time()
        self._asked += wanted
        self._pulls += 1
        wire = self._connection.wire
        if wire is None:
            return  # with the connection goes the epoch: what was not asked for is asked for after the rewind
        inbox = f"{self._inbox}.{self._epoch}.{self._pulls:x}"
        wire.send(
            self._ask_on, b'{"batch": %d, %b' % (wanted, self._question), inbox.encode(), None
        )

    def _watch(self) -> None:
        """Doubt deliveries when a standing request shows no heartbeat."""
        if self._closed.is_set():
            return
        if self._heard:
            self._heard, self._heard_at = False, self._loop.time()
        silent_s = self._loop.time() - self._heard_at
        standing = self._asked > 0 and self._connection.state is LinkState.CONNECTED
        if standing and silent_s > 2.5 * self._options.pull_heartbeat_s:
            self._interrupt("heartbeat_missed")
        if self._pulse is not None:
            self._pulse.cancel()
        self._pulse = self._loop.call_later(self._options.pull_heartbeat_s / 2, self._watch)

    def _count(self, name: str, reason: str) -> None:
        self._connection.counters.add(name, who=self._spec.name, reason=reason)


__all__ = ["NatsConsumer", "open_consumer"]
