"""The way out: takes events of the mesh to one FHIR server, in each patient's order, until the server has each."""

from __future__ import annotations

from http import HTTPStatus
from typing import ClassVar, Final

import orjson

from adapters.contract import AdapterRuntime, Condition, Health
from adapters.fhir.codec.answers import Answer
from adapters.fhir.codec.errors import FhirError, UnreadableResource
from adapters.fhir.codec.interactions import Plan, Policy, plan
from adapters.fhir.codec.responses import Refusal, judge_entries, judge_message
from adapters.fhir.config import ClientConfig
from adapters.fhir.errors import (
    AnswerTooLarge,
    Busy,
    InvalidResource,
    NoAnswer,
    OutcomeUnknown,
    RefusedByServer,
    ServerFailed,
    StatusError,
    describe,
)
from adapters.fhir.gate import ServerGate
from adapters.fhir.link import FHIR_JSON, Link, Request
from adapters.fhir.peers import ServerFault
from adapters.fhir.validation import Validator, summary
from adapters.fhir.verdict import check
from bus.events.protocol import (
    ConsumeSpec,
    Consumption,
    Outcome,
    Receipt,
    ReceivedEvent,
    Rejected,
)
from bus.services.balancing.breaker import Gate
from schemas.errors import MeshError, Unavailable
from schemas.fhir.elements import elements_of
from schemas.fhir.release import Release as Fhir
from schemas.fhirpath import PathFailed, compile_path

_MAX_RECEIPT_BYTES: Final = 64 * 1024
"""Longer answers of a server are not passed on in receipts."""
_UNCERTAIN: Final = frozenset(
    {HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT}
)
"""Answers after which nobody knows whether the request was worked."""


class FhirSender:
    """`fhir.client`."""

    def __init__(self, config: ClientConfig, runtime: AdapterRuntime) -> None:
        self._config = config
        self._runtime = runtime
        self._policy = Policy(
            by_type=config.interactions,
            identifier_systems=config.identifier_systems,
            unrepeatable=config.unrepeatable,
        )
        self._link = Link(
            config,
            name=f"adapter {config.name}",
            clock=runtime.clock,
            count=self._count,
            concurrency=config.lanes,
        )
        self._gate = ServerGate(
            runtime.clock,
            first_s=config.retry.first_delay_s,
            longest_s=config.retry.longest_delay_s,
        )
        self._validator = Validator(
            config.validation, name=config.name, count=self._count, chance=runtime.random
        )
        self._consumption: Consumption | None = None
        self._trouble = ""
        self._filter = (
            compile_path(config.filter, model=elements_of(Fhir(config.filter_release)))
            if config.filter
            else None
        )
        self._undecided: set[bytes] = set()

    # the four verbs

    async def start(self) -> None:
        """Take up the subscription. The server may be away: events wait for it. Raises `ConfigurationError`."""
        config = self._config
        self._link.open()
        spec = ConsumeSpec(
            name=config.name,
            patterns=config.subscribe,
            lanes=config.lanes,
            retry=config.retry.policy(),
            accept=self._accepts,
            deliver_new=config.deliver_new,
        )
        self._consumption = await self._runtime.events.consume(spec, self.deliver)

    def health(self) -> Health:
        """Say whether the server takes resources, how many wait, and until when its circuit is open."""
        if self._consumption is None:
            return Health(condition=Condition.STOPPED, detail="not started")
        waiting = self._consumption.stats().pending
        tail = f"; {waiting} events wait" if waiting else ""
        circuit = f"circuit {self._gate.state.value}"
        if self._gate.state is not Gate.CLOSED:
            circuit += f", next look in {self._gate.opens_in_s:.0f} s"
        trouble = f": {self._trouble}" if self._trouble else ""
        healthy = self._gate.state is Gate.CLOSED and not trouble
        return Health(
            condition=Condition.HEALTHY if healthy else Condition.DEGRADED,
            detail=f"{self._config.base}{trouble}; {circuit}{tail}",
        )

    async def drain(self, *, timeout_s: float) -> None:
        """Finish the requests under way; the rest stays in its stream."""
        self._gate.stop_waiting()
        if self._consumption is not None:
            await self._consumption.drain(timeout_s=timeout_s)

    async def stop(self) -> None:
        """Close everything; what has no answer is sent again after the next start."""
        if self._consumption is not None:
            await self._consumption.stop()
            self._consumption = None
        await self._validator.stop()
        await self._link.close()

    # one event

    async def deliver(self, event: ReceivedEvent) -> Receipt:
        """Send one event's body and wait for the server's answer: the handler of the subscription.

        Raises `Unavailable` while the server is away or asks to wait (the event waits, in order, for ever), `Conflict`,
        `ServerFailed` and `ValidationFailed` for attempts that count, `Rejected` for what will never be taken.
        """
        try:
            receipt = await self._deliver(event)
        except MeshError as error:
            is_away = isinstance(error, Unavailable)
            self._trouble = str(error) if is_away else ""
            if not is_away:
                self._count("resource_refused", error.code)
            raise
        self._trouble = ""
        return receipt

    async def _deliver(self, event: ReceivedEvent) -> Receipt:
        if event.message_id in self._undecided:
            self._undecided.discard(event.message_id)
            raise FilterUndecided(
                "the filter cannot read this resource, so it may not be meant for here"
            )
        try:
            chosen = plan(event.body, self._policy)
        except FhirError as error:
            raise RefusedHere(error) from None
        findings = await self._validator.findings(event.body)
        if findings:
            raise InvalidResource(f"validation: {summary(findings)}")
        answer = await self._exchange(chosen, event)
        self._count("resource_delivered", chosen.interaction)
        outcome = Outcome.DELIVERED if answer.status == HTTPStatus.ACCEPTED else Outcome.APPLIED
        short = len(answer.body) <= _MAX_RECEIPT_BYTES
        return Receipt(
            message_id=event.message_id,
            consumer=self._config.name,
            outcome=outcome,
            answer=answer.body if short else b"",
            reason=f"http_{answer.status}",
        )

    async def _exchange(self, chosen: Plan, event: ReceivedEvent) -> Answer:
        prefer = (("prefer", "return=minimal"),) if self._config.return_minimal else ()
        request = Request(
            method=chosen.method,
            path=chosen.path,
            body=event.body,
            content_type=event.type if _fits_a_header(event.type) else FHIR_JSON,
            headers=(*chosen.headers, *prefer),
        )
        try:
            # waits for its turn no longer than the bus would
            async with self._gate.passing(self._config.retry.longest_delay_s):
                answer = await self._answer(request)
        except (NoAnswer, Busy) as error:
            raise self._unanswered(chosen, error) from None
        except StatusError as error:
            if error.retryable:
                raise
            raise RefusedByServer(str(error), error.answer[:_MAX_RECEIPT_BYTES]) from None
        return self._looked_into(chosen, answer)

    async def _answer(self, request: Request) -> Answer:
        try:
            return check(await self._link.send(request), now_ms=self._runtime.clock.now_ms())
        except AnswerTooLarge as error:
            # its status holds: only the words after it were too many
            self._count("answer_left_out", "too_large")
            cut = Answer(status=error.status, headers={})
            return check(cut, now_ms=self._runtime.clock.now_ms())
        except Busy as error:
            self._count("server_busy", f"http_{error.status}")
            if error.retry_after_s is not None:
                longest_s = self._config.longest_retry_after_s
                error.retry_after_s = min(error.retry_after_s, longest_s)
            raise

    def _unanswered(self, chosen: Plan, error: NoAnswer | Busy) -> MeshError:
        """What silence, or an answer that tells nothing, means for this content."""
        uncertain = isinstance(error, NoAnswer) or error.status in _UNCERTAIN
        if uncertain and not chosen.repeatable:
            return OutcomeUnknown(
                f"{error}: it may have been worked, and a second try could make a second resource; look at the server, "
                "then replay or discard this one"
            )
        counts = self._config.on_server_fault is ServerFault.RETRY
        if isinstance(error, Busy) and error.status == HTTPStatus.INTERNAL_SERVER_ERROR and counts:
            return ServerFailed(error.status, (), b"")
        return error

    def _looked_into(self, chosen: Plan, answer: Answer) -> Answer:
        """A 2xx around entries or a message that failed is no success."""
        refusal: Refusal | None = None
        if chosen.interaction == "batch":
            refusal = judge_entries(answer.body)
        elif chosen.interaction == "message":
            refusal = judge_message(answer.body)
        if refusal is None:
            return answer
        self._count("answer_negative", refusal.reason)
        if refusal.retryable and chosen.repeatable:
            raise ServerFailed(answer.status, (), answer.body[:_MAX_RECEIPT_BYTES])
        raise RefusedByServer(
            f"the server answered {describe(answer.status)}, but inside: {refusal.text}",
            answer.body[:_MAX_RECEIPT_BYTES],
        )

    def _accepts(self, event: ReceivedEvent) -> bool:
        """Only FHIR in JSON is meant for here; the rest of a wide subscription passes by, counted."""
        is_fhir = event.type.partition(";")[0].strip().lower() == FHIR_JSON
        if not is_fhir:
            self._count("event_passed_by", "content_type")
        return is_fhir and self._wants(event)

    def _wants(self, event: ReceivedEvent) -> bool:
        """What the filter says; what it cannot read goes on, to become a dead letter instead of vanishing."""
        if self._filter is None:
            return True
        try:
            return self._filter.test(_plain(event.body))
        except (PathFailed, UnreadableResource) as error:
            self._count("filter_undecided", error.code)
            self._undecided.add(event.message_id)
            return True

    def _count(self, name: str, reason: str) -> None:
        self._runtime.counters.add(name, who=self._config.name, reason=reason)


def _fits_a_header(text: str) -> bool:
    """Whether a type that another service chose may stand in a header as it is."""
    return text.isascii() and text.isprintable()


def _plain(body: bytes) -> dict[str, object]:
    """A resource as plain JSON values. Raises `UnreadableResource`."""
    try:
        resource = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise UnreadableResource("the body is not JSON") from None
    if not isinstance(resource, dict):
        raise UnreadableResource("the body is no JSON object")
    return resource


class FilterUndecided(Rejected):
    """The filter could not be evaluated on this resource."""

    code: ClassVar[str] = "fhir_filter_undecided"


class RefusedHere(Rejected):
    """The content cannot be delivered by any interaction that the configuration allows."""

    def __init__(self, error: FhirError) -> None:
        super().__init__(str(error))
        self.code = error.code  # type: ignore[misc]  # the code of what is wrong, on the wire as everywhere


__all__ = ["FhirSender", "FilterUndecided", "RefusedHere"]
