"""A world for state machines: events in order of time, chance from one seed, processes that stop and links that fail.

Nothing here knows what is simulated. Time jumps from one event to the next, so a minute costs as much as what happens
in it. A run is repeated exactly by its seed.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
Do = Callable[[], object]


class Timer:
    """Something that will happen, unless it is cancelled."""

    __slots__ = ("do",)

    def __init__(self, do: Do) -> None:
        self.do: Do | None = do

    def cancel(self) -> None:
        self.do = None


class Simulation:
    """The queue of what will happen, and the one source of chance."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.now_s = 0.0
        self._queue: list[tuple[float, int, Timer]] = []
        self._count = 0

    def after(self, delay_s: float, do: Do) -> Timer:
        """Let something happen later."""
        timer = Timer(do)
        self._count += 1
        heapq.heappush(self._queue, (self.now_s + delay_s, self._count, timer))
        return timer

    def run(self, *, until_s: float, done: Callable[[], bool] = lambda: False) -> bool:
        """Let things happen until the time is over; True as soon as `done` says so."""
        while self._queue and self._queue[0][0] <= until_s:
            self.now_s, _, timer = heapq.heappop(self._queue)
            do, timer.do = timer.do, None
            if do is None:
                continue
            do()
            if done():
                return True
        self.now_s = until_s
        return done()

    def happens(self, probability: float) -> bool:
        """Throw a die."""
        return self.chance.random() < probability


class Process:
    """Something with a clock of its own that can be stopped for a while (SIGSTOP) or for ever (kill -9)."""

    def __init__(self, simulation: Simulation, *, drift: float = 0.0) -> None:
        self.simulation = simulation
        self.is_paused = False
        self.is_dead = False
        self._rate = 1.0 + simulation.chance.uniform(-drift, drift)
        self._start_s = simulation.chance.uniform(0, 1000)
        self._waiting: list[Do] = []

    def now_s(self) -> float:
        """Its own monotonic clock, which runs on while it is paused."""
        return self._start_s + self.simulation.now_s * self._rate

    def after(self, delay_s: float, do: Do) -> Timer:
        """A timer of this process, by its own clock."""
        return self.simulation.after(delay_s / self._rate, lambda: self.get(do))

    def get(self, do: Do) -> None:
        """Something reaches the process: now, when it goes on, or never."""
        if self.is_dead:
            return
        if self.is_paused:
            self._waiting.append(do)
            return
        do()

    def pause(self) -> None:
        self.is_paused = True

    def resume(self) -> None:
        """Go on: what came meanwhile is handled in any order, as an event loop finds it."""
        self.is_paused = False
        waiting, self._waiting = self._waiting, []
        self.simulation.chance.shuffle(waiting)
        for do in waiting:
            self.get(do)

    def kill(self) -> None:
        self.is_dead = True


@dataclass
class Weather:
    """How bad the way to the server is."""

    loss: float = 0.0
    """Of a request or of its answer: the caller learns nothing."""
    late: float = 0.0
    """Share of requests that arrive up to `latest_s` later, maybe long after the caller has given up."""
    latest_s: float = 4.0
    lag: float = 0.0
    """Share of what the server pushes that holds up itself and all behind it for up to `latest_s`."""
    twice: float = 0.0
    """Share of requests that arrive two times."""


class Server:
    """Answers while it is up; what it holds outlives it."""

    def __init__(self) -> None:
        self.is_up = True


class Link:
    """The way of one process to the server."""

    def __init__(self, process: Process, server: Server, weather: Weather) -> None:
        self.process = process
        self.server = server
        self.weather = weather
        self.is_up = True
        self._last_s = 0.0

    def ask(
        self,
        request: Callable[[], T],
        answered: Callable[[T], object],
        failed: Do,
        *,
        timeout_s: float,
    ) -> None:
        """Have the server carry out `request`; exactly one of `answered` and `failed` is called, unless we die."""
        simulation, weather = self.process.simulation, self.weather
        end = _Once()
        self.process.after(timeout_s, lambda: failed() if end.take() else None)

        def arrive(answers: bool) -> None:
            if not (self.server.is_up and self.is_up):
                return
            result = request()
            if answers and not simulation.happens(weather.loss):
                simulation.after(self._way_s(), lambda: come_back(result))

        def come_back(result: T) -> None:
            if self.is_up:
                self.process.get(lambda: answered(result) if end.take() else None)

        if not simulation.happens(weather.loss):
            simulation.after(self._way_s(), lambda: arrive(answers=True))
            if simulation.happens(weather.twice):
                simulation.after(self._way_s(), lambda: arrive(answers=False))

    def tell(self, request: Do) -> None:
        """Send without an answer; it may be lost."""
        simulation = self.process.simulation
        if self.is_up and not simulation.happens(self.weather.loss):
            way_s = 0.001 + simulation.chance.random() * 0.01
            simulation.after(way_s, lambda: request() if self._is_whole() else None)

    def _is_whole(self) -> bool:
        return self.is_up and self.server.is_up

    def push(self, do: Do) -> None:
        """Something from the server, in its order."""
        simulation = self.process.simulation
        if not (self.is_up and self.server.is_up):
            return
        way_s = 0.001 + simulation.chance.random() * 0.01
        if simulation.chance.random() < self.weather.lag:
            way_s += simulation.chance.random() * self.weather.latest_s
        at_s = max(self._last_s, simulation.now_s + way_s)
        self._last_s = at_s
        simulation.after(
            at_s - simulation.now_s, lambda: self.process.get(do) if self.is_up else None
        )

    def _way_s(self) -> float:
        chance = self.process.simulation.chance
        if chance.random() < self.weather.late:
            return chance.random() * self.weather.latest_s
        return 0.001 + chance.random() * 0.01


class _Once:
    """Whether it is still open which of several will be the one."""

    def __init__(self) -> None:
        self._is_taken = False

    def take(self) -> bool:
        taken, self._is_taken = self._is_taken, True
        return not taken


@dataclass
class Written(Generic[T]):
    """A register's newest value."""

    value: T
    revision: int


class Registers(Generic[T]):
    """Versioned values with compare-and-set and watchers, as a bucket has them."""

    def __init__(self) -> None:
        self.values: dict[str, Written[T]] = {}
        self.revision = 0
        self._watchers: list[tuple[Link, Callable[[str, T, int], None]]] = []

    def swap(self, key: str, value: T, revision: int) -> int | None:
        """Write if the key stands at `revision` (0: not there); the new revision, or None."""
        found = self.values.get(key)
        if (found.revision if found else 0) != revision:
            return None
        self.revision += 1
        self.values[key] = Written(value, self.revision)
        for link, changed in self._watchers:
            link.push(_report(changed, key, value, self.revision))
        return self.revision

    def get(self, key: str) -> Written[T] | None:
        return self.values.get(key)

    def watch(self, link: Link, changed: Callable[[str, T, int], None]) -> None:
        """Report what is there, then each change, as long as the link is up; `catch_up` after it was not."""
        self._watchers.append((link, changed))
        self.catch_up(link)

    def catch_up(self, link: Link) -> None:
        """Report everything again to those who watch by this link."""
        for other, changed in self._watchers:
            if other is link:
                for key, written in self.values.items():
                    link.push(_report(changed, key, written.value, written.revision))


def _report(changed: Callable[[str, T, int], None], key: str, value: T, revision: int) -> Do:
    return lambda: changed(key, value, revision)
