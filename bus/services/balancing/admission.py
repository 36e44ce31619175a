"""Whether a server takes a call in: before any work, by its priority, its deadline and what is in work already.

There is no queue here. A call that is not admitted is answered at once (`Overloaded`), while its caller can still ask
another instance; a call whose answer would come too late is refused before it costs anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from bus.flow.priority import Priority
from bus.services.balancing.limit import GradientLimit, LimitSettings
from bus.services.protocol import Overloaded
from bus.telemetry.counters import Counters
from schemas.clock import Clock

_WAIT_SHARE: Final = 0.2
_SOONEST_RETRY_S: Final = 0.005
_LATEST_RETRY_S: Final = 1.0
_BULK_PATIENCE: Final = 4.0


def _shares() -> Mapping[Priority, float]:
    return {Priority.STAT: 1.0, Priority.ROUTINE: 0.9, Priority.BULK: 0.6}


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionSettings:
    """How a server sheds."""

    limit: LimitSettings = field(default_factory=LimitSettings)
    shares: Mapping[Priority, float] = field(default_factory=_shares)
    """The share of the limit up to which calls of a priority are taken: bulk is shed first, stat has the last slots."""
    forget_wait_s: float = 30.0
    """The least wait before admission (the way, and clocks that differ) is found anew after this."""


class AdaptiveAdmission:
    """`bus.services.protocol.Admission`: an adaptive limit, shares by priority, and no work for late calls."""

    def __init__(
        self,
        *,
        clock: Clock,
        counters: Counters,
        who: str = "",
        settings: AdmissionSettings | None = None,
    ) -> None:
        self._settings = settings or AdmissionSettings()
        self._clock = clock
        self._counters = counters
        self._who = who
        now_s = clock.monotonic_s()
        self._limit = GradientLimit(self._settings.limit, now_s)
        self._in_flight = 0
        self._least_wait_s = float("inf")
        self._next_least_s = float("inf")
        self._wait_until_s = now_s + self._settings.forget_wait_s
        self._queued_s = 0.0
        self._fastest_s = 0.0

    @property
    def in_flight(self) -> int:
        """How many calls are in work."""
        return self._in_flight

    @property
    def limit(self) -> int:
        """How many may be, now."""
        return self._limit.limit

    def admit(self, priority: Priority, *, waited_s: float, left_s: float) -> None:
        """Take one in, to be ended by `done`. Raises `Overloaded`: counted as `call_shed` with its reason."""
        self._note_wait(waited_s)
        if left_s <= self._queued_s + self._fastest_s:
            self._shed("too_late", f"{max(0.0, left_s):.3f} s left, answers take longer", priority)
        limit = self._limit.limit
        allowed = max(1.0, limit * self._settings.shares[priority])
        if self._in_flight >= allowed:
            self._limit.refused()
            reason = f"limit_{priority.name.lower()}"
            self._shed(reason, f"{self._in_flight} calls in work, {limit} allowed", priority)
        self._in_flight += 1

    def done(self, took_s: float, *, ok: bool) -> None:
        """One that was admitted has ended. Only those that went well (`ok`) tell how long work takes."""
        if not self._in_flight:
            raise ValueError("more calls ended than were admitted")
        in_flight, self._in_flight = self._in_flight, self._in_flight - 1
        if not ok:
            return
        if took_s < self._fastest_s or not self._fastest_s:
            self._fastest_s = took_s
        else:
            self._fastest_s += (took_s - self._fastest_s) * 0.001
        self._limit.observe(took_s + self._queued_s, in_flight, self._clock.monotonic_s())

    def _note_wait(self, waited_s: float) -> None:
        """Follow how long calls wait before they get here, beyond the least that any of them waited lately."""
        now_s = self._clock.monotonic_s()
        if now_s >= self._wait_until_s:
            self._least_wait_s, self._next_least_s = self._next_least_s, waited_s
            self._wait_until_s = now_s + self._settings.forget_wait_s
        self._next_least_s = min(self._next_least_s, waited_s)
        self._least_wait_s = min(self._least_wait_s, self._next_least_s)
        self._queued_s += (waited_s - self._least_wait_s - self._queued_s) * _WAIT_SHARE

    def _shed(self, reason: str, detail: str, priority: Priority) -> None:
        self._counters.add("call_shed", who=self._who, reason=reason)
        patience = _BULK_PATIENCE if priority is Priority.BULK else 1.0
        wait_s = min(_LATEST_RETRY_S, max(_SOONEST_RETRY_S, self._limit.mean_s) * patience)
        raise Overloaded(f"{self._who or 'the service'}: {detail}", retry_after_s=wait_s)


__all__ = ["AdaptiveAdmission", "AdmissionSettings"]
