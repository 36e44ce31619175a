"""A long line, modelled: rate, delay, a buffer, loss, cuts and several senders, on a clock that nobody waits for."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from bus.flow import Window
from schemas.clock import FakeClock

ANSWER_TIMEOUT_S = 5.0


@dataclass(eq=False)
class Sender:
    """Sends events of one size as its window allows; resends what was lost."""

    window: Window
    size: int = 2048
    starts_s: float = 0.0
    ends_s: float = float("inf")
    rate_bytes_s: float = float("inf")
    """What the application has to send; infinite: always something."""
    sent: int = 0
    """Bytes taken from the application so far."""
    delivered: list[tuple[float, int]] = field(default_factory=list)
    rtts: list[tuple[float, float]] = field(default_factory=list)
    losses: int = 0
    last_answer_s: float = 0.0
    next_s: float = 0.0
    """When the application has its next event."""

    def wants(self, now_s: float) -> bool:
        """Whether the application has an event now."""
        if not self.starts_s <= now_s < self.ends_s:
            return False
        if self.rate_bytes_s == float("inf"):
            return True
        return self.sent + self.size <= (now_s - self.starts_s) * self.rate_bytes_s + 1

    def rate(self, begin_s: float, end_s: float) -> float:
        """Bytes a second that were answered in a span of time."""
        done = sum(size for at, size in self.delivered if begin_s <= at < end_s)
        return done / (end_s - begin_s)

    def rtt_s(self, begin_s: float, end_s: float, quantile: float = 0.5) -> float:
        """A quantile of the round trips answered in a span of time."""
        found = sorted(rtt for at, rtt in self.rtts if begin_s <= at < end_s)
        return found[min(len(found) - 1, int(quantile * len(found)))]


class LongLink:
    """One line that all senders share.

    `loss_is_hidden`: as over TCP, a lost event arrives one round trip later and holds up what is behind it. Otherwise
    its sender is told that it was lost.
    """

    def __init__(
        self,
        *,
        rate_bytes_s: float,
        rtt_s: float,
        buffer_s: float = 1.0,
        loss: float = 0.0,
        loss_is_hidden: bool = True,
        seed: int = 1,
    ) -> None:
        self.clock = FakeClock()
        self.rate_bytes_s = rate_bytes_s
        self.rtt_s = rtt_s
        self.buffer_s = buffer_s
        self.loss = loss
        self._hidden = loss_is_hidden
        self._chance = random.Random(seed)
        self._busy_s = 0.0
        self._cut_until_s = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self.senders: list[Sender] = []

    @property
    def now_s(self) -> float:
        return self.clock.monotonic_s()

    def at(self, when_s: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when_s, next(self._numbers), call))

    def add(self, sender: Sender) -> Sender:
        self.senders.append(sender)
        self.at(sender.starts_s, lambda: self._pump(sender))
        return sender

    def cut(self, seconds: float) -> None:
        """Nothing passes for a while; what is under way comes afterwards, as TCP brings it."""
        self._cut_until_s = self.now_s + seconds
        self._busy_s = max(self._busy_s, self._cut_until_s)

    def run(self, until_s: float) -> None:
        while self._events and self._events[0][0] <= until_s:
            when_s, _, call = heapq.heappop(self._events)
            self.clock.advance(max(0.0, when_s - self.now_s))
            call()
        self.clock.advance(max(0.0, until_s - self.now_s))

    def _pump(self, sender: Sender) -> None:
        now_s = self.now_s
        while sender.wants(now_s) and sender.window.may_send(sender.size):
            sender.window.sent(sender.size, now_s)
            sender.sent += sender.size
            self._send(sender)
        if sender.rate_bytes_s < float("inf") and now_s < sender.ends_s:
            due_s = sender.starts_s + (sender.sent + sender.size) / sender.rate_bytes_s
            if max(due_s, sender.next_s) > now_s and due_s != sender.next_s:
                sender.next_s = due_s
                self.at(due_s, lambda: self._pump(sender))

    def _send(self, sender: Sender) -> None:
        now_s = self.now_s
        is_lost = (
            self._busy_s - now_s > self.buffer_s + max(0.0, self._cut_until_s - now_s)
            or self._chance.random() < self.loss
        )
        if not is_lost or self._hidden:
            self._busy_s = max(self._busy_s, now_s) + sender.size / self.rate_bytes_s
        answer_s = max(self._busy_s, now_s) + self.rtt_s * (
            1 if not is_lost or not self._hidden else 2
        )
        answer_s += self._chance.random() * 0.0005
        if self._hidden:
            answer_s = sender.last_answer_s = max(answer_s, sender.last_answer_s)
        if is_lost and not self._hidden:
            self.at(answer_s, lambda: self._lose(sender))
        elif answer_s - now_s > ANSWER_TIMEOUT_S:
            self.at(now_s + ANSWER_TIMEOUT_S, lambda: self._lose(sender))
        else:
            self.at(answer_s, lambda: self._answer(sender, now_s))

    def _answer(self, sender: Sender, sent_s: float) -> None:
        now_s = self.now_s
        sender.window.acknowledged(sender.size, now_s, now_s - sent_s)
        sender.delivered.append((now_s, sender.size))
        sender.rtts.append((now_s, now_s - sent_s))
        self._pump(sender)

    def _lose(self, sender: Sender) -> None:
        sender.window.lost(sender.size, self.now_s)
        sender.losses += 1
        sender.sent -= sender.size
        self._pump(sender)
