"""The requests of one instance, from the carrier's message to the answer: many at a time, each bound to its deadline.

What is checked, in which order: the answer goes to an inbox and the subject is ours; there is room (only counts of our
own are asked, so shedding here costs microseconds and believes nothing); the envelope opens, its signer may publish to
that very subject, and it did not come before; the answer goes to the caller's own subject; it was made in this run; its
caller still waits; the method is there; it is no second try; `Admission` lets it in. All of that happens in the turn in
which the message comes, so that a burst cannot slip past a count; only then a task begins.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Final

from bus.envelope.types import Envelope, Reason, Refused
from bus.services.answering import Answers, is_inbox
from bus.services.gate import Again, Gate, Work
from bus.services.intake import NotForUs, check_age, check_reply
from bus.services.limits import ServerLimits
from bus.services.opening import MISSING, CallOpener, is_sealed
from bus.services.plain import OVERLOADED, UNSEALED, error_headers, headers_of
from bus.services.protocol import Admission, Load, Offer, Overloaded
from bus.services.stats import MethodStats
from bus.services.wire import CANCEL, INTERNAL, Answer
from bus.services.working import Handlers
from bus.telemetry.counters import Counters
from bus.telemetry.log import logger
from bus.transport.protocol import Incoming
from schemas.clock import Clock
from schemas.errors import Unavailable
from schemas.generated.medmesh.content.v1 import content_pb2 as pb

_REFUSED: Final = 400
_CRASHED: Final = Answer(status=pb.REPLY_STATUS_FAILED, code=INTERNAL)
_log = logger(__name__)


class _Hand:
    """One request in hand."""

    __slots__ = ("arrived_s", "envelope", "is_leaving", "message", "method", "task")

    def __init__(self, message: Incoming, method: str, arrived_s: float) -> None:
        self.message = message
        self.method = method
        self.arrived_s = arrived_s
        self.envelope: Envelope | None = None
        """Set when it was opened: its answer is sealed. Before that nobody gets an answer but in plain words."""
        self.task: asyncio.Task[None] | None = None
        self.is_leaving = False
        """Its answer is with the sealer: it stays in hand until that has left, with or without a task."""


class Endpoints:
    """Takes the messages of one instance's subjects. No payload can stop it."""

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
        self._counters = counters
        self._fresh_id = fresh_id
        self._limits = limits
        self._is_full = is_full
        self._handlers = Handlers(offer, admission=admission, counters=counters)
        self._gate = Gate(
            service=offer.name,
            handlers=self._handlers,
            admission=admission,
            clock=clock,
            counters=counters,
            limits=limits,
        )
        self._hands: set[_Hand] = set()
        self._waited_for: dict[str, _Hand] = {}
        """By the hash of their envelope, in hex: those that were opened."""
        self._bytes = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._started_ms = clock.now_ms()

    @property
    def stats(self) -> Mapping[str, MethodStats]:
        """Counts of each method."""
        return self._handlers.stats

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
        if message.headers and (taken_back := message.headers.get(CANCEL)):
            self._cancel(taken_back)
            return
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
            self._opened(hand, envelope)

    def _cancel(self, leaf: str) -> None:
        """Its caller has gone: end the work, which nobody would get the answer of."""
        hand = self._waited_for.get(leaf)
        if hand is None or hand.is_leaving or hand.task is None:
            return
        self._counters.add("request_cancelled", who=self._offer.name)
        hand.task.cancel()

    def _has_no_room(self, size: int) -> bool:
        return (
            len(self._hands) >= self._limits.max_in_hand
            or (self._hands and self._bytes + size > self._limits.max_in_hand_bytes)
            or self._is_full()
        )

    def _shed_unopened(self, hand: _Hand) -> None:
        self._counters.add("request_shed", who=self._offer.name, reason="unopened")
        if hand.method in self.stats:
            self.stats[hand.method].shed += 1
        words = error_headers(OVERLOADED, Overloaded.code, retry_after_s=self._limits.retry_after_s)
        self._say_plainly(hand, words)

    def _not_opened(self, hand: _Hand, refusal: Refused, *, is_queue: bool) -> None:
        if refusal.reason in MISSING:
            self._begin(hand, self._open_later(hand, refusal))
        elif is_sealed(hand.message.payload):
            self._turn_away(hand, refusal.reason.value)
        elif self._offer.takes_plain and is_queue:
            self._plainly(hand)
        else:
            self._count_refused("not_sealed")
            self._say_plainly(hand, error_headers(UNSEALED, "not_sealed"))

    def _turn_away(self, hand: _Hand, reason: str) -> None:
        headers = self._refuse(reason)
        if headers is not None:
            self._say_plainly(hand, headers)

    def _refuse(self, reason: str) -> dict[str, str] | None:
        self._count_refused(reason)
        if reason == Reason.REPLAYED.value:
            return None  # the caller has its answer, or gets it: a copy must not spoil it
        return error_headers(_REFUSED, reason)

    def _say_plainly(self, hand: _Hand, headers: dict[str, str]) -> None:
        """A word to who was not let in; beyond the bound there is none."""
        if len(self._hands) < 2 * self._limits.max_in_hand:
            self._begin(hand, self._answers.plain(hand.message.reply, b"", headers))
        else:
            self._counters.add("answer_lost", who=self._offer.name, reason="too_many")

    def _begin(self, hand: _Hand, work: Coroutine[None, None, None]) -> None:
        self._hold(hand)
        hand.task = asyncio.get_running_loop().create_task(self._guard(hand, work))
        hand.task.add_done_callback(lambda _: self._ended(hand))

    def _hold(self, hand: _Hand) -> None:
        if not self._hands:
            self._idle.clear()
        self._hands.add(hand)
        self._bytes += len(hand.message.payload)

    def _release(self, hand: _Hand) -> None:
        self._hands.discard(hand)
        if hand.envelope is not None:
            self._waited_for.pop(hand.envelope.leaf.hex(), None)
        self._bytes -= len(hand.message.payload)
        if not self._hands:
            self._idle.set()

    def _ended(self, hand: _Hand) -> None:
        if not hand.is_leaving:
            self._release(hand)

    async def _guard(self, hand: _Hand, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 -- the task's outermost edge: the request ends, the server goes on
            self._crashed(error)
            if hand.envelope is not None and not hand.is_leaving:
                self._leave(hand, hand.envelope, _CRASHED)

    # -- sealed ----------------------------------------------------------------------------------

    async def _open_later(self, hand: _Hand, refusal: Refused) -> None:
        message = hand.message
        try:
            async with asyncio.timeout(self._limits.lookup_s):
                envelope = await self._opener.open_later(message.subject, message.payload, refusal)
        except Refused as final:
            reason = final.reason.value
        except (TimeoutError, Unavailable):
            reason = refusal.reason.value
        else:
            reason = self._not_for_us(hand, envelope)
            if not reason:
                await self._answer(hand, envelope, self._decide(hand, envelope))
                return
        headers = self._refuse(reason)
        if headers is not None:
            await self._answers.plain(message.reply, b"", headers)

    def _opened(self, hand: _Hand, envelope: Envelope) -> None:
        reason = self._not_for_us(hand, envelope)
        if reason:
            self._turn_away(hand, reason)
            return
        decided = self._decide(hand, envelope)
        if isinstance(decided, Answer):
            self._hold(hand)
            self._leave(hand, envelope, decided)
        else:
            self._begin(hand, self._answer(hand, envelope, decided))

    def _not_for_us(self, hand: _Hand, envelope: Envelope) -> str:
        """Why an authentic request must not be worked; empty when it may."""
        self._opener.mark(envelope)
        try:
            check_reply(envelope)
            check_age(
                envelope,
                started_ms=self._started_ms,
                max_skew_s=self._limits.max_clock_skew_s,
            )
        except NotForUs as refused:
            return refused.reason
        hand.envelope = envelope
        self._waited_for[envelope.leaf.hex()] = hand
        return ""

    def _decide(self, hand: _Hand, envelope: Envelope) -> Work | Again | Answer:
        return self._gate.decide(envelope, hand.method, hand.arrived_s)

    async def _answer(
        self, hand: _Hand, envelope: Envelope, decided: Work | Again | Answer
    ) -> None:
        if isinstance(decided, Work):
            decided = await self._gate.run(decided)
        elif isinstance(decided, Again):
            decided = await self._gate.wait(decided)
        self._leave(hand, envelope, decided)

    def _leave(self, hand: _Hand, envelope: Envelope, answer: Answer) -> None:
        """Let an answer go; the request is in hand until it has left."""
        hand.is_leaving = True
        try:
            self._answers.sealed(
                hand.message.reply,
                envelope,
                answer,
                lambda: self._release(hand),
                is_alone=len(self._hands) == 1,
            )
        except Exception as error:  # noqa: BLE001 -- an answer that cannot be written: the request ends with that word
            self._crashed(error)
            self._answers.sealed(
                hand.message.reply, envelope, _CRASHED, lambda: self._release(hand)
            )

    # -- plain -----------------------------------------------------------------------------------

    def _plainly(self, hand: _Hand) -> None:
        """Work a request of a stock NATS client: nobody vouches for it, and its answer is plain, too."""
        decided = self._gate.decide_plain(
            hand.method, hand.message.payload, self._fresh_id(), hand.arrived_s
        )
        self._begin(hand, self._answer_plainly(hand, decided))

    async def _answer_plainly(self, hand: _Hand, decided: Work | Answer) -> None:
        answer = await self._gate.run(decided) if isinstance(decided, Work) else decided
        await self._answers.plain(hand.message.reply, answer.body, headers_of(answer))

    # -- ending ----------------------------------------------------------------------------------

    async def idle(self) -> None:
        """Return when nothing is in hand."""
        await self._idle.wait()

    async def stop(self, *, answer_s: float) -> int:
        """Cancel what is in work and tell its callers; returns how many were cut short. Answers that leave may."""
        cut = [hand for hand in self._hands if not hand.is_leaving]
        tasks = [hand.task for hand in cut if hand.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for hand in cut:
            if hand.envelope is not None and not hand.is_leaving:
                self._hold(hand)
                self._leave(hand, hand.envelope, self._gate.cut_short(hand.method))
        try:
            async with asyncio.timeout(answer_s):
                await self._idle.wait()
        except TimeoutError:
            self._counters.add("answer_lost", who=self._offer.name, reason="stopped")
        await self._answers.close()
        return len(cut)

    def _count_refused(self, reason: str) -> None:
        self._counters.add("request_refused", who=self._offer.name, reason=reason)

    def _crashed(self, error: Exception) -> None:
        name = type(error).__name__
        self._counters.add("request_crashed", who=self._offer.name, reason=name)
        _log.error("request_crashed", service=self._offer.name, error_type=name)


__all__ = ["Endpoints"]
