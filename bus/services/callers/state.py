"""What a caller keeps for each service and for each call under way."""

from __future__ import annotations

from dataclasses import dataclass, field

from bus.services.balancing import BalancedPicker, LatencyHistogram, RetryBudget
from bus.services.callers.settings import Hedge
from bus.services.callers.slots import Slots
from bus.services.protocol import Request


@dataclass(frozen=True, slots=True)
class CalledService:
    """What is kept for each service that is called."""

    picker: BalancedPicker
    slots: Slots
    retries: RetryBudget
    hedges: RetryBudget
    latencies: dict[str, LatencyHistogram] = field(default_factory=dict)


@dataclass(slots=True)
class Call:
    """One call under way."""

    request: Request
    service: CalledService
    deadline_s: float
    is_idempotent: bool
    key: bytes
    hedge: float | Hedge
    sent: int = 0
    """Tries that began, hedges included."""
    tries: int = 0
    """Tries and rounds that ended badly, but for those that found nobody."""
    misses: int = 0
    asked: set[str] = field(default_factory=set)
    again_at_s: float = 0.0
    """Instances that shed this call want to be left alone until then."""


__all__ = ["Call", "CalledService"]
