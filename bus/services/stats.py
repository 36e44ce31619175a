"""What a server counts of each method, in ADR-32's terms."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from math import ceil
from typing import Final

_RECENT: Final = 512
"""Requests of which the time is remembered one by one, for the slowest of them."""


@dataclass(slots=True)
class MethodStats:
    """One endpoint's statistics since the start. Times are nanoseconds."""

    requests: int = 0
    errors: int = 0
    last_error: str = ""
    """A code; never words."""
    processing_ns: int = 0
    shed: int = 0
    """Requests refused because of overload, before any work. Not among `requests`."""
    in_work: int = 0
    _recent_ns: deque[int] = field(default_factory=lambda: deque(maxlen=_RECENT), repr=False)

    @property
    def average_ns(self) -> int:
        """Mean time in the handler; 0 before the first request."""
        return self.processing_ns // self.requests if self.requests else 0

    @property
    def p99_ns(self) -> int:
        """Time in the handler that 99 of 100 of the last requests did not exceed; 0 before the first request."""
        ordered = sorted(self._recent_ns)
        return ordered[ceil(len(ordered) * 0.99) - 1] if ordered else 0

    def ended(self, took_s: float, error: str) -> None:
        """One request was worked; `error` is the code that its caller was told, or empty."""
        self.requests += 1
        took_ns = round(took_s * 1e9)
        self.processing_ns += took_ns
        self._recent_ns.append(took_ns)
        if error:
            self.failed(error)

    def failed(self, error: str) -> None:
        """An answer that was no success."""
        self.errors += 1
        self.last_error = error


__all__ = ["MethodStats"]
