"""What one caller knows of one instance from its own calls."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from bus.services.balancing.breaker import Breaker, Gate
from bus.services.balancing.latency import PeakEwma
from bus.services.protocol import Health, Instance

_COOLING_FACTOR: Final = 16.0
_LONGEST_COOLING_S: Final = 1.0
_FULL_WEIGHT: Final = 100.0


@dataclass(slots=True)
class Tally:
    """Answers since the last verdict."""

    since_s: float
    answered: int = 0
    failed: int = 0
    took_s: float = 0.0
    """Sum over the answered ones."""

    @property
    def calls(self) -> int:
        """How many tries ended with a verdict."""
        return self.answered + self.failed

    @property
    def mean_s(self) -> float:
        """Mean latency of the answered ones; 0 without any."""
        return self.took_s / self.answered if self.answered else 0.0


@dataclass(slots=True, eq=False)
class Member:
    """One instance in the eyes of one caller."""

    instance: Instance
    tier: int
    joined_s: float
    """When it started, or came back; its weight grows from then on."""
    latency: PeakEwma
    tally: Tally
    floor_s: float
    """No latency is thought to be less: what is not known looks neither free nor equal at any load."""
    slow_start_s: float
    least_weight: float
    health: Health = Health.HEALTHY
    reason: str = ""
    breaker: Breaker = field(default_factory=Breaker)
    failures: int = 0
    """Failures in a row."""
    begun: dict[int, float] = field(default_factory=dict)
    """Tries under way: number to when an answer was due, as far as the caller knows how long that method takes."""
    answered_s: float = 0.0
    """When it last answered."""
    mean_s: float = 0.0
    """Mean latency at the last verdict."""
    cooling_until_s: float = 0.0
    cooling_s: float = 0.0

    @property
    def in_flight(self) -> int:
        """Tries under way from this caller."""
        return len(self.begun)

    @property
    def is_closed(self) -> bool:
        """Whether its breaker lets every call pass."""
        return self.breaker.state is Gate.CLOSED

    def late_s(self, now_s: float) -> float:
        """For how long the answer that was due first has been due."""
        return max(0.0, now_s - min(self.begun.values())) if self.begun else 0.0

    def weight(self, now_s: float) -> float:
        """Its share by what it offers, less while it is new (1 is the usual)."""
        full = max(1, self.instance.weight) / _FULL_WEIGHT
        age_s = now_s - self.joined_s
        if age_s >= self.slow_start_s:
            return full
        return full * max(self.least_weight, age_s / self.slow_start_s)

    def score(self, now_s: float) -> float:
        """Expected seconds for one more call: the less, the better.

        An answer that is late counts as a latency before it comes: an instance that has stopped answering is avoided
        after the time of an ordinary answer, not after its first deadline.
        """
        latency_s = max(self.latency.at(now_s), self.late_s(now_s), self.floor_s)
        score = latency_s * (len(self.begun) + 1) / self.weight(now_s)
        return score * _COOLING_FACTOR if now_s < self.cooling_until_s else score

    def answered(self, took_s: float, now_s: float) -> None:
        """It gave an answer."""
        self.latency.observe(took_s, now_s)
        self.answered_s = now_s
        self.tally.answered += 1
        self.tally.took_s += took_s
        self.failures = 0
        self.cooling_s = 0.0

    def failed(self, took_s: float, now_s: float) -> None:
        """It failed, or was too late."""
        self.latency.observe(max(took_s, self.latency.at(now_s)), now_s)
        self.tally.failed += 1
        self.failures += 1

    def overloaded(self, now_s: float, first_s: float) -> None:
        """It shed the call: others are asked rather, for longer at each repeat."""
        self.answered_s = now_s
        self.failures = 0
        self.cooling_s = min(_LONGEST_COOLING_S, max(first_s, self.cooling_s * 2.0))
        self.cooling_until_s = now_s + self.cooling_s


__all__ = ["Member", "Tally"]
