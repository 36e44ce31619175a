"""Chooses an instance for each try: power of two choices on peak-EWMA latency and load, near ones first, keys kept."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from itertools import count
from math import ceil
from typing import Final

from bus.flow.backoff import Chance
from bus.services.balancing.breaker import Gate
from bus.services.balancing.member import Member
from bus.services.balancing.outliers import SLOW, is_slow
from bus.services.balancing.settings import BalancingSettings
from bus.services.balancing.table import Table
from bus.services.balancing.tiers import Tier
from bus.services.protocol import (
    Attempt,
    Health,
    Instance,
    NoInstance,
    Outcome,
    Overloaded,
    Registry,
)
from bus.telemetry.counters import Counters
from schemas.clock import Clock

_FEW: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceView:
    """One instance as this caller sees it, for operators."""

    instance: str
    site: str
    zone: str
    health: Health
    reason: str
    """Why the registry thinks it unhealthy, or why it is left out here."""
    gate: Gate
    shut_for_s: float
    """Seconds until it is tried again; 0 when it is not left out."""
    openings: int
    in_flight: int
    latency_s: float
    weight: float
    """Its share now: less than offered while it is new."""


class _Attempt:
    """One try under way."""

    __slots__ = ("_begun_s", "_has_ended", "_is_probe", "_member", "_number", "_picker")

    def __init__(
        self, picker: BalancedPicker, member: Member, number: int, begun_s: float, is_probe: bool
    ) -> None:
        self._picker = picker
        self._member = member
        self._number = number
        self._begun_s = begun_s
        self._is_probe = is_probe
        self._has_ended = False

    @property
    def instance(self) -> Instance:
        """Who was chosen."""
        return self._member.instance

    def ended(self, outcome: Outcome) -> None:
        """Report how it ended; exactly once."""
        if self._has_ended:
            raise ValueError("the end of an attempt was reported before")
        self._has_ended = True
        self._picker._end(self._member, self._number, self._begun_s, self._is_probe, outcome)


class BalancedPicker:
    """`bus.services.protocol.Picker` of one caller for one major version of a service."""

    def __init__(
        self,
        registry: Registry,
        service: str,
        major: int,
        *,
        site: str,
        zone: str = "",
        clock: Clock,
        chance: Chance,
        counters: Counters,
        settings: BalancingSettings | None = None,
    ) -> None:
        self._settings = settings or BalancingSettings()
        self._service = service
        self._clock = clock
        self._chance = chance
        self._counters = counters
        self._numbers = count()
        self._in_flight = 0
        self._table = Table(
            registry,
            service,
            major,
            site=site,
            zone=zone,
            settings=self._settings,
            clock=clock,
            counters=counters,
        )

    def pick(
        self,
        *,
        key: bytes = b"",
        exclude: frozenset[str] = frozenset(),
        may_probe: bool = True,
        expected_s: float = 0.0,
    ) -> Attempt:
        """Begin a try. Calls that may not be repeated set `may_probe` False: they are spared from trying out instances.

        `expected_s` is how long the method takes as a rule: only after that its answer counts as late.

        Raises `NoInstance`, `Overloaded` (every breaker is open, or every instance has as much as it may).
        """
        now_s = self._clock.monotonic_s()
        self._table.refresh(now_s)
        if self._table.shut and not key and not exclude:
            due = self._due(now_s, exclude, self._settings.probe_grace_s * (not may_probe))
            if due is not None:
                return self._begin(due, now_s, expected_s)
        member = self._kept(key, exclude, now_s) if key else None
        if member is None:
            member = (
                self._choose(self._table.healthy, exclude, now_s)
                or self._choose(self._table.suspect, exclude, now_s)
                or self._due(now_s, exclude)
            )
        if member is None:
            raise self._refusal(exclude, now_s)
        return self._begin(member, now_s, expected_s)

    def snapshot(self) -> tuple[InstanceView, ...]:
        """How each instance looks from here, by name."""
        now_s = self._clock.monotonic_s()
        self._table.refresh(now_s)
        return tuple(_view(m, now_s) for _, m in sorted(self._table.members.items()))

    def close(self) -> None:
        """Stop listening to the registry."""
        self._table.close()

    def _begin(self, member: Member, now_s: float, expected_s: float) -> Attempt:
        is_probe = not member.is_closed
        if is_probe:
            member.breaker.begin_probe()
            self._counters.add("instance_probed", who=self._service, reason=member.breaker.reason)
        number = next(self._numbers)
        member.begun[number] = now_s + expected_s
        self._in_flight += 1
        return _Attempt(self, member, number, now_s, is_probe)

    def _end(
        self, member: Member, number: int, begun_s: float, is_probe: bool, outcome: Outcome
    ) -> None:
        now_s = self._clock.monotonic_s()
        took_s = now_s - begun_s
        del member.begun[number]
        self._in_flight -= 1
        match outcome:
            case Outcome.ANSWERED:
                member.answered(took_s, now_s)
            case Outcome.OVERLOADED:
                member.overloaded(now_s, self._settings.cooling_s)
            case Outcome.FAILED | Outcome.TIMED_OUT:
                member.failed(took_s, now_s)
                if not is_probe and member.failures >= self._settings.outliers.failures:
                    peers = self._table.members.values()
                    answer = any(m.answered_s > begun_s for m in peers if m is not member)
                    self._table.trip(member, now_s, do_peers_answer=answer)
            case Outcome.MISSING:
                pass  # the caller tells the registry, which takes it out of the table
            case Outcome.CANCELLED:
                if took_s > member.latency.at(now_s):
                    member.latency.observe(took_s, now_s)
        if is_probe:
            self._probed(member, took_s, now_s, outcome)

    def _probed(self, member: Member, took_s: float, now_s: float, outcome: Outcome) -> None:
        match outcome:
            case Outcome.ANSWERED | Outcome.OVERLOADED:
                peers = list(self._table.members.values())
                is_as_before = member.breaker.reason == SLOW and is_slow(
                    took_s, member, peers, self._settings.outliers
                )
                if is_as_before:
                    self._table.reopen(member, now_s)
                else:
                    self._table.take_back(member, now_s)
            case Outcome.FAILED | Outcome.TIMED_OUT:
                self._table.reopen(member, now_s)
            case Outcome.MISSING | Outcome.CANCELLED:
                member.breaker.drop_probe()

    def _due(self, now_s: float, exclude: Set[str], grace_s: float = 0.0) -> Member | None:
        """One that was left out for long enough, and that nobody is trying now."""
        for member in self._table.shut:
            if member.breaker.is_due(now_s - grace_s) and member.instance.id not in exclude:
                return member
        return None

    def _choose(self, tiers: Sequence[Tier], exclude: Set[str], now_s: float) -> Member | None:
        if not tiers:
            return None
        first = 0
        if tiers[0].until < 1.0:
            lot = self._chance.random()
            first = next((i for i, tier in enumerate(tiers) if lot < tier.until), 0)
            if first:
                self._counters.add("call_spilled", who=self._service, reason="unhealthy")
        chosen = self._of_two(tiers[first].members, exclude, now_s)
        if chosen is None:
            others = (self._of_two(tier.members, exclude, now_s) for tier in tiers)
            return next((member for member in others if member is not None), None)
        if first + 1 < len(tiers) and chosen.in_flight >= self._settings.spill_in_flight:
            farther = self._of_two(tiers[first + 1].members, exclude, now_s)
            factor = self._settings.spill_factor
            if farther and chosen.score(now_s) > factor * farther.score(now_s):
                self._counters.add("call_spilled", who=self._service, reason="loaded")
                return farther
        return chosen

    def _of_two(self, members: Sequence[Member], exclude: Set[str], now_s: float) -> Member | None:
        """The better of two at random; None when none has room."""
        if exclude:
            members = [member for member in members if member.instance.id not in exclude]
        size = len(members)
        if size < _FEW:
            best = members[0] if members else None
        else:
            i = int(self._chance.random() * size)
            j = int(self._chance.random() * (size - 1))
            one, other = members[i], members[j + (j >= i)]
            best = one if one.score(now_s) <= other.score(now_s) else other
        if best is None or best.in_flight < self._settings.max_in_flight:
            return best
        least = min(members, key=lambda member: member.in_flight)
        return least if least.in_flight < self._settings.max_in_flight else None

    def _kept(self, key: bytes, exclude: Set[str], now_s: float) -> Member | None:
        """The key's instance, or the next on the ring while that one is away or has too much."""
        members = self._table.members
        weights = (self._table.near_weight, self._table.far_weight)
        for ring, weight in zip(self._table.rings(), weights, strict=True):
            if not weight:
                continue
            fair = self._settings.load_bound * (self._in_flight + 1) / weight
            for name in ring.walk(key):
                member = members[name]
                if name in exclude or member.health is not Health.HEALTHY:
                    continue
                if not member.is_closed and not member.breaker.is_due(now_s):
                    continue
                bound = max(self._settings.sticky_in_flight, ceil(fair * member.instance.weight))
                if member.in_flight < min(bound, self._settings.max_in_flight):
                    return member
        return None

    def _refusal(self, exclude: Set[str], now_s: float) -> NoInstance | Overloaded:
        left = [m for name, m in self._table.members.items() if name not in exclude]
        if not left:
            known = len(self._table.members)
            what = f"each of the {known} known was tried" if known else "none is known"
            return NoInstance(f"no instance of {self._service} to ask: {what}")
        shut = [m for m in left if not m.is_closed]
        wait_s = max(0.0, min((m.breaker.until_s for m in shut), default=now_s) - now_s)
        return Overloaded(
            f"no instance of {self._service} may be asked now: "
            f"{len(shut)} left out after failures, {len(left) - len(shut)} with as many calls as allowed",
            retry_after_s=wait_s,
        )


def _view(member: Member, now_s: float) -> InstanceView:
    return InstanceView(
        instance=member.instance.id,
        site=member.instance.site,
        zone=member.instance.zone,
        health=member.health,
        reason=member.breaker.reason or member.reason,
        gate=member.breaker.state,
        shut_for_s=0.0 if member.is_closed else max(0.0, member.breaker.until_s - now_s),
        openings=member.breaker.openings,
        in_flight=member.in_flight,
        latency_s=member.latency.at(now_s),
        weight=member.weight(now_s),
    )


__all__ = ["BalancedPicker", "InstanceView"]
