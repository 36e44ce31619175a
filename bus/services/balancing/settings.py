"""What balancing can be told; the defaults suit a service with calls of 1 ms to 1 s."""

from __future__ import annotations

from dataclasses import dataclass, field

from bus.services.balancing.breaker import OpenTimes
from bus.services.balancing.outliers import OutlierSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class BalancingSettings:
    """How one caller spreads its calls over the instances of one service."""

    decay_s: float = 10.0
    """A peak of latency is forgotten over this time; shorter asks a slow instance more often."""
    overprovisioning: float = 1.4
    """A zone keeps all of its calls while 1/1.4 = 71 % of its instances are healthy, then passes some on (Envoy's)."""
    spill_factor: float = 2.0
    """A near instance is passed over for a farther one whose expected time is less by this factor …"""
    spill_in_flight: int = 8
    """… and only when the near one has so many calls of this caller under way."""
    floors_s: tuple[float, float, float] = (0.000_5, 0.002, 0.02)
    """Latency taken for granted in the same zone, the same site and elsewhere."""
    slow_start_s: float = 10.0
    """A new instance's weight grows to its full size over this time …"""
    least_weight: float = 0.1
    """… from this share of it."""
    max_in_flight: int = 256
    """Calls of this caller under way at one instance."""
    load_bound: float = 1.25
    """A sticky key moves on when its instance has this much more than its share of the calls under way …"""
    sticky_in_flight: int = 8
    """… and more than so many."""
    ring_points: int = 64
    """Points on the ring for an instance of full weight: more spread keys more evenly, and cost memory."""
    cooling_s: float = 0.05
    """An instance that shed a call is avoided for so long, doubled at each repeat up to 1 s."""
    probe_grace_s: float = 5.0
    """A returning instance waits so long for a call that may be repeated, before any call is its probe."""
    outliers: OutlierSettings = field(default_factory=OutlierSettings)
    breaker: OpenTimes = field(default_factory=OpenTimes)
    """How long an instance is left out that fails when its peers fail, too."""


__all__ = ["BalancingSettings"]
