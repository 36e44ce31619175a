"""How many extra tries a caller may make: a share of its calls, so that retries never become a storm."""

from __future__ import annotations

from dataclasses import dataclass

from bus.flow.rates import TokenBucket


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetSettings:
    """A retry budget."""

    share: float = 0.2
    """Extra tries for each call: 0.2 lets load grow by a fifth at the worst."""
    per_s: float = 5.0
    """Extra tries a second that are always there, for callers with few calls."""
    burst: int = 10
    """How many of those at once."""
    most: float = 100.0
    """What calls can save up."""


class RetryBudget:
    """Each call puts `share` of a token in; each extra try takes one out."""

    def __init__(self, settings: BudgetSettings, now_s: float) -> None:
        self._settings = settings
        self._saved = 0.0
        self._reserve = TokenBucket(per_s=settings.per_s, burst=settings.burst, now_s=now_s)

    def called(self) -> None:
        """A new call begins."""
        self._saved = min(self._settings.most, self._saved + self._settings.share)

    def take(self, now_s: float) -> bool:
        """Pay for one extra try, or learn that it must not be made."""
        if self._saved >= 1.0:
            self._saved -= 1.0
            return True
        return self._reserve.take(now_s) == 0.0


__all__ = ["BudgetSettings", "RetryBudget"]
