"""A registry on paper, and a picker on a clock that the test moves."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from bus.services.balancing import BalancedPicker, BalancingSettings, InstanceView
from bus.services.protocol import Attempt, Health, Instance, Load, Outcome, Seen
from bus.telemetry.counters import Counters
from schemas.clock import FakeClock

HOUR_MS = 3_600_000


class Book:
    """Who runs, as a test says."""

    def __init__(self) -> None:
        self.seen: dict[str, Seen] = {}
        self.listeners: list[Callable[[Seen], None]] = []

    def put(self, one: Seen) -> None:
        self.seen[one.instance.id] = one
        for listener in self.listeners:
            listener(one)

    def instances(self, service: str, major: int) -> Sequence[Seen]:
        return list(self.seen.values())

    def services(self) -> dict[str, Sequence[Seen]]:
        return {"lab": list(self.seen.values())}

    def missing(self, instance: Instance) -> None:
        self.seen.pop(instance.id, None)

    def heard(self, service: str, instance: str, load: Load) -> None:
        pass

    def on_change(self, changed: Callable[[Seen], None]) -> Callable[[], None]:
        self.listeners.append(changed)
        return lambda: self.listeners.remove(changed)


class Bench:
    """One picker with everything around it."""

    def __init__(
        self,
        names: Iterable[str] = ("a", "b", "c", "d"),
        *,
        settings: BalancingSettings | None = None,
        zone: str = "",
        seed: int = 1,
    ) -> None:
        self.clock = FakeClock()
        self.book = Book()
        self.counters = Counters()
        for name in names:
            self.add(name)
        self.picker = BalancedPicker(
            self.book,
            "lab",
            1,
            site="north",
            zone=zone,
            clock=self.clock,
            chance=random.Random(seed),
            counters=self.counters,
            settings=settings,
        )

    def add(
        self,
        name: str,
        *,
        site: str = "north",
        zone: str = "",
        health: Health = Health.HEALTHY,
        weight: int = 100,
        is_new: bool = False,
    ) -> None:
        started = self.clock.now_ms() - (0 if is_new else HOUR_MS)
        instance = Instance(
            service="lab",
            id=name,
            version="1.0.0",
            site=site,
            zone=zone,
            weight=weight,
            started_ms=started,
        )
        self.book.put(Seen(instance=instance, health=health))

    def turn(self, name: str, health: Health) -> None:
        self.book.put(replace(self.book.seen[name], health=health))

    def call(self, took_s: float = 0.01, outcome: Outcome = Outcome.ANSWERED) -> str:
        """One try from begin to end; returns who was asked."""
        attempt = self.picker.pick()
        self.clock.advance(took_s)
        attempt.ended(outcome)
        return attempt.instance.id

    def ask(self, name: str) -> Attempt:
        """Begin a try at this very instance."""
        others = frozenset(self.book.seen) - {name}
        return self.picker.pick(exclude=others)

    def fail(self, name: str, times: int) -> None:
        for _ in range(times):
            self.ask(name).ended(Outcome.FAILED)

    def view(self, name: str) -> InstanceView:
        return next(one for one in self.picker.snapshot() if one.instance == name)
