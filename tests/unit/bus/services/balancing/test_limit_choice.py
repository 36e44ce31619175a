"""Which way to find a limit: ours, AIMD and gradient2 in one simulated server, healthy, overloaded and after.

A server with 8 slots of 10 ms and a queue in front of them (its database, say), at 3 times its capacity. A call is
worth something within 100 ms. The best limit is a little over 8.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from functools import cache
from typing import Protocol

import pytest

from bus.services.balancing import GradientLimit, LimitSettings
from tests.unit.bus.services.world import SimulatedLoop, simulate

SLOTS = 8
SERVICE_S = 0.01
CAPACITY = SLOTS / SERVICE_S
PATIENCE_S = 0.1
OVERLOAD_S = 12.0


class Limit(Protocol):
    @property
    def limit(self) -> int: ...
    def refused(self) -> None: ...
    def observe(self, took_s: float, in_flight: int, now_s: float) -> None: ...


@dataclass
class Aimd:
    """Netflix' AIMDLimit: down by a tenth on an answer later than a bound that somebody has to know."""

    late_s: float
    value: float = 32.0

    @property
    def limit(self) -> int:
        return int(self.value)

    def refused(self) -> None:
        pass

    def observe(self, took_s: float, in_flight: int, now_s: float) -> None:
        if took_s > self.late_s:
            self.value = max(4.0, self.value * 0.9)
        elif in_flight * 2 >= self.value:
            self.value += 1.0


@dataclass
class Gradient2:
    """Netflix' Gradient2Limit: against a long-term mean, which a lasting overload drags along."""

    value: float = 32.0
    long_s: float = 0.0

    @property
    def limit(self) -> int:
        return int(self.value)

    def refused(self) -> None:
        pass

    def observe(self, took_s: float, in_flight: int, now_s: float) -> None:
        self.long_s += (took_s - self.long_s) * (2 / 601 if self.long_s else 1.0)
        if self.long_s / took_s > 2.0:
            self.long_s *= 0.95
        if in_flight * 2 < self.value:
            return
        gradient = max(0.5, min(1.0, 1.5 * self.long_s / took_s))
        wanted = self.value * gradient + 4.0
        self.value = min(1000.0, max(4.0, self.value * 0.8 + wanted * 0.2))


@dataclass
class Outcome:
    good: int = 0
    shed: int = 0
    took_s: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        ordered = sorted(self.took_s)
        p50, p99 = (ordered[int(len(ordered) * q)] * 1e3 for q in (0.5, 0.99))
        return f"good {self.good} of {len(ordered)} admitted, {self.shed} shed, p50 {p50:.0f} p99 {p99:.0f} ms"


async def serve(
    loop: SimulatedLoop, limit: Limit, chance: random.Random, *, load: float, for_s: float
) -> Outcome:
    """Poisson load on one server behind a limit."""
    outcome, free, in_flight = Outcome(), asyncio.Semaphore(SLOTS), 0

    async def one() -> None:
        nonlocal in_flight
        if in_flight >= limit.limit:
            outcome.shed += 1
            limit.refused()
            return
        in_flight += 1
        began_s = loop.time()
        async with free:
            await asyncio.sleep(SERVICE_S * chance.expovariate(1.0))
        took_s = loop.time() - began_s
        limit.observe(took_s, in_flight, loop.time())
        in_flight -= 1
        outcome.took_s.append(took_s)
        outcome.good += took_s <= PATIENCE_S

    end_s = loop.time() + for_s
    async with asyncio.TaskGroup() as tasks:
        while loop.time() < end_s:
            await asyncio.sleep(chance.expovariate(load * CAPACITY))
            tasks.create_task(one())
    return outcome


SAME = 0.02
"""Goodput that differs by no more differs by chance."""


@cache
def trial(kind: str, seed: int) -> tuple[float, float, Outcome]:
    """Goodput of capacity at 3 times the load for 12 s, share served afterwards at 70 %, and the former's outcome."""

    async def play(loop: SimulatedLoop) -> tuple[float, float, Outcome]:
        limits: dict[str, Limit] = {
            "ours": GradientLimit(LimitSettings(), loop.time()),
            "aimd, bound well known": Aimd(0.05),
            "aimd, bound of another method": Aimd(1.0),
            "gradient2": Gradient2(),
        }
        limit, chance = limits[kind], random.Random(seed)
        await serve(loop, limit, chance, load=0.5, for_s=3.0)
        over = await serve(loop, limit, chance, load=3.0, for_s=OVERLOAD_S)
        after = await serve(loop, limit, chance, load=0.7, for_s=2.0)
        return (
            over.good / (OVERLOAD_S * CAPACITY),
            after.good / max(1, len(after.took_s) + after.shed),
            over,
        )

    return simulate(play)


def test_our_limit_holds_goodput_through_a_long_overload_without_being_told_a_latency() -> None:
    goodput, after, over = trial("ours", 1)
    assert goodput > 0.9, f"{goodput:.2f}: {over}"
    assert after > 0.98, f"{after:.2f} served right after the overload"


@pytest.mark.parametrize(
    ("other", "least"),
    [("aimd, bound well known", 0.0), ("aimd, bound of another method", 0.5), ("gradient2", 0.0)],
)
def test_other_limits_keep_no_more_goodput_and_some_far_less(other: str, least: float) -> None:
    ours, _, told = trial("ours", 1)
    theirs, _, over = trial(other, 1)
    assert ours >= theirs + least - SAME, f"ours {ours:.2f}: {told}; {other} {theirs:.2f}: {over}"
