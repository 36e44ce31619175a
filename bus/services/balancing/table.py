"""The instances that one caller may ask, kept ready: a pick costs the same for one instance and for five hundred."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median

from bus.services.balancing.latency import PeakEwma
from bus.services.balancing.member import Member, Tally
from bus.services.balancing.outliers import CONSECUTIVE, find_outliers, may_eject
from bus.services.balancing.ring import Ring
from bus.services.balancing.settings import BalancingSettings
from bus.services.balancing.tiers import Tier, build_tiers, tier_of
from bus.services.protocol import Health, Instance, Registry, Seen
from bus.telemetry.counters import Counters
from schemas.clock import Clock

_ASKABLE = (Health.HEALTHY, Health.SUSPECT)


class Table:
    """Members by what may be done with them. `refresh` is cheap unless something changed or a verdict is due."""

    def __init__(
        self,
        registry: Registry,
        service: str,
        major: int,
        *,
        site: str,
        zone: str,
        settings: BalancingSettings,
        clock: Clock,
        counters: Counters,
    ) -> None:
        self._registry = registry
        self._service = service
        self._major = major
        self._site = site
        self._zone = zone
        self._settings = settings
        self._clock = clock
        self._counters = counters
        self._members: dict[str, Member] = {}
        self._rings = (Ring(settings.ring_points), Ring(settings.ring_points))
        self._is_stale = True
        self._are_rings_stale = True
        self._look_at_s = 0.0
        self._verdict_at_s = clock.monotonic_s() + settings.outliers.look_every_s
        self.healthy: Sequence[Tier] = ()
        self.suspect: Sequence[Tier] = ()
        self.shut: list[Member] = []
        """Those whose breaker is not closed."""
        self.near_weight = 0
        self.far_weight = 0
        self.close: Callable[[], None] = registry.on_change(self._changed)

    @property
    def members(self) -> Mapping[str, Member]:
        """Everyone who may be asked now or later, by instance."""
        return self._members

    def refresh(self, now_s: float) -> None:
        """Bring the table up to date."""
        if now_s >= self._verdict_at_s:
            self._judge(now_s)
        if self._is_stale or now_s >= self._look_at_s:
            self._look(now_s)

    def rings(self) -> tuple[Ring, Ring]:
        """The rings of the own site and of all others."""
        if self._are_rings_stale:
            near: dict[str, int] = {}
            far: dict[str, int] = {}
            for name, member in self._members.items():
                (near if member.instance.site == self._site else far)[name] = member.instance.weight
            self._rings[0].update(near)
            self._rings[1].update(far)
            self._are_rings_stale = False
        return self._rings

    def trip(self, member: Member, now_s: float, *, do_peers_answer: bool) -> None:
        """Too many failures in a row: ejected if peers do better and enough remain; else its breaker opens."""
        if not member.is_closed:
            return
        members = list(self._members.values())
        if do_peers_answer and may_eject(members, self._settings.outliers):
            self._eject(member, CONSECUTIVE, now_s)
            return
        member.breaker.open(now_s, CONSECUTIVE, self._settings.breaker)
        self._counters.add("breaker_opened", who=self._service, reason=CONSECUTIVE)
        self._is_stale = True

    def reopen(self, member: Member, now_s: float) -> None:
        """A probe found the instance as it was."""
        member.breaker.fail_probe(now_s)
        self._counters.add("breaker_opened", who=self._service, reason="probe_failed")
        self._is_stale = True

    def take_back(self, member: Member, now_s: float) -> None:
        """A probe was answered: the instance begins again, slowly."""
        self._counters.add("breaker_closed", who=self._service, reason=member.breaker.reason)
        member.breaker.close(now_s)
        member.failures = 0
        member.joined_s = now_s
        member.tally = Tally(now_s)
        typical_s = self._typical_s(member.tier, now_s)
        member.latency = PeakEwma(self._settings.decay_s, now_s, first_s=typical_s)
        self._is_stale = True

    def _changed(self, seen: Seen) -> None:
        if seen.instance.service == self._service:
            self._is_stale = True

    def _eject(self, member: Member, reason: str, now_s: float) -> None:
        member.breaker.open(now_s, reason, self._settings.outliers.times)
        self._counters.add("instance_ejected", who=self._service, reason=reason)
        self._is_stale = True

    def _judge(self, now_s: float) -> None:
        settings = self._settings.outliers
        self._verdict_at_s = now_s + settings.look_every_s
        members = list(self._members.values())
        for member, reason in list(find_outliers(members, now_s, settings)):
            if not member.is_closed:
                continue  # for another reason, a moment ago
            if may_eject(members, settings):
                self._eject(member, reason, now_s)
            else:
                self._counters.add("ejection_withheld", who=self._service, reason=reason)

    def _look(self, now_s: float) -> None:
        seen = {
            one.instance.id: one
            for one in self._registry.instances(self._service, self._major)
            if one.health in _ASKABLE
        }
        self._meet(seen, now_s)
        members = self._members.values()
        settings = self._settings
        self.healthy = build_tiers(members, Health.HEALTHY, settings.overprovisioning)
        self.suspect = build_tiers(members, Health.SUSPECT, settings.overprovisioning)
        self.shut = [member for member in members if not member.is_closed]
        askable = [m for tier in self.healthy for m in tier.members]
        self.near_weight = sum(m.instance.weight for m in askable if m.instance.site == self._site)
        self.far_weight = sum(m.instance.weight for m in askable) - self.near_weight
        self._is_stale = False
        self._look_at_s = now_s + 1.0

    def _meet(self, seen: Mapping[str, Seen], now_s: float) -> None:
        for name in self._members.keys() - seen.keys():
            del self._members[name]
            self._are_rings_stale = True
        for name, one in seen.items():
            member = self._members.get(name)
            if member is None or member.instance.started_ms != one.instance.started_ms:
                member = self._members[name] = self._new(one.instance, now_s)
                self._are_rings_stale = True
            if member.instance.weight != one.instance.weight:
                self._are_rings_stale = True
            member.instance, member.health, member.reason = one.instance, one.health, one.reason

    def _new(self, instance: Instance, now_s: float) -> Member:
        settings = self._settings
        tier = tier_of(instance, self._site, self._zone)
        age_s = max(0.0, (self._clock.now_ms() - instance.started_ms) / 1000.0)
        return Member(
            instance=instance,
            tier=tier,
            joined_s=now_s - age_s,
            latency=PeakEwma(settings.decay_s, now_s, first_s=self._typical_s(tier, now_s)),
            tally=Tally(now_s),
            floor_s=settings.floors_s[tier],
            slow_start_s=settings.slow_start_s,
            least_weight=settings.least_weight,
        )

    def _typical_s(self, tier: int, now_s: float) -> float:
        """The median of what is known of the instances there: what a newcomer is thought to take."""
        known = [m.latency.at(now_s) for m in self._members.values() if m.tier == tier]
        return median(known) if known else 0.0


__all__ = ["Table"]
