"""One lasting connection to NATS, made of short-lived clients of nats-py.

nats-py's own reconnect is switched off: it keeps half-written buffers, forgotten pings and a dead read loop from one
connection to the next. Here each connection is a fresh client; what must survive (subscriptions, waiting callers) is
held by this class and handed to the next client.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
import ssl
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Final

import nats.errors
from nats.aio.client import Client

from bus.telemetry.counters import Counters
from bus.telemetry.log import logger
from bus.transport.nats.client import (
    FOREVER_S,
    STALLED,
    Generation,
    client_options,
    without_secret,
)
from bus.transport.nats.errors import from_client, violation
from bus.transport.nats.fast import FastWire
from bus.transport.nats.headers import encode
from bus.transport.nats.hooks import HookMissing
from bus.transport.nats.link import Link
from bus.transport.nats.options import Credentials, NatsOptions
from bus.transport.nats.parsing import Handler
from bus.transport.nats.stock import StockWire
from bus.transport.nats.wire import Registration, Wire, check_subject, taking
from bus.transport.protocol import Incoming, LinkState
from schemas.errors import Closed, ConfigurationError, MeshError, PermissionRefused, Unavailable

_log: Final = logger("transport")
_LOOK_S: Final = 0.25
"""How often the client's state is read: nats-py does not report every death of its read loop."""
_CLOSE_S: Final = 2.0
"""Bound of each of the four steps of a close: flush, end the keeper, leave the server, end what is left."""
_HEED_S: Final = 0.1
CLOSE_WITHIN_S: Final = 4 * _CLOSE_S


class Connection(Link):
    """Connects, stays connected, tells who wants to know. One per `Transport`."""

    def __init__(
        self,
        servers: Sequence[str],
        *,
        name: str,
        tls: ssl.SSLContext | None,
        credentials: Credentials,
        options: NatsOptions,
        counters: Counters,
        rng: random.Random,
        fast: bool = True,
    ) -> None:
        if not servers:
            raise ConfigurationError("nats.servers: at least one server is needed")
        super().__init__(name)
        self.options = options
        self.counters = counters
        self._servers = list(servers)
        self._tls = tls
        self._credentials = credentials
        self._rng = rng
        self._generation: Generation | None = None
        self.wire: Wire | None = None
        """What messages go by at this moment; None while there is no connection."""
        self.max_payload = 1024 * 1024
        """The largest message that the server takes, in bytes, as it last said."""
        self._fast = fast
        self._born = 0
        self._turn = 0
        self._registrations: dict[Registration, None] = {}
        self._keeper: asyncio.Task[None] | None = None
        self._background: set[asyncio.Task[object]] = set()

    @property
    def generation(self) -> int:
        """Number of the present client; grows with each reconnect."""
        return self._born

    # -- lifecycle -----------------------------------------------------------------------------

    async def start(self) -> None:
        """Connect for the first time. Raises `Unavailable`, `PermissionRefused`."""
        try:
            async with asyncio.timeout(self.options.start_timeout_s):
                generation = await self._connect_patiently(first=True)
        except TimeoutError:
            raise Unavailable(
                f"no NATS server answered at {', '.join(map(without_secret, self._servers))} within "
                f"{self.options.start_timeout_s:.0f} s"
            ) from None
        self._adopt(generation)
        self._keeper = asyncio.create_task(self._keep(generation), name=f"nats-keeper-{self.name}")

    async def close(self) -> None:
        """Send what is pending and disconnect; ends within `CLOSE_WITHIN_S`, whatever the server does."""
        if self.state is LinkState.CLOSED:
            return
        with contextlib.suppress(MeshError):
            await self.round_trip(_CLOSE_S)
        self.set_state(LinkState.CLOSED)
        self.wire = None
        if self._keeper is not None:
            await self._end((self._keeper,))
        self.tell_lost()
        if self._generation is not None:
            self._generation.end("closed")
            await asyncio.wait([self._spawn(self._generation.shut())], timeout=_CLOSE_S)
        await self._end(self._background)

    async def _end(self, tasks: Iterable[asyncio.Task[Any]]) -> None:
        """Cancel until it is heeded: `wait_for` inside nats-py swallows a cancellation that meets an answer."""
        left = set(tasks)
        end = asyncio.get_running_loop().time() + _CLOSE_S
        while left and asyncio.get_running_loop().time() < end:
            for task in left:
                task.cancel()
            _, left = await asyncio.wait(left, timeout=_HEED_S)
        if left:
            self.counters.add("transport_task_left", who=self.name, count=len(left))

    def _spawn(self, work: Coroutine[Any, Any, object]) -> asyncio.Task[object]:
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[object]) -> None:
        self._background.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.counters.add("transport_cleanup_failed", who=self.name)

    async def _keep(self, generation: Generation) -> None:
        while True:
            await self._watch(generation)
            self._lose(generation)
            generation = await self._connect_patiently(first=False)
            if (
                self.state is LinkState.CLOSED
            ):  # closed meanwhile, and the cancellation was swallowed
                self._spawn(generation.shut())
                return
            self._adopt(generation)

    def _adopt(self, generation: Generation) -> None:
        self._generation = generation
        self.max_payload = generation.client.max_payload
        if generation.alive:
            self.wire = generation.wire
            generation.ended = self._cut
        self.set_state(LinkState.CONNECTED)
        if generation.number > 1:
            self.counters.add("link_restored", who=self.name)
            _log.info("link_restored", instance=self.name)
        self.tell_restored()

    def _cut(self) -> None:
        self.wire = None

    def _lose(self, generation: Generation) -> None:
        self.set_state(LinkState.RECONNECTING)
        self.counters.add("link_lost", who=self.name, reason=generation.reason)
        _log.warning("link_lost", instance=self.name, reason=generation.reason)
        self.tell_lost()
        # A stalled socket can hold close() up for minutes; the next connection does not wait for it.
        self._spawn(generation.shut())

    async def _watch(self, generation: Generation) -> None:
        """Return when the client is dead."""
        loop = asyncio.get_running_loop()
        ping_at = loop.time() + self.options.ping_interval_s
        while generation.alive:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await generation.dead.wait()
            if loop.time() < ping_at:
                continue
            try:
                await self._ping(generation, self.options.ping_timeout_s)
            except Unavailable:
                generation.end(STALLED)
            ping_at = loop.time() + self.options.ping_interval_s

    # -- connecting ----------------------------------------------------------------------------

    async def _connect_patiently(self, *, first: bool) -> Generation:
        wait_s = self.options.reconnect_wait_s
        while True:
            for _ in range(len(self._servers)):
                try:
                    return await self._connect_once()
                except PermissionRefused:
                    if first:
                        raise
                    self.counters.add("link_refused", who=self.name, reason="permission_refused")
                except MeshError as error:
                    self.counters.add("link_refused", who=self.name, reason=error.code)
                _heed_cancellation()
            await asyncio.sleep(wait_s * self._rng.uniform(0.5, 1.0))
            wait_s = min(wait_s * 2, self.options.reconnect_wait_max_s)

    async def _connect_once(self) -> Generation:
        server = self._servers[self._turn % len(self._servers)]
        self._turn += 1
        generation = Generation(self._born + 1)
        try:
            async with asyncio.timeout(self.options.connect_timeout_s):
                await self._log_in(generation, server)
                await self._subscribe_again(generation)
        except (OSError, nats.errors.Error, TimeoutError, MeshError, ValueError) as error:
            self._spawn(generation.shut())
            raise from_client(generation.last_error or error, what="connect to NATS") from error
        except BaseException:
            self._spawn(generation.shut())
            raise
        self._born = generation.number
        self._learn_servers(generation.client)
        return generation

    async def _subscribe_again(self, generation: Generation) -> None:
        made = []
        for registration in tuple(self._registrations):
            await self._subscribe(generation, registration)
            made.append((registration, registration.live))
        await self._ping(generation, self.options.connect_timeout_s)
        for registration, live in made:
            if registration not in self._registrations and generation.wire is not None:
                # given up meanwhile: as a queue member it would swallow messages
                await generation.wire.unsubscribe(live, hand_over=False)

    async def _log_in(self, generation: Generation, server: str) -> None:
        async def failed(error: Exception) -> None:
            self._client_failed(generation, error)

        chosen = client_options(
            self.options, name=self.name, tls=self._tls, credentials=self._credentials
        )
        await generation.connect(server, chosen, failed)
        generation.wire = self._wire_of(generation)

    def _wire_of(self, generation: Generation) -> Wire:
        """The fast path where it can be had, else the stock one."""

        async def round_trip() -> None:
            await self._ping(generation, self.options.ping_timeout_s)

        if self._fast:
            try:
                return FastWire(
                    generation.client,
                    pending_bytes=self.options.pending_bytes,
                    failed=self._handler_failed,
                    broken=generation.end,
                    nonsense=functools.partial(self._not_understood, generation),
                    round_trip=round_trip,
                )
            except HookMissing as missing:
                self._fast = False
                self.fast_unavailable([str(missing)])
        return StockWire(
            generation.client,
            pending_bytes=self.options.pending_bytes,
            broken=generation.end,
            dead=generation.dead,
            spawn=self._spawn,
        )

    def fast_unavailable(self, missing: Sequence[str]) -> None:
        """Count and say that messages go by nats-py's own ways, and what the fast path did not find."""
        for hook in missing:
            self.counters.add("fast_path_unavailable", who=self.name, reason=hook)
        _log.warning("fast_path_unavailable", instance=self.name, reason="; ".join(missing))

    def _not_understood(self, generation: Generation, reason: str) -> None:
        """The server said what is no NATS protocol: the connection cannot be read any further."""
        self.counters.add("protocol_error", who=self.name, reason=reason)
        generation.end("protocol_error")

    def _handler_failed(self, error: Exception) -> None:
        self.counters.add("client_error", who=self.name, reason=type(error).__name__)

    def _client_failed(self, generation: Generation, error: Exception) -> None:
        generation.last_error = error
        refused = violation(str(error))
        if refused is not None:
            self.counters.add("permission_refused", who=self.name, reason=refused.kind)
            self.tell_violated(refused)
        elif isinstance(error, nats.errors.SlowConsumerError):
            self.counters.add("message_dropped", who=self.name, reason="slow_subscriber")
        elif isinstance(error, OSError | nats.errors.StaleConnectionError):
            generation.end("connection_lost")
        else:
            self.counters.add("client_error", who=self.name, reason=type(error).__name__)

    def _learn_servers(self, client: Client) -> None:
        for found in client.discovered_servers:
            url = found.geturl()
            if url not in self._servers:
                self._servers.append(url)

    # -- messages ------------------------------------------------------------------------------

    def _live(self) -> Generation:
        generation = self._generation
        if self.state is LinkState.CLOSED:
            raise Closed(f"{self.name}: the connection is closed")
        if self.state is not LinkState.CONNECTED or generation is None or not generation.alive:
            raise Unavailable(f"{self.name}: the connection to NATS is lost")
        return generation

    def live_wire(self) -> Wire:
        """What messages go by. Raises `Unavailable` while disconnected, `Closed`."""
        wire = self.wire
        if wire is None or self.state is not LinkState.CONNECTED:
            self._live()
            raise Unavailable(f"{self.name}: the connection to NATS is lost")
        return wire

    async def publish(
        self,
        subject: str,
        payload: bytes,
        reply: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Hand one message to the socket's queue. Never waits, except at the bound `pending_bytes`.

        Raises `Unavailable` while disconnected, `PayloadTooLarge`, `SubjectError`, `Closed`.
        """
        wire = self.live_wire()
        block = encode(headers) if headers else None
        if reply:
            check_subject(reply)
        if wire.full:
            await wire.room()
            wire = self.live_wire()
        wire.send(subject, payload, reply.encode(), block)

    async def round_trip(self, timeout_s: float) -> None:
        """Return when the server has taken in everything sent before: its refusals have arrived by then.

        Raises `Unavailable`.
        """
        await self._ping(self._live(), timeout_s)

    async def _ping(self, generation: Generation, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                if generation.wire is not None:
                    await generation.wire.settle()
                # Never cancelled while the client lives: nats-py's reader dies on the answer to a cancelled ping.
                pong = self._spawn(generation.client.rtt(timeout=FOREVER_S))
                ended = asyncio.ensure_future(generation.dead.wait())
                try:
                    await asyncio.wait((pong, ended), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    ended.cancel()
                if not pong.done():
                    pong.cancel()
        except TimeoutError:
            raise Unavailable(f"{self.name}: no answer to a ping within {timeout_s} s") from None
        if not generation.alive:
            raise Unavailable(f"{self.name}: the connection to NATS is lost")

    async def subscribe(
        self, subject: str, handler: Callable[[Incoming], None], *, queue: str = ""
    ) -> Registration:
        """Subscribe, now and after each reconnect. Raises `Unavailable`, `SubjectError`, `Closed`."""
        return await self.listen(subject, taking(handler), queue=queue)

    async def listen(self, subject: str, take: Handler, *, queue: str = "") -> Registration:
        """As `subscribe`, for a handler that takes what came as it came."""
        generation = self._live()
        registration = Registration(subject, queue, take)
        await self._subscribe(generation, registration)
        self._registrations[registration] = None
        return registration

    async def _subscribe(self, generation: Generation, registration: Registration) -> None:
        if generation.wire is None:
            raise Unavailable(f"{self.name}: the connection to NATS is lost")
        await generation.wire.subscribe(registration)

    async def unsubscribe(self, registration: Registration, *, hand_over: bool = False) -> None:
        """Stop; with `hand_over` messages that had arrived are handled first."""
        self._registrations.pop(registration, None)
        live, registration.live = registration.live, None
        generation = self._generation
        if live is None or generation is None or not generation.alive or generation.wire is None:
            return
        await generation.wire.unsubscribe(live, hand_over=hand_over)


def _heed_cancellation() -> None:
    """Raise the cancellation that Python 3.11's `wait_for`, inside nats-py, loses when an error comes with it."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


__all__ = ["CLOSE_WITHIN_S", "Connection", "Registration"]
