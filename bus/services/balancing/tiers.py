"""Locality first: same zone, then same site, then elsewhere; with too few healthy ones near, a share goes farther."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from bus.services.balancing.member import Member
from bus.services.protocol import Health, Instance

TIERS: Final = 3


@dataclass(slots=True)
class Tier:
    """Instances equally far away that may be asked."""

    members: list[Member] = field(default_factory=list)
    until: float = 0.0
    """Calls whose lot, 0 to 1, is below this and above that of the tier before are for this one."""


def tier_of(instance: Instance, site: str, zone: str) -> int:
    """0: same zone (or no zones and same site), 1: same site, 2: elsewhere."""
    if instance.site != site:
        return 2
    return 0 if instance.zone == zone else 1


def build_tiers(
    members: Iterable[Member], health: Health, overprovisioning: float
) -> Sequence[Tier]:
    """The tiers of the instances with this health whose breakers are closed, each with its share of the calls.

    The share is that of Envoy's priority levels: the healthy share by `overprovisioning`, at most what is left.
    """
    tiers = [Tier() for _ in range(TIERS)]
    known = [0.0] * TIERS
    healthy = [0.0] * TIERS
    for member in members:
        weight = member.instance.weight
        known[member.tier] += weight
        if member.health is health and member.is_closed:
            tiers[member.tier].members.append(member)
            healthy[member.tier] += weight
    shares = [
        min(1.0, overprovisioning * part / whole) if whole else 0.0
        for part, whole in zip(healthy, known, strict=True)
    ]
    return _filled(tiers, shares)


def _filled(tiers: list[Tier], shares: list[float]) -> Sequence[Tier]:
    given = 0.0
    for tier, share in zip(tiers, shares, strict=True):
        given += min(share, 1.0 - given)
        tier.until = given
    kept = [tier for tier in tiers if tier.members]
    for tier in kept:
        tier.until /= given
    return kept


__all__ = ["TIERS", "Tier", "build_tiers", "tier_of"]
