"""Calls a service: one deadline, safe retries within a budget, hedges, and every decision counted with its reason."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Final, assert_never

from bus.flow.backoff import backoff_s
from bus.services.balancing import BalancedPicker, InstanceView, LatencyHistogram, RetryBudget
from bus.services.callers.race import end, first_good
from bus.services.callers.settings import CallSettings, Hedge
from bus.services.callers.slots import Slots
from bus.services.callers.state import Call, CalledService
from bus.services.callers.verdicts import Verdict, verdict
from bus.services.context import current_call
from bus.services.protocol import (
    Agreement,
    Attempt,
    BadAnswer,
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
from schemas import subjects
from schemas.clock import Clock
from schemas.errors import DeadlineExceeded, MeshError
from schemas.registry.errors import SchemaRefused
from schemas.subjects import Subject, site_id

_ID_BYTES: Final = 16


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
        agreement: Agreement | None = None,
    ) -> None:
        self._agreement = agreement
        self._channel = channel
        self._registry = registry
        self._site = site
        self._zone = zone
        self._clock = clock
        self._chance = chance
        self._counters = counters
        self._settings = settings or CallSettings()
        self._services: dict[tuple[str, int], CalledService] = {}

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
        `PermissionRefused`; `SchemaRefused` for a request that its method is not bound to, which nobody was asked then.
        """
        self._check_request(request)
        parent = current_call()
        if parent is not None:
            timeout_s = min(timeout_s, parent.left_s())
        service = self._service(request.service, request.major)
        call = Call(
            request if request.id else _named(request, self._chance.randbytes(_ID_BYTES)),
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
                response = await self._rounds(call)
            finally:
                service.slots.give_back()
            self._check_answer(call, response)
        except MeshError as error:
            self._count("call_gave_up", call, error.code)
            raise
        return response

    def snapshot(self) -> Mapping[tuple[str, int], tuple[InstanceView, ...]]:
        """(service, major) to its instances as they look from here, for operators."""
        return {name: service.picker.snapshot() for name, service in self._services.items()}

    def close(self) -> None:
        """Stop listening to the registry."""
        for service in self._services.values():
            service.picker.close()
        self._services.clear()

    def _check_request(self, request: Request) -> None:
        if self._agreement is not None:
            self._agreement.check_request(self._subject(request), request.type, request.body)

    def _check_answer(self, call: Call, response: Response) -> None:
        if self._agreement is None:
            return
        subject = self._subject(call.request)
        try:
            self._agreement.check_answer(subject, response.type, response.body)
        except SchemaRefused as refused:
            raise BadAnswer(
                f"the call was worked, and its answer does not fit: {refused}"
            ) from None

    def _subject(self, request: Request) -> Subject:
        return subjects.call(site_id(self._site), request.service, request.major, request.method)

    async def _take_slot(self, call: Call, timeout_s: float) -> None:
        try:
            await call.service.slots.take(timeout_s)
        except Overloaded:
            self._count("call_shed", call, "max_pending")
            raise

    async def _rounds(self, call: Call) -> Response:
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

    def _pause(self, call: Call, error: MeshError, judged: Verdict) -> float | None:
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

    async def _round(self, call: Call) -> Response:
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
            response = await first_good(first, second)
            if not (first.done() and not first.cancelled() and first.exception() is None):
                self._count("hedge_won", call, "late")
            return response
        finally:
            await end(first, second)

    async def _pick(self, call: Call) -> Attempt | None:
        """Choose an instance that this call has not asked; None: ask whichever the queue group gives."""
        if self._clock.monotonic_s() >= call.deadline_s:
            raise DeadlineExceeded(f"no time is left to ask {call.request.service}")
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
        except Overloaded:
            if not excluded:
                self._count("call_shed", call, "none_may_be_asked")
                raise
        call.asked.clear()  # each was asked: begin again, when those that shed the call want to hear of it
        await self._wait_until(call, call.again_at_s)
        return await self._pick(call)

    async def _wait_until(self, call: Call, at_s: float) -> None:
        """Wait, unless the call's deadline comes first: then it ends now."""
        wait_s = at_s - self._clock.monotonic_s()
        if at_s >= call.deadline_s:
            call.tries = self._settings.max_tries
            raise Overloaded(
                "every instance shed the call until after its deadline", retry_after_s=wait_s
            )
        if wait_s > 0:
            await asyncio.sleep(wait_s)

    def _pick_hedge(self, call: Call) -> Attempt | None:
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

    def _asking(self, call: Call, attempt: Attempt) -> Attempt:
        call.asked.add(attempt.instance.id)
        return attempt

    async def _try(self, call: Call, attempt: Attempt | None) -> Response:
        """Ask once, and tell everybody how it ended."""
        began_s = self._clock.monotonic_s()
        timeout_s = self._try_timeout_s(call, began_s)
        outcome = Outcome.CANCELLED
        is_latency_known = True
        """Also that of a cancelled try: it would have taken longer."""
        call.sent += 1
        request = call.request if call.sent == 1 else replace(call.request, attempt=call.sent)
        try:
            response = await self._channel.call(
                request,
                timeout_s=timeout_s,
                instance=attempt.instance.id if attempt else "",
                site=attempt.instance.site if attempt else "",
            )
            outcome = Outcome.ANSWERED
        except MeshError as error:
            outcome = self._outcome(call, error, timeout_s)
            is_latency_known = False
            self._note(call, attempt, error)
            raise
        finally:
            if attempt is not None:
                attempt.ended(outcome)
            if is_latency_known:
                self._latency(call).observe(self._clock.monotonic_s() - began_s)
        if response.instance:
            self._registry.heard(request.service, response.instance, response.load)
        return response

    def _outcome(self, call: Call, error: MeshError, timeout_s: float) -> Outcome:
        """What the instance is to be blamed for: not for missing a deadline that is short for this method."""
        outcome = verdict(error).outcome
        if outcome is Outcome.TIMED_OUT and timeout_s < self._latency(call).value_s:
            return Outcome.CANCELLED
        return outcome

    def _note(self, call: Call, attempt: Attempt | None, error: MeshError) -> None:
        if attempt is not None and isinstance(error, NoResponders):
            self._registry.missing(attempt.instance)
        if isinstance(error, Overloaded):
            again_at_s = self._clock.monotonic_s() + error.retry_after_s
            call.again_at_s = max(call.again_at_s, again_at_s)

    def _try_timeout_s(self, call: Call, now_s: float) -> float:
        left_s = max(0.0, call.deadline_s - now_s)
        is_last = not call.is_idempotent or call.tries + 1 >= self._settings.max_tries
        return left_s if is_last else left_s * self._settings.try_share

    def _hedge_after_s(self, call: Call) -> float | None:
        match call.hedge:
            case Hedge.NEVER:
                return None
            case Hedge.LATE:
                return self._latency(call).value_s or None
            case float() | int():
                return call.hedge
            case _:
                assert_never(call.hedge)

    def _latency(self, call: Call) -> LatencyHistogram:
        known = call.service.latencies
        method = call.request.method
        if method not in known:
            known[method] = LatencyHistogram(self._settings.hedge_quantile)
        return known[method]

    def _count(self, name: str, call: Call, reason: str) -> None:
        self._counters.add(name, who=call.request.service, reason=reason)

    def _service(self, name: str, major: int) -> CalledService:
        service = self._services.get((name, major))
        if service is None:
            settings = self._settings
            now_s = self._clock.monotonic_s()
            service = self._services[name, major] = CalledService(
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


def _named(request: Request, call_id: bytes) -> Request:
    """The request with an id: `dataclasses.replace` takes three times as long, in every call."""
    return Request(
        service=request.service,
        major=request.major,
        method=request.method,
        type=request.type,
        body=request.body,
        id=call_id,
        attempt=request.attempt,
        priority=request.priority,
        traceparent=request.traceparent,
    )


def _nobody(call: Call) -> NoInstance:
    request = call.request
    return NoInstance(
        f"nobody serves {request.service} v{request.major} {request.method}: "
        f"{call.misses} tries found no listener"
    )


__all__ = ["Caller"]
