"""What becomes of a request that was opened: worked, answered like the try before it, or answered at once with a no."""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import Final, NamedTuple

from bus.envelope.types import Envelope
from bus.events.content import UnreadableContent
from bus.flow.priority import Priority
from bus.services.intake import Timing, caller_of, timing
from bus.services.limits import ServerLimits
from bus.services.protocol import Admission, CallContext, Method, Overloaded
from bus.services.recent import Key, Known, RecentCalls
from bus.services.wire import Answer, BadRequest, answer_to, read_request
from bus.services.working import Handlers
from bus.telemetry.counters import Counters
from schemas.clock import Clock
from schemas.errors import DeadlineExceeded
from schemas.generated.medmesh.content.v1 import content_pb2 as pb

LATE: Final = Answer(status=pb.REPLY_STATUS_DEADLINE_EXCEEDED, code=DeadlineExceeded.code)
STOPPED: Final = Answer(status=pb.REPLY_STATUS_FAILED, code="stopped")
_ANY_TYPE: Final = "application/octet-stream"


class Work(NamedTuple):
    """A request that `Admission` let in: `Gate.run` must follow."""

    method: Method
    body: bytes
    call: CallContext
    deadline_s: float
    key: Key | None
    """Under which its answer is kept for second tries; None where the method may act twice."""

    def __repr__(self) -> str:
        """Without the body, which is protected data."""
        return f"Work(method={self.method.name!r}, {len(self.body)} bytes)"


class Again(NamedTuple):
    """A second try of a call that must not act twice: it gets the answer of the first."""

    key: Key
    deadline_s: float


class Gate:
    """Decides on the requests of one instance. Deciding never waits."""

    def __init__(
        self,
        *,
        service: str,
        handlers: Handlers,
        admission: Admission,
        clock: Clock,
        counters: Counters,
        limits: ServerLimits,
    ) -> None:
        self._service = service
        self._handlers = handlers
        self._admission = admission
        self._clock = clock
        self._counters = counters
        self._limits = limits
        self._recent = RecentCalls(
            keep_s=limits.keep_answers_s,
            max_calls=limits.max_kept_answers,
            max_bytes=limits.max_kept_bytes,
        )

    def decide(self, envelope: Envelope, name: str, arrived_s: float) -> Work | Again | Answer:
        """Decide on a sealed request to the method `name`."""
        try:
            asked = read_request(envelope.content)
        except (BadRequest, UnreadableContent) as error:
            return self._refused(error.code, detail=str(error))
        when = timing(
            envelope,
            asked,
            arrived_s=arrived_s,
            now_ms=self._clock.now_ms(),
            max_skew_s=self._limits.max_clock_skew_s,
        )
        if when.is_late:
            self._counters.add("request_late", who=self._service, reason="on_arrival")
            return LATE
        method = self._handlers.method(name)
        if method is None:
            return self._no_such_method()
        if method.request_type not in (_ANY_TYPE, asked.type):
            return self._refused("unsupported_type", detail=f"it takes {method.request_type}")
        call = self._context(
            name, when, caller_of(envelope), asked.id, asked.attempt, asked.priority,
            asked.traceparent,
        )  # fmt: skip
        if method.is_idempotent:
            return self._admit(Work(method, asked.body, call, when.deadline_s, None), when)
        key = (envelope.sender.service, name, asked.id)
        digest = sha256(asked.type.encode() + b"\0" + asked.body).digest()
        return self._first(Work(method, asked.body, call, when.deadline_s, key), when, key, digest)

    def decide_plain(
        self, name: str, body: bytes, call_id: bytes, arrived_s: float
    ) -> Work | Answer:
        """Decide on a request without an envelope: nobody knows who asks, or how long it waits."""
        method = self._handlers.method(name)
        if method is None:
            return self._no_such_method()
        when = Timing(
            arrived_s=arrived_s,
            deadline_s=arrived_s + self._limits.plain_timeout_s,
            waited_s=0.0,
        )
        call = self._context(name, when, "", call_id, 1, Priority.ROUTINE, "")
        return self._admit(Work(method, body, call, when.deadline_s, None), when)

    @staticmethod
    def _context(
        name: str,
        when: Timing,
        caller: str,
        call_id: bytes,
        attempt: int,
        priority: Priority,
        traceparent: str,
    ) -> CallContext:
        now_s, deadline_s = asyncio.get_running_loop().time, when.deadline_s
        return CallContext(
            caller=caller,
            method=name,
            id=call_id,
            attempt=attempt,
            priority=priority,
            left_s=lambda: deadline_s - now_s(),
            traceparent=traceparent,
        )

    def _first(self, work: Work, when: Timing, key: Key, digest: bytes) -> Work | Again | Answer:
        match self._recent.look(key, digest, self._clock.monotonic_s()):
            case Known.SAME:
                self._counters.add("request_repeated", who=self._service, reason="same_call")
                return Again(key, when.deadline_s)
            case Known.OTHER:
                return self._refused("id_reused")
            case Known.NEW:
                decided = self._admit(work, when)
                if isinstance(decided, Work):
                    self._recent.begin(key, digest)
                return decided

    def _admit(self, work: Work, when: Timing) -> Work | Answer:
        priority = work.call.priority
        left_s = work.call.left_s()
        try:
            self._admission.admit(priority, waited_s=when.waited_s, left_s=left_s)
        except Overloaded as shed:
            self._counters.add("request_shed", who=self._service, reason=priority.name.lower())
            self._handlers.stats[work.method.name].shed += 1
            return answer_to(shed, may_repeat=True)  # nothing was done
        return work

    async def run(self, work: Work) -> Answer:
        """Work a request that was let in."""
        answer = STOPPED
        try:
            answer = await self._handlers.run(
                work.method, work.body, work.call, deadline_s=work.deadline_s
            )
        finally:
            if work.key is not None:
                self._recent.end(work.key, answer, self._clock.monotonic_s())
        return answer

    def cut_short(self, name: str) -> Answer:
        """What is told of a call that `stop` cut short: one that may act twice may be tried elsewhere."""
        method = self._handlers.method(name)
        if method is not None and method.is_idempotent:
            return Answer(status=pb.REPLY_STATUS_UNAVAILABLE, code=STOPPED.code)
        return STOPPED

    async def wait(self, again: Again) -> Answer:
        """The answer of the first try, when it is there."""
        try:
            async with asyncio.timeout_at(again.deadline_s):
                return await asyncio.shield(self._recent.answer(again.key))
        except TimeoutError:
            return LATE

    def _no_such_method(self) -> Answer:
        self._counters.add("request_refused", who=self._service, reason="no_such_method")
        return Answer(status=pb.REPLY_STATUS_NOT_FOUND, code="no_such_method")

    def _refused(self, code: str, *, detail: str = "") -> Answer:
        self._counters.add("request_refused", who=self._service, reason=code)
        return Answer(status=pb.REPLY_STATUS_INVALID, code=code, detail=detail)


__all__ = ["LATE", "STOPPED", "Again", "Gate", "Work"]
