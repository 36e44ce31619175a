"""One lasting connection to NATS, made of short-lived clients of nats-py.

nats-py's own reconnect is switched off: it keeps half-written buffers, forgotten pings and a dead read loop from one
connection to the next. Here each connection is a fresh client; what must survive (subscriptions, waiting callers) is
held by this class and handed to the next client.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as ClientSubscription

from bus.telemetry.counters import Counters
from bus.telemetry.log import logger
from bus.transport.nats.client import (
    FOREVER_S,
    Generation,
    client_options,
    incoming,
    without_secret,
)
from bus.transport.nats.errors import from_client, violation
from bus.transport.nats.link import Link
from bus.transport.nats.options import Credentials, NatsOptions
from bus.transport.protocol import Incoming, LinkState, PayloadTooLarge
from schemas.errors import Closed, ConfigurationError, MeshError, PermissionRefused, Unavailable

_log: Final = logger("transport")
_LOOK_S: Final = 0.25
"""How often the client's state is read: nats-py does not report every death of its read loop."""
_CLOSE_S: Final = 2.0
"""Bound of each of the four steps of a close: flush, end the keeper, leave the server, end what is left."""
_HEED_S: Final = 0.1
CLOSE_WITHIN_S: Final = 4 * _CLOSE_S


@dataclass(eq=False, slots=True)
class Registration:
    """A subscription that outlives clients."""

    subject: str
    queue: str
    handler: Callable[[Incoming], None]
    live: ClientSubscription | None = None


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
        self._born = 0
        self._turn = 0
        self._registrations: dict[Registration, None] = {}
        self._keeper: asyncio.Task[None] | None = None
        self._background: set[asyncio.Task[object]] = set()

    @property
    def generation(self) -> int:
        """Number of the present client; grows with each reconnect."""
        return self._born

    @property
    def max_payload(self) -> int:
        """The largest payload that the server takes, in bytes."""
        generation = self._generation
        return generation.client.max_payload if generation is not None else 1024 * 1024

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
        if self._keeper is not None:
            await self._end((self._keeper,))
        self.tell_lost()
        if self._generation is not None:
            self._generation.end("closed")
            await asyncio.wait([self._spawn(self._generation.client.close())], timeout=_CLOSE_S)
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
                self._spawn(generation.client.close())
                return
            self._adopt(generation)

    def _adopt(self, generation: Generation) -> None:
        self._generation = generation
        self.set_state(LinkState.CONNECTED)
        if generation.number > 1:
            self.counters.add("link_restored", who=self.name)
            _log.info("link_restored", instance=self.name)
        self.tell_restored()

    def _lose(self, generation: Generation) -> None:
        self.set_state(LinkState.RECONNECTING)
        self.counters.add("link_lost", who=self.name, reason=generation.reason)
        _log.warning("link_lost", instance=self.name, reason=generation.reason)
        self.tell_lost()
        # A stalled socket can hold close() up for minutes; the next connection does not wait for it.
        self._spawn(generation.client.close())

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
                generation.end("stalled")
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
            self._spawn(generation.client.close())
            raise from_client(generation.last_error or error, what="connect to NATS") from error
        except BaseException:
            self._spawn(generation.client.close())
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
            if registration not in self._registrations and live is not None:
                await (
                    live.unsubscribe()
                )  # given up meanwhile: as a queue member it would swallow messages

    async def _log_in(self, generation: Generation, server: str) -> None:
        async def failed(error: Exception) -> None:
            self._client_failed(generation, error)

        chosen = client_options(
            self.options, name=self.name, tls=self._tls, credentials=self._credentials
        )
        await generation.connect(server, chosen, failed)

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
        generation = self._live()
        if generation.client.pending_data_size > self.options.pending_bytes:
            await self._drain(generation)
        size = len(payload)
        if size > generation.client.max_payload:
            raise PayloadTooLarge(
                f"message of {size} bytes; the server takes at most {generation.client.max_payload} (max_payload)"
            )
        try:
            await generation.client.publish(
                subject, payload, reply, dict(headers) if headers else None
            )
        except nats.errors.Error as error:
            if generation.alive:
                raise from_client(error, what="publish") from None
            raise Unavailable(f"{self.name}: the connection to NATS is lost") from None

    async def _drain(self, generation: Generation) -> None:
        """Wait until half of the bound is free. nats-py tells nobody when it has written, so this looks."""
        while generation.client.pending_data_size > self.options.pending_bytes // 2:
            await asyncio.sleep(0.001)
            if not generation.alive:
                raise Unavailable(f"{self.name}: the connection to NATS is lost")

    async def round_trip(self, timeout_s: float) -> None:
        """Return when the server has taken in everything sent before: its refusals have arrived by then.

        Raises `Unavailable`.
        """
        await self._ping(self._live(), timeout_s)

    async def _ping(self, generation: Generation, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                # nats-py writes a ping ahead of what is queued: let the queue go first
                while generation.client.pending_data_size:
                    await asyncio.sleep(0 if generation.client.pending_data_size < 65536 else 0.001)
                    if not generation.alive:
                        raise Unavailable(f"{self.name}: the connection to NATS is lost")
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
        generation = self._live()
        registration = Registration(subject, queue, handler)
        await self._subscribe(generation, registration)
        self._registrations[registration] = None
        return registration

    async def _subscribe(self, generation: Generation, registration: Registration) -> None:
        async def arrived(message: Msg) -> None:
            if not generation.dead.is_set():
                registration.handler(incoming(message))

        try:
            registration.live = await generation.client.subscribe(
                registration.subject, registration.queue, cb=arrived
            )
        except nats.errors.Error as error:
            raise from_client(error, what=f"subscribe to {registration.subject}") from None

    async def unsubscribe(self, registration: Registration, *, hand_over: bool = False) -> None:
        """Stop; with `hand_over` messages that had arrived are handled first."""
        self._registrations.pop(registration, None)
        live, registration.live = registration.live, None
        generation = self._generation
        if live is None or generation is None or not generation.alive:
            return
        if hand_over:
            while live.pending_msgs and generation.alive:  # noqa: ASYNC110 -- nats-py tells nobody when it has handed over
                await asyncio.sleep(0)
        with contextlib.suppress(nats.errors.Error):
            await live.unsubscribe()


def _heed_cancellation() -> None:
    """Raise the cancellation that Python 3.11's `wait_for`, inside nats-py, loses when an error comes with it."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


__all__ = ["CLOSE_WITHIN_S", "Connection", "Registration"]
