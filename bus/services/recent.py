"""What was asked a moment ago: a second try of a call that must not act twice gets the first one's answer."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum
from typing import Final

from bus.services.wire import Answer
from schemas.generated.medmesh.content.v1 import content_pb2 as pb

ANSWERED_BEFORE: Final = "answered_before"
"""The code for a second try whose answer was too much to keep: the work was done, once."""

Key = tuple[str, str, bytes]
"""Caller (SPIFFE id), method, call id."""


class Known(Enum):
    """What is known of a call that comes in."""

    NEW = "new"
    SAME = "same"
    """Another try of it is in work or was answered."""
    OTHER = "other"
    """The id was used before, for another request."""


@dataclass(slots=True)
class _Call:
    digest: bytes
    answer: asyncio.Future[Answer]
    expires_s: float = 0.0
    size: int = 0


class RecentCalls:
    """Answers of the last `keep_s` seconds, at most `max_calls` and `max_bytes` of bodies, the oldest out first.

    It is the memory of one instance: a try that went to another instance is not known here. What must not happen twice
    in a whole service is kept by its own database (`bus.transactions`).
    """

    def __init__(self, *, keep_s: float, max_calls: int, max_bytes: int) -> None:
        self._keep_s = keep_s
        self._max_calls = max_calls
        self._max_bytes = max_bytes
        self._in_work: dict[Key, _Call] = {}
        self._answered: OrderedDict[Key, _Call] = OrderedDict()
        self._bodies: OrderedDict[Key, _Call] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._in_work) + len(self._answered)

    @property
    def kept_bytes(self) -> int:
        """Size of the bodies that are kept."""
        return self._bytes

    def look(self, key: Key, digest: bytes, now_s: float) -> Known:
        """Whether the call is known."""
        self._expire(now_s)
        call = self._in_work.get(key) or self._answered.get(key)
        if call is None:
            return Known.NEW
        return Known.SAME if call.digest == digest else Known.OTHER

    def answer(self, key: Key) -> asyncio.Future[Answer]:
        """The answer of a known call, now or later. To be shielded: others wait for it, too."""
        return (self._in_work.get(key) or self._answered[key]).answer

    def begin(self, key: Key, digest: bytes) -> None:
        """A new call is in work from now on; `end` must follow."""
        self._in_work[key] = _Call(digest, asyncio.get_running_loop().create_future())

    def end(self, key: Key, answer: Answer, now_s: float) -> None:
        """The call was worked and answered so."""
        call = self._in_work.pop(key, None)
        if call is None:
            return
        call.answer.set_result(answer)
        call.expires_s = now_s + self._keep_s
        self._answered[key] = call
        if answer.body:
            call.size = len(answer.body)
            self._bytes += call.size
            self._bodies[key] = call
        while len(self._answered) > self._max_calls:
            self._drop_oldest()
        while self._bytes > self._max_bytes:
            _, oldest = self._bodies.popitem(last=False)
            self._forget_body(oldest)

    def _expire(self, now_s: float) -> None:
        while self._answered and next(iter(self._answered.values())).expires_s <= now_s:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        key, call = self._answered.popitem(last=False)
        self._bodies.pop(key, None)
        self._bytes -= call.size

    def _forget_body(self, call: _Call) -> None:
        self._bytes -= call.size
        call.size = 0
        call.answer = asyncio.get_running_loop().create_future()
        call.answer.set_result(Answer(status=pb.REPLY_STATUS_FAILED, code=ANSWERED_BEFORE))


__all__ = ["ANSWERED_BEFORE", "Key", "Known", "RecentCalls"]
