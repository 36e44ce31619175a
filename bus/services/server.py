"""One running instance of a service: its subjects, its answers to discovery, and how it leaves without losing calls."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final

from bus.envelope.seals import Seals
from bus.events.content import MESSAGE_ID_BYTES
from bus.services import adr32
from bus.services.answering import Answers, is_inbox
from bus.services.channel import CALL_TTL_S, Carries
from bus.services.endpoints import Endpoints
from bus.services.limits import ServerLimits
from bus.services.opening import CallOpener
from bus.services.protocol import Admission, Health, Instance, Load, Offer
from bus.services.sealing import TurnSealer
from bus.telemetry.counters import Counters
from bus.telemetry.log import logger
from bus.transport.protocol import Incoming, Subscription
from schemas import subjects
from schemas.clock import Clock
from schemas.errors import Closed, ConfigurationError
from schemas.subjects import SiteId

_PROTOCOLS: Final = ("medmesh/1",)
_MAX_CONTROL: Final = 64
"""Discovery's questions that are answered at a time; more are dropped, and asked again by who asked."""
_ANSWER_S: Final = 1.0
_log = logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """How a server's drain ended."""

    answered: int
    """Calls answered since the drain began."""
    left: int
    """Calls still in hand when the time was over: `stop` cuts them short."""


class Server:
    """Runs one `Offer` as one instance: `start`, `health`, `drain`, `stop`.

    It takes calls on the queue group's subjects (`svc.<site>.<service>.v<major>.rpc.*`), where stock NATS clients find
    it, and on its own (`….i.<instance>.*`). `changed` is told each change of health; `is_full` says cheaply that
    `admission` would let nothing in, whatever its priority (default: as many in flight as its limit), so that a
    request can be shed before it costs an opening.
    """

    def __init__(
        self,
        offer: Offer,
        *,
        instance: str,
        site: SiteId,
        transport: Carries,
        seals: Seals,
        admission: Admission,
        clock: Clock,
        counters: Counters,
        connection: str = "",
        limits: ServerLimits | None = None,
        fresh_id: Callable[[], bytes] = lambda: os.urandom(MESSAGE_ID_BYTES),
        is_full: Callable[[], bool] | None = None,
        changed: Callable[[Health], None] = lambda _: None,
    ) -> None:
        _check(offer)
        self._offer = offer
        self._transport = transport
        self._seals = seals
        self._admission = admission
        self._clock = clock
        self._counters = counters
        self._limits = limits or ServerLimits()
        self._fresh_id = fresh_id
        self._is_full = is_full or (lambda: admission.in_flight >= admission.limit)
        self._changed = changed
        self._instance = _instance(offer, instance, site, connection)
        base = subjects.calls_of(site, offer.name, self._instance.major).removesuffix(">")
        self._queue_prefix = f"{base}rpc."
        self._own_prefix = f"{base}i.{instance}."
        self._health = Health.GONE
        self._endpoints: Endpoints | None = None
        self._sealer: TurnSealer | None = None
        self._opener: CallOpener | None = None
        self._queue: Subscription | None = None
        self._own: list[Subscription] = []
        self._control: set[asyncio.Task[None]] = set()

    @property
    def offer(self) -> Offer:
        """What runs."""
        return self._offer

    @property
    def instance(self) -> Instance:
        """The instance as discovery knows it; `started_ms` is 0 before `start`."""
        return self._instance

    @property
    def health(self) -> Health:
        """HEALTHY, DRAINING, or GONE while it does not run."""
        return self._health

    @property
    def in_hand(self) -> int:
        """Calls taken and not answered yet."""
        return self._endpoints.in_hand if self._endpoints is not None else 0

    def load(self) -> Load:
        """How busy it is, for responses and heartbeats. Raises `Closed` while it does not run."""
        return self._running.load()

    @property
    def _running(self) -> Endpoints:
        if self._endpoints is None:
            raise Closed(f"{self._offer.name} does not run")
        return self._endpoints

    async def start(self) -> None:
        """Take calls. Raises `PermissionRefused`, `Unavailable`; then nothing is left behind."""
        if self._endpoints is not None:
            raise Closed(f"{self._offer.name} runs already, or has run: make a new server")
        self._instance = _started(self._instance, self._clock.now_ms())
        sealer = self._sealer = TurnSealer(self._seals.short_lived(CALL_TTL_S), self._counters)
        opener = self._opener = CallOpener(
            self._seals, self._clock, self._counters, replay_window=True
        )
        self._endpoints = Endpoints(
            self._offer,
            method_of=self._method_of,
            opener=opener,
            answers=lambda load: self._answers(sealer, load),
            admission=self._admission,
            clock=self._clock,
            counters=self._counters,
            fresh_id=self._fresh_id,
            limits=self._limits,
            is_full=self._is_full,
        )
        try:
            await self._subscribe(self._endpoints)
        except BaseException:
            await self.stop()
            raise
        self._turn(Health.HEALTHY)

    def _answers(self, sealer: TurnSealer, load: Callable[[], Load]) -> Answers:
        return Answers(
            instance=self._instance.id,
            service=self._offer.name,
            messenger=lambda: self._transport.messenger,
            sealer=sealer,
            load=load,
            counters=self._counters,
        )

    async def _subscribe(self, endpoints: Endpoints) -> None:
        """The queue group comes last: who can be asked by anyone must be ready."""
        messenger = self._transport.messenger
        self._own.append(await messenger.subscribe(f"{self._own_prefix}*", endpoints.take))
        for subject in adr32.control_subjects(self._offer.name, self._instance.id):
            self._own.append(await messenger.subscribe(subject, self._asked))
        self._queue = await messenger.subscribe(
            f"{self._queue_prefix}*",
            endpoints.take,
            queue=subjects.queue_group(self._offer.name),
        )

    def _method_of(self, subject: str) -> tuple[str, bool]:
        """The method that a subject of ours names, and whether it is the queue group's; empty for another's subject."""
        for prefix, is_queue in ((self._own_prefix, False), (self._queue_prefix, True)):
            name = subject.removeprefix(prefix)
            if name != subject and "." not in name:
                return name, is_queue
        return "", False

    # -- discovery -------------------------------------------------------------------------------

    def _asked(self, message: Incoming) -> None:
        if not is_inbox(message.reply) or len(self._control) >= _MAX_CONTROL:
            self._counters.add("question_dropped", who=self._offer.name, reason="bound")
            return
        task = asyncio.get_running_loop().create_task(self._tell(message))
        self._control.add(task)
        task.add_done_callback(self._control.discard)

    async def _tell(self, message: Incoming) -> None:
        if self._endpoints is None or self._sealer is None:
            return
        match adr32.verb_of(message.subject):
            case adr32.PING:
                body = adr32.ping(self._instance)
            case adr32.INFO:
                body = adr32.info(self._instance, self._offer)
            case adr32.STATS:
                body = self.stats()
            case _:
                return
        await self._answers(self._sealer, self.load).plain(message.reply, body)

    def stats(self) -> bytes:
        """ADR-32's `stats_response` as it is now. Raises `Closed` while it does not run."""
        running = self._running
        return adr32.stats(self._instance, self._offer, running.stats, running.load())

    # -- leaving ---------------------------------------------------------------------------------

    async def drain(self, *, timeout_s: float) -> Drained:
        """Leave the queue group, finish what is in hand, then leave the own subjects, too.

        Callers that chose this instance are served while others' calls are in hand, for at most half of `timeout_s`;
        afterwards the carrier tells them that nobody listens, so that they ask elsewhere. No call is dropped.
        """
        endpoints = self._running
        self._turn(Health.DRAINING)
        before = endpoints.load().answered
        end_s = asyncio.get_running_loop().time() + timeout_s
        queue, self._queue = self._queue, None
        if queue is not None:
            await queue.close()
        await _within(endpoints.idle, end_s - timeout_s / 2)
        await self._leave()
        await _within(endpoints.idle, end_s)
        report = Drained(answered=endpoints.load().answered - before, left=endpoints.in_hand)
        _log.info("service_drained", service=self._offer.name, count=report.answered)
        return report

    async def _leave(self) -> None:
        own, self._own = self._own, []
        for subscription in own:
            await subscription.close()

    async def stop(self) -> None:
        """Take nothing more, cut short what is in hand and tell its callers. Drain first."""
        if self._queue is not None:
            await self._queue.close()
            self._queue = None
        await self._leave()
        if self._endpoints is not None:
            cut = await self._endpoints.stop(answer_s=_ANSWER_S)
            if cut:
                self._counters.add(
                    "call_cut_short", who=self._offer.name, reason="stopped", count=cut
                )
        for task in tuple(self._control):
            task.cancel()
        await asyncio.gather(*self._control, return_exceptions=True)
        if self._sealer is not None and self._opener is not None:
            await self._sealer.close()
            await self._opener.close()
        self._turn(Health.GONE)

    def _turn(self, health: Health) -> None:
        if health is not self._health:
            self._health = health
            self._changed(health)


async def _within(wait: Callable[[], Awaitable[None]], end_s: float) -> None:
    try:
        async with asyncio.timeout_at(end_s):
            await wait()
    except TimeoutError:
        return


def _check(offer: Offer) -> None:
    adr32.check_version(offer.version)
    names = [method.name for method in offer.methods]
    if not names:
        raise ConfigurationError(f"service {offer.name} offers no method")
    if len(set(names)) != len(names):
        raise ConfigurationError(f"service {offer.name} offers a method twice")
    for name in names:
        subjects.token(name, what="method")


def _instance(offer: Offer, instance: str, site: SiteId, connection: str) -> Instance:
    return Instance(
        service=subjects.token(offer.name, what="service"),
        id=subjects.token(instance, what="instance"),
        version=offer.version,
        site=site,
        zone=offer.zone,
        methods=tuple(method.name for method in offer.methods),
        protocols=_PROTOCOLS,
        connection=connection,
        weight=offer.weight,
        metadata=offer.metadata,
    )


def _started(instance: Instance, now_ms: int) -> Instance:
    return replace(instance, started_ms=now_ms)


__all__ = ["Drained", "Server"]
