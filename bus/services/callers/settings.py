"""What a caller can be told."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from bus.services.balancing import BalancingSettings, BudgetSettings


class Hedge(Enum):
    """Whether a second instance is asked while the first one has not answered."""

    NEVER = "never"
    LATE = "late"
    """When the answer takes longer than 95 of 100 of that method's answers did lately."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pauses:
    """Waits between the tries of one call: `bus.flow.backoff.Delays`."""

    first_delay_s: float = 0.01
    longest_delay_s: float = 0.5
    multiplier: float = 2.0
    jitter: float = 0.5


def _hedges() -> BudgetSettings:
    return BudgetSettings(share=0.1, per_s=1.0, burst=5, most=50.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSettings:
    """How calls are tried again, hedged and bounded; for each service."""

    max_tries: int = 3
    """Tries of one call that may have done work, or were shed."""
    max_misses: int = 8
    """Tries of one call that found nobody: they cost next to nothing, and the instance leaves the table."""
    try_share: float = 0.5
    """A try that may be repeated gets this share of the time left, so that there is time to ask another instance."""
    pauses: Pauses = field(default_factory=Pauses)
    retries: BudgetSettings = field(default_factory=BudgetSettings)
    hedges: BudgetSettings = field(default_factory=_hedges)
    hedge_quantile: float = 0.95
    max_in_flight: int = 1024
    """Calls of this process under way to one service …"""
    max_pending: int = 1024
    """… and calls that wait for one of those to end, in their order. More are shed (`Overloaded`)."""
    balancing: BalancingSettings = field(default_factory=BalancingSettings)


__all__ = ["CallSettings", "Hedge", "Pauses"]
