"""What a server counts of each method, in ADR-32's terms."""

from __future__ import annotations

from dataclasses import dataclass


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

    @property
    def average_ns(self) -> int:
        """Mean time in the handler; 0 before the first request."""
        return self.processing_ns // self.requests if self.requests else 0

    def ended(self, took_s: float, error: str) -> None:
        """One request was worked; `error` is the code that its caller was told, or empty."""
        self.requests += 1
        self.processing_ns += round(took_s * 1e9)
        if error:
            self.failed(error)

    def failed(self, error: str) -> None:
        """An answer that was no success."""
        self.errors += 1
        self.last_error = error


__all__ = ["MethodStats"]
