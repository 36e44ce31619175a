"""Which instances are worse than their peers: found by what they answered, without asking anybody.

Envoy's outlier detection on a caller's own calls, plus two things that it has not: latency against the median of the
peers, and instances that take calls and answer none while others answer (wedged ones keep sending heartbeats).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from bus.services.balancing.breaker import OpenTimes
from bus.services.balancing.member import Member, Tally

CONSECUTIVE: Final = "consecutive_failures"
FAILING: Final = "failing"
SLOW: Final = "slow"
UNANSWERED: Final = "unanswered"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlierSettings:
    """When an instance is left out, and for how long."""

    failures: int = 5
    """So many failures in a row."""
    look_every_s: float = 0.25
    least_calls: int = 10
    """No verdict on rate or latency with fewer calls."""
    forget_s: float = 10.0
    """Fewer calls than that in this time are forgotten."""
    failing_share: float = 0.25
    """More failures than the median of the peers by this share of calls."""
    slow_factor: float = 8.0
    """Slower than the median of the peers by this factor …"""
    slow_least_s: float = 0.02
    """… and by at least this: milliseconds are no reason."""
    unanswered_s: float = 0.5
    """A call is late by so much and nothing else was answered meanwhile, while peers answer …"""
    unanswered_factor: float = 10.0
    """… and it is late by more than the median latency of the peers by this factor."""
    most_share: float = 0.5
    """Never more than this share of the instances is left out by comparison (but one of two or three may be)."""
    times: OpenTimes = field(default_factory=lambda: OpenTimes(first_s=5.0, longest_s=300.0))


def may_eject(members: Sequence[Member], settings: OutlierSettings) -> bool:
    """Whether one more may be left out without too few remaining."""
    out = sum(not member.is_closed for member in members)
    return len(members) > 1 and out < max(1, int(len(members) * settings.most_share))


def find_outliers(
    members: Sequence[Member], now_s: float, settings: OutlierSettings
) -> Iterator[tuple[Member, str]]:
    """Members that stand out, each with its reason. Verdicts on rate and latency use up the tally."""
    inside = [member for member in members if member.is_closed]
    judged = [member for member in inside if member.tally.calls >= settings.least_calls]
    for member in judged:
        if member.tally.answered:
            member.mean_s = member.tally.mean_s
    rates = _Peers(m.tally.failed / m.tally.calls for m in inside if m.tally.calls)
    means = _Peers(m.mean_s or m.tally.mean_s for m in inside if m.mean_s or m.tally.answered)
    for member in judged:
        if _is_failing(member, rates, settings):
            yield member, FAILING
        elif _is_out_of_line(member.tally.mean_s, means.without(member.mean_s), settings):
            yield member, SLOW
    yield from ((m, UNANSWERED) for m in inside if _is_unanswered(m, inside, now_s, settings))
    for member in inside:
        is_judged = member.tally.calls >= settings.least_calls
        if is_judged or now_s - member.tally.since_s > settings.forget_s:
            member.tally = Tally(now_s)


def is_slow(
    took_s: float, member: Member, members: Sequence[Member], settings: OutlierSettings
) -> bool:
    """Whether a latency is out of line with the means of the peers."""
    means = _Peers(m.mean_s for m in members if m is not member and m.mean_s and m.is_closed)
    return _is_out_of_line(took_s, means.median, settings)


class _Peers:
    """Figures of all members; for each of them the median of the others, without sorting anew."""

    def __init__(self, figures: Iterable[float]) -> None:
        self._ordered = sorted(figures)

    @property
    def median(self) -> float | None:
        """Of all; None without any."""
        return median(self._ordered) if self._ordered else None

    def without(self, figure: float) -> float | None:
        """Of all but one that has this figure; None when it is alone."""
        size = len(self._ordered) - 1
        if size < 1:
            return None
        left_out = bisect_left(self._ordered, figure)
        low, high = (size - 1) // 2, size // 2
        return (
            self._ordered[low + (low >= left_out)] + self._ordered[high + (high >= left_out)]
        ) / 2.0


def _is_out_of_line(took_s: float, typical_s: float | None, settings: OutlierSettings) -> bool:
    return typical_s is not None and took_s > max(
        typical_s * settings.slow_factor, typical_s + settings.slow_least_s
    )


def _is_failing(member: Member, rates: _Peers, settings: OutlierSettings) -> bool:
    rate = member.tally.failed / member.tally.calls
    typical = rates.without(rate)
    return typical is not None and rate > typical + settings.failing_share


def _is_unanswered(
    member: Member, inside: Sequence[Member], now_s: float, settings: OutlierSettings
) -> bool:
    late_s = member.late_s(now_s)
    due_s = now_s - late_s
    if late_s < settings.unanswered_s or member.answered_s >= due_s:
        return False
    peers = [m for m in inside if m is not member and m.answered_s > due_s]
    return bool(peers) and late_s > settings.unanswered_factor * median(
        m.latency.at(now_s) for m in peers
    )


__all__ = [
    "CONSECUTIVE",
    "FAILING",
    "SLOW",
    "UNANSWERED",
    "OutlierSettings",
    "find_outliers",
    "is_slow",
    "may_eject",
]
