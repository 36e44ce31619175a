"""Runs handlers: within the deadline, counted, and with every error turned into an answer that holds no content."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from typing import Final

from bus.services.context import enter, leave
from bus.services.protocol import Admission, CallContext, Load, Method, Offer
from bus.services.stats import MethodStats
from bus.services.wire import INTERNAL, Answer, answer_to
from bus.telemetry.counters import Counters
from bus.telemetry.log import logger
from schemas.errors import DeadlineExceeded
from schemas.generated.medmesh.content.v1 import content_pb2 as pb

_INSTANCE_IS_WELL: Final = frozenset(
    {
        pb.REPLY_STATUS_OK,
        pb.REPLY_STATUS_INVALID,
        pb.REPLY_STATUS_REFUSED,
        pb.REPLY_STATUS_NOT_FOUND,
    }
)
_log = logger(__name__)


class Handlers:
    """The handlers of one instance, with what is in work and what was."""

    def __init__(self, offer: Offer, *, admission: Admission, counters: Counters) -> None:
        self._service = offer.name
        self._admission = admission
        self._counters = counters
        self._methods = {method.name: method for method in offer.methods}
        self._in_work: dict[int, float] = {}
        self._numbers = itertools.count()
        self.stats: Mapping[str, MethodStats] = {name: MethodStats() for name in self._methods}

    def method(self, name: str) -> Method | None:
        """The method of that name."""
        return self._methods.get(name)

    def load(self, now_s: float, answered: int) -> Load:
        """How busy this instance is."""
        oldest = next(iter(self._in_work.values()), now_s)
        return Load(
            in_flight=self._admission.in_flight,
            limit=self._admission.limit,
            oldest_s=max(0.0, now_s - oldest),
            answered=answered,
        )

    async def run(
        self, method: Method, body: bytes, call: CallContext, *, deadline_s: float
    ) -> Answer:
        """Work one request that was admitted; its end is reported to `Admission` whatever happens.

        Cancelling it cancels the handler.
        """
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        stats = self.stats[method.name]
        stats.in_work += 1
        number = next(self._numbers)
        self._in_work[number] = began_s
        answer = Answer(status=pb.REPLY_STATUS_FAILED, code="stopped")
        is_cut = True
        try:
            answer = await self._answer(method, body, call, deadline_s)
            is_cut = False
        finally:
            took_s = loop.time() - began_s
            del self._in_work[number]
            stats.in_work -= 1
            stats.ended(took_s, answer.code)
            # that it was cut short says nothing of how the instance is
            self._admission.done(took_s, ok=is_cut or answer.status in _INSTANCE_IS_WELL)
        return answer

    async def _answer(
        self, method: Method, body: bytes, call: CallContext, deadline_s: float
    ) -> Answer:
        limit = asyncio.timeout_at(deadline_s)
        token = enter(call)
        try:
            async with limit:
                return Answer(type=method.response_type, body=await _run(method, body, call))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return self._failed(method, Answer(status=pb.REPLY_STATUS_FAILED, code=INTERNAL), "")
        except Exception as error:  # noqa: BLE001 -- a handler may raise anything; its caller gets a code
            if limit.expired() and isinstance(error, TimeoutError):
                late = Answer(status=pb.REPLY_STATUS_DEADLINE_EXCEEDED, code=DeadlineExceeded.code)
                return self._failed(method, late, "")
            answer = answer_to(error, may_repeat=method.is_idempotent)
            return self._failed(method, answer, type(error).__name__)
        finally:
            leave(token)

    def _failed(self, method: Method, answer: Answer, error_type: str) -> Answer:
        self._counters.add("call_failed", who=self._service, reason=answer.code)
        if answer.status not in _INSTANCE_IS_WELL:
            _log.warning(
                "call_failed",
                service=self._service,
                unit=method.name,
                code=answer.code,
                error_type=error_type,
            )
        return answer


async def _run(method: Method, body: bytes, call: CallContext) -> bytes:
    answer = await method.handler(body, call)
    if not isinstance(answer, bytes):
        raise TypeError(f"the handler of {method.name} returned no bytes")
    return answer


__all__ = ["Handlers"]
