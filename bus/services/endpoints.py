"""The requests of one instance, from the carrier's message to the answer: many at a time, each bound to its deadline.

What is checked, in which order: the answer goes to an inbox and the subject is ours; there is room (only counts of our
own are asked, so shedding here costs microseconds and believes nothing); the envelope opens, its signer may publish to
that very subject, and it did not come before; the answer goes to the caller's own subject; it was made in this run and
its caller still waits; the method is there; it is no second try; `Admission` lets it in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, NamedTuple

from bus.envelope.types import Envelope, Reason, Refused
from bus.events.content import UnreadableContent
from bus.flow.priority import Priority
from bus.services.answering import Answers, is_inbox
from bus.services.intake import NotForUs, Timing, caller_of, check_age, check_reply, timing
from bus.services.opening import MISSING, CallOpener, is_sealed
from bus.services.plain import OVERLOADED, UNSEALED, error_headers, headers_of
from bus.services.protocol import Admission, CallContext, Load, Method, Offer, Overloaded
from bus.services.recent import Key, Known, RecentCalls
from bus.services.wire import INTERNAL, Answer, Asked, BadRequest, answer_to, read_request
from bus.services.working import Handlers
from bus.telemetry.counters import Counters
from bus.telemetry.log import logger
from bus.transport.protocol import Incoming
from schemas.clock import Clock
from schemas.errors import DeadlineExceeded, Unavailable
from schemas.generated.medmesh.content.v1 import content_pb2 as pb

_REFUSED: Final = 400
_CROSSED: Final = Answer(status=pb.REPLY_STATUS_FAILED, code=INTERNAL)
_STOPPED: Final = Answer(status=pb.REPLY_STATUS_FAILED, code="stopped")
_LATE: Final = Answer(status=pb.REPLY_STATUS_DEADLINE_EXCEEDED, code=DeadlineExceeded.code)
_ANY_TYPE: Final = "application/octet-stream"
_log = logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """Bounds of one instance. `Admission` decides below them what is worked."""

    max_in_hand: int = 4096
    """Requests at a time, those that wait for a key or whose answer is on its way included. More are shed unopened."""
    max_in_hand_bytes: int = 64 << 20
    """64 MiB: the same for their sizes."""
    lookup_s: float = 2.0
    """How long a request waits for the key or certificate that opens it."""
    max_clock_skew_s: float = 5.0
    """How far a caller's clock may be behind ours: a request that is older than its caller's wait and this is late."""
    plain_timeout_s: float = 30.0
    """How long a request without an envelope is worked: it does not say how long its caller waits."""
    retry_after_s: float = 0.1
    """The pause that a caller is told whose request was shed unopened."""
    keep_answers_s: float = 120.0
    """How long answers of methods that are not idempotent are kept for second tries."""
    max_kept_answers: int = 4096
    max_kept_bytes: int = 8 << 20
    """8 MiB of bodies; of an older call only that it was answered is known."""


class _Hand:
    """One request in hand."""

    __slots__ = ("arrived_s", "envelope", "message", "method")

    def __init__(self, message: Incoming, method: str, arrived_s: float) -> None:
        self.message = message
        self.method = method
        self.arrived_s = arrived_s
        self.envelope: Envelope | None = None
        """Set when it was opened: its answer is sealed. Nobody gets an answer before that but in plain words."""


class _Work(NamedTuple):
    """What is needed to work a request."""

    method: Method
    asked: Asked
    timing: Timing
    key: Key | None


class Endpoints:
    """Takes the messages of one instance's subjects."""

    def __init__(
        self,
        offer: Offer,
        *,
        method_of: Callable[[str], tuple[str, bool]],
        opener: CallOpener,
        answers: Callable[[Callable[[], Load]], Answers],
        admission: Admission,
        clock: Clock,
        counters: Counters,
        fresh_id: Callable[[], bytes],
        limits: ServerLimits,
        is_full: Callable[[], bool],
    ) -> None:
        self._offer = offer
        self._method_of = method_of
        self._opener = opener
        self._answers = answers(self.load)
        self._admission = admission
        self._clock = clock
        self._counters = counters
        self._fresh_id = fresh_id
        self._limits = limits
        self._is_full = is_full
        self._handlers = Handlers(offer, admission=admission, counters=counters)
        self._recent = RecentCalls(
            keep_s=limits.keep_answers_s,
            max_calls=limits.max_kept_answers,
            max_bytes=limits.max_kept_bytes,
        )
        self._hands: dict[_Hand, asyncio.Task[None]] = {}
        self._bytes = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._started_ms = clock.now_ms()

    @property
    def stats(self) -> Handlers:
        """Counts of each method."""
        return self._handlers

    @property
    def in_hand(self) -> int:
        """Requests that were taken and whose answer has not left yet."""
        return len(self._hands)

    def load(self) -> Load:
        """How busy this instance is."""
        now_s = asyncio.get_running_loop().time()
        return self._handlers.load(now_s, self._answers.answered)

    # -- taking ----------------------------------------------------------------------------------

    def take(self, message: Incoming) -> None:
        """Take one message from the carrier. Never raises."""
        try:
            self._take(message)
        except Exception as error:  # noqa: BLE001 -- the carrier's loop is the outermost edge; a hostile payload ends here
            self._crashed(error)

    def _take(self, message: Incoming) -> None:
        if not is_inbox(message.reply):
            self._count_refused("no_inbox")
            return
        name, is_queue = self._method_of(message.subject)
        if not name:
            self._count_refused("foreign_subject")
            return
        hand = _Hand(message, name, asyncio.get_running_loop().time())
        if self._has_no_room(len(message.payload)):
            self._shed_unopened(hand)
            return
        try:
            envelope = self._opener.open(message.subject, message.payload)
        except Refused as refusal:
            self._not_opened(hand, refusal, is_queue=is_queue)
        else:
            self._begin(hand, self._opened(hand, envelope))

    def _has_no_room(self, size: int) -> bool:
        return (
            len(self._hands) >= self._limits.max_in_hand
            or (self._hands and self._bytes + size > self._limits.max_in_hand_bytes)
            or self._is_full()
        )

    def _shed_unopened(self, hand: _Hand) -> None:
        self._counters.add("request_shed", who=self._offer.name, reason="unopened")
        stats = self._handlers.stats.get(hand.method)
        if stats is not None:
            stats.shed += 1
        words = error_headers(OVERLOADED, Overloaded.code, retry_after_s=self._limits.retry_after_s)
        self._say_plainly(hand, words)

    def _not_opened(self, hand: _Hand, refusal: Refused, *, is_queue: bool) -> None:
        if refusal.reason in MISSING:
            self._begin(hand, self._open_later(hand, refusal))
        elif is_sealed(hand.message.payload):
            self._refuse(hand, refusal.reason.value)
        elif self._offer.takes_plain and is_queue:
            self._begin(hand, self._plainly(hand))
        else:
            self._count_refused("not_sealed")
            self._say_plainly(hand, error_headers(UNSEALED, "not_sealed"))

    def _refuse(self, hand: _Hand, reason: str) -> None:
        self._count_refused(reason)
        if (
            reason != Reason.REPLAYED.value
        ):  # the caller has its answer, or gets it: a copy must not spoil it
            self._say_plainly(hand, error_headers(_REFUSED, reason))

    def _say_plainly(self, hand: _Hand, headers: dict[str, str]) -> None:
        """A word to who was not let in; beyond the bound there is none."""
        if len(self._hands) < 2 * self._limits.max_in_hand:
            self._begin(hand, self._answers.plain(hand.message.reply, b"", headers))
        else:
            self._counters.add("answer_lost", who=self._offer.name, reason="too_many")

    def _begin(self, hand: _Hand, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(self._guard(hand, work))
        self._hands[hand] = task
        self._bytes += len(hand.message.payload)
        self._idle.clear()
        task.add_done_callback(lambda _: self._ended(hand))

    def _ended(self, hand: _Hand) -> None:
        if self._hands.pop(hand, None) is not None:
            self._bytes -= len(hand.message.payload)
        if not self._hands:
            self._idle.set()

    async def _guard(self, hand: _Hand, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 -- the task's outermost edge: the request ends, the server goes on
            self._crashed(error)
            if hand.envelope is not None:
                await self._answers.sealed(hand.message.reply, hand.envelope, _CROSSED)

    # -- sealed ----------------------------------------------------------------------------------

    async def _open_later(self, hand: _Hand, refusal: Refused) -> None:
        message = hand.message
        try:
            async with asyncio.timeout(self._limits.lookup_s):
                envelope = await self._opener.open_later(message.subject, message.payload, refusal)
        except Refused as final:
            self._refuse(hand, final.reason.value)
        except (TimeoutError, Unavailable):
            self._refuse(hand, refusal.reason.value)
        else:
            await self._opened(hand, envelope)

    async def _opened(self, hand: _Hand, envelope: Envelope) -> None:
        self._opener.mark(envelope)
        try:
            check_reply(envelope)
            hand.envelope = envelope
            check_age(
                envelope,
                started_ms=self._started_ms,
                max_skew_s=self._limits.max_clock_skew_s,
            )
        except NotForUs as refused:
            self._refuse(hand, refused.reason)
            return
        answer = await self._worked(hand, envelope)
        await self._answers.sealed(hand.message.reply, envelope, answer)

    async def _worked(self, hand: _Hand, envelope: Envelope) -> Answer:
        try:
            work = self._prepare(hand, envelope)
        except (BadRequest, UnreadableContent) as error:
            self._count_refused(error.code)
            return Answer(status=pb.REPLY_STATUS_INVALID, code=error.code, detail=str(error))
        if isinstance(work, Answer):
            return work
        return await self._first_or_again(hand, work, caller_of(envelope))

    def _prepare(self, hand: _Hand, envelope: Envelope) -> _Work | Answer:
        asked = read_request(envelope.content)
        when = timing(
            envelope,
            asked,
            arrived_s=hand.arrived_s,
            now_ms=self._clock.now_ms(),
            max_skew_s=self._limits.max_clock_skew_s,
        )
        if when.is_late:
            self._counters.add("request_late", who=self._offer.name, reason="on_arrival")
            return _LATE
        method = self._handlers.method(hand.method)
        if method is None:
            self._counters.add("call_failed", who=self._offer.name, reason="no_such_method")
            return Answer(status=pb.REPLY_STATUS_NOT_FOUND, code="no_such_method")
        if method.request_type not in (_ANY_TYPE, asked.type):
            self._handlers.stats[method.name].failed("unsupported_type")
            return Answer(
                status=pb.REPLY_STATUS_INVALID,
                code="unsupported_type",
                detail=f"{method.name} takes {method.request_type}",
            )
        key = None if method.is_idempotent else (envelope.sender.service, method.name, asked.id)
        return _Work(method, asked, when, key)

    async def _first_or_again(self, hand: _Hand, work: _Work, caller: str) -> Answer:
        if work.key is None:
            return await self._admitted(hand, work, caller)
        digest = sha256(work.asked.type.encode() + b"\0" + work.asked.body).digest()
        match self._recent.look(work.key, digest, self._clock.monotonic_s()):
            case Known.NEW:
                return await self._once(hand, work, caller, work.key, digest)
            case Known.SAME:
                self._counters.add("request_repeated", who=self._offer.name, reason="same_call")
                return await self._again(work.key, work.timing.deadline_s)
            case Known.OTHER:
                self._count_refused("id_reused")
                return Answer(status=pb.REPLY_STATUS_INVALID, code="id_reused")

    async def _once(self, hand: _Hand, work: _Work, caller: str, key: Key, digest: bytes) -> Answer:
        shed = self._admit(work.method, work.asked.priority, work.timing)
        if shed is not None:
            return shed
        self._recent.begin(key, digest)
        answer = _STOPPED
        try:
            answer = await self._run(work, caller)
        finally:
            self._recent.end(key, answer, self._clock.monotonic_s())
        return answer

    async def _again(self, key: Key, deadline_s: float) -> Answer:
        try:
            async with asyncio.timeout_at(deadline_s):
                return await asyncio.shield(self._recent.answer(key))
        except TimeoutError:
            return _LATE

    async def _admitted(self, hand: _Hand, work: _Work, caller: str) -> Answer:
        shed = self._admit(work.method, work.asked.priority, work.timing)
        return shed if shed is not None else await self._run(work, caller)

    def _admit(self, method: Method, priority: Priority, when: Timing) -> Answer | None:
        left_s = when.deadline_s - asyncio.get_running_loop().time()
        try:
            self._admission.admit(priority, waited_s=when.waited_s, left_s=left_s)
        except Overloaded as shed:
            self._counters.add("request_shed", who=self._offer.name, reason=priority.name.lower())
            self._handlers.stats[method.name].shed += 1
            return answer_to(shed, may_repeat=True)  # nothing was done
        return None

    async def _run(self, work: _Work, caller: str) -> Answer:
        loop = asyncio.get_running_loop()
        deadline_s, asked = work.timing.deadline_s, work.asked
        call = CallContext(
            caller=caller,
            method=work.method.name,
            id=asked.id,
            attempt=asked.attempt,
            priority=asked.priority,
            left_s=lambda: deadline_s - loop.time(),
            traceparent=asked.traceparent,
        )
        return await self._handlers.run(work.method, asked.body, call, deadline_s=deadline_s)

    # -- plain -----------------------------------------------------------------------------------

    async def _plainly(self, hand: _Hand) -> None:
        """Work a request of a stock NATS client: nobody vouches for it, and its answer is plain, too."""
        answer = await self._worked_plainly(hand)
        await self._answers.plain(hand.message.reply, answer.body, headers_of(answer))

    async def _worked_plainly(self, hand: _Hand) -> Answer:
        method = self._handlers.method(hand.method)
        if method is None:
            return Answer(status=pb.REPLY_STATUS_NOT_FOUND, code="no_such_method")
        timeout_s = self._limits.plain_timeout_s
        asked = Asked(
            id=self._fresh_id(),
            type=method.request_type,
            body=hand.message.payload,
            timeout_s=timeout_s,
        )
        when = Timing(arrived_s=hand.arrived_s, deadline_s=hand.arrived_s + timeout_s, waited_s=0.0)
        return await self._admitted(hand, _Work(method, asked, when, None), "")

    # -- ending ----------------------------------------------------------------------------------

    async def idle(self) -> None:
        """Return when nothing is in hand."""
        await self._idle.wait()

    async def stop(self, *, answer_s: float) -> int:
        """Cancel what is in hand and tell its callers; returns how many were cut short."""
        cut = dict(self._hands)
        for task in cut.values():
            task.cancel()
        await asyncio.gather(*cut.values(), return_exceptions=True)
        told = [
            self._answers.sealed(hand.message.reply, hand.envelope, _STOPPED)
            for hand in cut
            if hand.envelope is not None
        ]
        try:
            async with asyncio.timeout(answer_s):
                await asyncio.gather(*told)
        except TimeoutError:
            self._counters.add("answer_lost", who=self._offer.name, reason="stopped")
        return len(cut)

    def _count_refused(self, reason: str) -> None:
        self._counters.add("request_refused", who=self._offer.name, reason=reason)

    def _crashed(self, error: Exception) -> None:
        self._counters.add("request_crashed", who=self._offer.name, reason=type(error).__name__)
        _log.error("request_crashed", service=self._offer.name, error_type=type(error).__name__)


__all__ = ["Endpoints", "ServerLimits"]
