"""How long to wait before the next attempt: exponential, bounded, spread by chance."""

from __future__ import annotations

from typing import Protocol


class Chance(Protocol):
    """The one method of `random.Random` that spreading needs."""

    def random(self) -> float:
        """A number in [0, 1)."""
        ...


class Delays(Protocol):
    """The shape of a retry policy; `bus.events.protocol.RetryPolicy` has it."""

    @property
    def first_delay_s(self) -> float:
        """Delay after the first failure."""
        ...

    @property
    def longest_delay_s(self) -> float:
        """No delay is longer."""
        ...

    @property
    def multiplier(self) -> float:
        """By how much each delay exceeds the one before."""
        ...

    @property
    def jitter(self) -> float:
        """Share of each delay that is random, 0 to 1."""
        ...


_MAX_EXPONENT = 64


def backoff_s(delays: Delays, failures: int, chance: Chance) -> float:
    """Seconds to wait after the `failures`-th failure in a row (1 is the first).

    The result lies in (1 - jitter, 1] times the exponential delay, and never above `longest_delay_s`.
    """
    exponent = min(max(failures, 1) - 1, _MAX_EXPONENT)
    full_s = min(delays.longest_delay_s, delays.first_delay_s * delays.multiplier**exponent)
    return full_s * (1.0 - delays.jitter * chance.random())


__all__ = ["Chance", "Delays", "backoff_s"]
