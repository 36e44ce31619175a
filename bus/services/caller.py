"""Calls a service: one deadline, safe retries within a budget, hedges, and every decision counted with its reason."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, assert_never

from bus.flow.backoff import backoff_s
from bus.services.balancing import BalancedPicker, InstanceView, LatencyHistogram, RetryBudget
from bus.services.callers.settings import CallSettings, Hedge
from bus.services.callers.slots import Slots
from bus.services.callers.verdicts import Verdict, verdict
from bus.services.context import current_call
from bus.services.protocol import (
    Attempt,
    Channel,
    NoInstance,
    Outcome,
    Overloaded,
    Registry,
    Request,
    Response,
)
from bus.telemetry.counters import Counters
from bus.transport.protocol import NoResponders
from schemas.clock import Clock
from schemas.errors import DeadlineExceeded, MeshError

_ID_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class _Service:
    """What is kept for each service that is called."""

    picker: BalancedPicker
    slots: Slots
    retries: RetryBudget
    hedges: RetryBudget
    latencies: dict[str, LatencyHistogram] = field(default_factory=dict)


@dataclass(slots=True)
class _Call:
    """One call under way."""

    request: Request
    service: _Service
    deadline_s: float
    is_idempotent: bool
    key: bytes
    hedge: float | Hedge
    sent: int = 0
    """Tries that began, hedges included."""
    tries: int = 0
    """Tries and rounds that ended badly, but for those that found nobody."""
    misses: int = 0
    asked: set[str] = field(default_factory=set)
    again_at_s: float = 0.0
    """Instances that shed this call want to be left alone until then."""


class Caller:
    """Calls services on a `Channel`, at instances chosen from a `Registry`. Holds no task; many may call at once."""

    def __init__(
        self,
        channel: Channel,
        registry: Registry,
        *,
        site: str,
        zone: str = "",
        clock: Clock,
        chance: random.Random,
        counters: Counters,
        settings: CallSettings | None = None,
    ) -> None:
        self._channel = channel
        self._registry = registry
        self._site = site
        self._zone = zone
        self._clock = clock
        self._chance = chance
        self._counters = counters
        self._settings = settings or CallSettings()
        self._services: dict[tuple[str, int], _Service] = {}

    async def call(
        self,
        request: Request,
        *,
        timeout_s: float,
        idempotent: bool = False,
        key: bytes = b"",
        hedge_after_s: float | Hedge = Hedge.NEVER,
    ) -> Response:
        """Ask the service and return its answer, within `timeout_s` in all.

        A call is tried again when surely nothing was done (nobody listened, it was shed); `idempotent` ones also after
        a time-out or a failure. `key` keeps calls at one instance. `hedge_after_s` (idempotent calls only) asks a
        second instance after so many seconds, or with `Hedge.LATE` when the answer is unusually late.

        Raises `NoInstance`, `Overloaded`, `DeadlineExceeded`, `CallFailed` and its kin, `Unavailable`, `BadAnswer`,
        `PermissionRefused`.
        """
        parent = current_call()
        if parent is not None:
            timeout_s = min(timeout_s, parent.left_s())
        service = self._service(request.service, request.major)
        call = _Call(
            request if request.id else replace(request, id=self._chance.randbytes(_ID_BYTES)),
            service,
            self._clock.monotonic_s() + timeout_s,
            idempotent,
            key,
            hedge_after_s if idempotent else Hedge.NEVER,
        )
        service.retries.called()
        service.hedges.called()
        try:
            await self._take_slot(call, timeout_s)
            try:
                return await self._rounds(call)
            finally:
                service.slots.give_back()
        except MeshError as error:
            self._count("call_gave_up", call, error.code)
            raise

    def snapshot(self) -> Mapping[tuple[str, int], tuple[InstanceView, ...]]:
        """(service, major) to its instances as they look from here, for operators."""
        return {name: service.picker.snapshot() for name, service in self._services.items()}

    def close(self) -> None:
        """Stop listening to the registry."""
        for service in self._services.values():
            service.picker.close()
        self._services.clear()

    async def _take_slot(self, call: _Call, timeout_s: float) -> None:
        try:
            await call.service.slots.take(timeout_s)
        except Overloaded:
            self._count("call_shed", call, "max_pending")
            raise

    async def _rounds(self, call: _Call) -> Response:
        """Try until there is an answer, or no further try may be made."""
        while True:
            try:
                return await self._round(call)
            except MeshError as error:
                judged = verdict(error)
                wait_s = self._pause(call, error, judged)
                if wait_s is None:
                    if isinstance(error, NoResponders):
                        raise _nobody(call) from error
                    raise
            self._count("call_retried", call, judged.reason)
            if wait_s:
                await asyncio.sleep(wait_s)

    def _pause(self, call: _Call, error: MeshError, judged: Verdict) -> float | None:
        """Seconds until the next try; None when there must be none."""
        if not judged.may_pass or not (judged.was_nothing_done or call.is_idempotent):
            return None
        settings = self._settings
        is_missing = judged.outcome is Outcome.MISSING
        call.misses += is_missing
        call.tries += not is_missing
        if call.tries >= settings.max_tries or call.misses >= settings.max_misses:
            self._count("retry_refused", call, "max_tries")
            return None
        now_s = self._clock.monotonic_s()
        if is_missing and call.asked:
            return 0.0  # that instance is out of the table: the next one is asked at once, and at no cost to the budget
        wait_s = backoff_s(settings.pauses, max(call.tries, call.misses), self._chance)
        if isinstance(error, Overloaded) and not call.asked:
            wait_s = max(
                wait_s, error.retry_after_s
            )  # all were left out: wait for the first to be tried
        if now_s + wait_s >= call.deadline_s:
            self._count("retry_refused", call, "deadline")
            return None
        if not call.service.retries.take(now_s):
            self._count("retry_refused", call, "budget")
            return None
        return wait_s

    async def _round(self, call: _Call) -> Response:
        """One try, or two when the first is late and may be hedged."""
        attempt = await self._pick(call)
        after_s = self._hedge_after_s(call)
        if after_s is None or attempt is None:
            return await self._try(call, attempt)
        first = asyncio.ensure_future(self._try(call, attempt))
        second: asyncio.Future[Response] | None = None
        try:
            done, _ = await asyncio.wait({first}, timeout=after_s)
            other = None if done else self._pick_hedge(call)
            if other is None:
                return await first
            second = asyncio.ensure_future(self._try(call, other))
            response = await _first_good(first, second)
            if not (first.done() and not first.cancelled() and first.exception() is None):
                self._count("hedge_won", call, "late")
            return response
        finally:
            await _end(first, second)

    async def _pick(self, call: _Call) -> Attempt | None:
        """Choose an instance that this call has not asked; None: ask whichever the queue group gives."""
        picker = call.service.picker
        excluded = frozenset(call.asked)
        try:
            attempt = picker.pick(
                key=call.key,
                exclude=excluded,
                may_probe=call.is_idempotent,
                expected_s=self._latency(call).value_s,
            )
            return self._asking(call, attempt)
        except NoInstance:
            if not excluded:
                self._count("call_fell_back", call, "no_instance_known")
                return None
        call.asked.clear()  # each was asked: begin again, when those that shed the call want to hear of it
        wait_s = min(call.again_at_s, call.deadline_s) - self._clock.monotonic_s()
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        return await self._pick(call)

    def _pick_hedge(self, call: _Call) -> Attempt | None:
        """Choose another instance for a hedge, if one may be made."""
        try:
            attempt = call.service.picker.pick(
                exclude=frozenset(call.asked), expected_s=self._latency(call).value_s
            )
        except (NoInstance, Overloaded):
            self._count("hedge_refused", call, "no_other_instance")
            return None
        if not call.service.hedges.take(self._clock.monotonic_s()):
            attempt.ended(Outcome.CANCELLED)
            self._count("hedge_refused", call, "budget")
            return None
        self._count("call_hedged", call, "late")
        return self._asking(call, attempt)

    def _asking(self, call: _Call, attempt: Attempt) -> Attempt:
        call.asked.add(attempt.instance.id)
        return attempt

    async def _try(self, call: _Call, attempt: Attempt | None) -> Response:
        """Ask once, and tell everybody how it ended."""
        began_s = self._clock.monotonic_s()
        outcome = Outcome.CANCELLED
        call.sent += 1
        request = call.request if call.sent == 1 else replace(call.request, attempt=call.sent)
        try:
            response = await self._channel.call(
                request,
                timeout_s=self._try_timeout_s(call, began_s),
                instance=attempt.instance.id if attempt else "",
                site=attempt.instance.site if attempt else "",
            )
            outcome = Outcome.ANSWERED
        except MeshError as error:
            outcome = verdict(error).outcome
            self._note(call, attempt, error)
            raise
        finally:
            if attempt is not None:
                attempt.ended(outcome)
            if outcome in (Outcome.ANSWERED, Outcome.CANCELLED):
                self._latency(call).observe(self._clock.monotonic_s() - began_s)
        if response.instance:
            self._registry.heard(request.service, response.instance, response.load)
        return response

    def _note(self, call: _Call, attempt: Attempt | None, error: MeshError) -> None:
        if attempt is not None and isinstance(error, NoResponders):
            self._registry.missing(attempt.instance)
        if isinstance(error, Overloaded):
            again_at_s = self._clock.monotonic_s() + error.retry_after_s
            call.again_at_s = max(call.again_at_s, again_at_s)

    def _try_timeout_s(self, call: _Call, now_s: float) -> float:
        left_s = call.deadline_s - now_s
        if left_s <= 0:
            raise DeadlineExceeded(f"no time is left to ask {call.request.service}")
        is_last = not call.is_idempotent or call.tries + 1 >= self._settings.max_tries
        return left_s if is_last else left_s * self._settings.try_share

    def _hedge_after_s(self, call: _Call) -> float | None:
        match call.hedge:
            case Hedge.NEVER:
                return None
            case Hedge.LATE:
                return self._latency(call).value_s or None
            case float() | int():
                return call.hedge
            case _:
                assert_never(call.hedge)

    def _latency(self, call: _Call) -> LatencyHistogram:
        known = call.service.latencies
        method = call.request.method
        if method not in known:
            known[method] = LatencyHistogram(self._settings.hedge_quantile)
        return known[method]

    def _count(self, name: str, call: _Call, reason: str) -> None:
        self._counters.add(name, who=call.request.service, reason=reason)

    def _service(self, name: str, major: int) -> _Service:
        service = self._services.get((name, major))
        if service is None:
            settings = self._settings
            now_s = self._clock.monotonic_s()
            service = self._services[name, major] = _Service(
                BalancedPicker(
                    self._registry,
                    name,
                    major,
                    site=self._site,
                    zone=self._zone,
                    clock=self._clock,
                    chance=self._chance,
                    counters=self._counters,
                    settings=settings.balancing,
                ),
                Slots(name, slots=settings.max_in_flight, pending=settings.max_pending),
                RetryBudget(settings.retries, now_s),
                RetryBudget(settings.hedges, now_s),
            )
        return service


def _nobody(call: _Call) -> NoInstance:
    request = call.request
    return NoInstance(
        f"nobody serves {request.service} v{request.major} {request.method}: "
        f"{call.misses} tries found no listener"
    )


async def _first_good(
    first: asyncio.Future[Response], second: asyncio.Future[Response]
) -> Response:
    """The first answer; the error of the later one when both failed."""
    done, running = await asyncio.wait({first, second}, return_when=asyncio.FIRST_COMPLETED)
    good = next((one for one in done if one.exception() is None), None)
    if good is None and running:
        done, _ = await asyncio.wait(running)
        good = next(iter(done))
    return await (good or second)


async def _end(*tries: asyncio.Future[Response] | None) -> None:
    """Cancel what still runs, and see each end."""
    known = [one for one in tries if one is not None]
    for one in known:
        one.cancel()
    await asyncio.gather(*known, return_exceptions=True)


__all__ = ["Caller"]
