"""A token bucket: so many a second on average, so many at once."""

from __future__ import annotations


class TokenBucket:
    """Limits a rate. Times are the caller's monotonic seconds."""

    def __init__(self, *, per_s: float, burst: int, now_s: float) -> None:
        if per_s <= 0 or burst < 1:
            raise ValueError(f"rate {per_s}/s with burst {burst}: both must be above 0")
        self._per_s = per_s
        self._burst = float(burst)
        self._tokens = float(burst)
        self._at_s = now_s

    def take(self, now_s: float, tokens: int = 1) -> float:
        """Take `tokens` and return 0.0, or take nothing and return the seconds after which they will be there.

        Raises `ValueError` for more tokens than `burst`: they would never be there.
        """
        if tokens > self._burst:
            raise ValueError(f"{tokens} tokens at once; the burst is {self._burst:.0f}")
        self._tokens = min(self._burst, self._tokens + max(0.0, now_s - self._at_s) * self._per_s)
        self._at_s = max(self._at_s, now_s)
        if self._tokens + 1e-9 >= tokens:
            self._tokens = max(0.0, self._tokens - tokens)
            return 0.0
        return (tokens - self._tokens) / self._per_s


__all__ = ["TokenBucket"]
