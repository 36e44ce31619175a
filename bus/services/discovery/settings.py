"""How often instances speak, and how long a silence may last."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from bus.telemetry.phi import PhiSettings
from schemas.errors import ConfigurationError

BUCKET: Final = "registry"
"""The bucket of leases; key `<service>.<instance>`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoverySettings:
    """What the numbers cost is said at each. Raises `ConfigurationError` for values that contradict each other."""

    heartbeat_s: float = 1.0
    """Each instance publishes a heartbeat this often; each process that calls reads all of them (some 20 µs each)."""
    lease_s: float = 5.0
    """A lease that is not renewed ends after this: the longest that an instance is listed after its last sign."""
    renew_s: float = 1.7
    """Two renewals may get lost before the lease ends."""
    jitter: float = 0.1
    """Intervals vary by this part of them, so that instances started together do not speak together."""
    phi: float = 8.0
    """An instance whose silence is this surprising is suspect: about 1.2 s after a heartbeat was due."""
    rhythm: PhiSettings = field(default_factory=PhiSettings)
    wedged_after_s: float = 5.0
    """An instance that answers nothing for so long, while its oldest request is at least this old, is suspect. Raise
    it where handlers take longer."""
    unleased_s: float = 2.5
    """An instance without a lease (its bucket was lost, or it was deleted) is listed this long after its last sign."""
    grace_s: float = 5.0
    """After our own connection was lost and is back, nobody is suspect or gone by silence for so long."""
    hold_s: float = 0.25
    """Heartbeats that come so soon after a departure were under way already: they bring nobody back. Doubles each time
    that callers find nobody there although heartbeats come, up to `hold_max_s`."""
    hold_max_s: float = 8.0
    tick_s: float = 0.25
    """Silences are looked at this often."""
    verify_again_s: float = 60.0
    """The signature of a record that is renewed unchanged is verified this often: how fast a revocation counts."""
    sweep_s: float = 30.0
    """Services that know only `$SRV.PING` are asked this often; 0 never."""
    sweep_wait_s: float = 2.0
    """How long answers to a sweep are waited for."""
    remember_s: float = 60.0
    """One that is gone may come back by a heartbeat alone within this."""
    max_instances: int = 10_000
    """Instances beyond this are refused: about 2 KB each."""
    max_record_bytes: int = 16 * 1024
    timeout_s: float = 5.0
    """Deadline of one call to the carrier."""
    retry_s: float = 1.0
    """What the carrier refused is tried again after this."""

    def __post_init__(self) -> None:
        for name in ("heartbeat_s", "renew_s", "tick_s", "timeout_s", "retry_s", "max_instances"):
            if getattr(self, name) <= 0:
                raise ConfigurationError(
                    f"discovery.{name} is {getattr(self, name)}: more than 0 is allowed"
                )
        if not 0 <= self.jitter < 1:
            raise ConfigurationError(f"discovery.jitter is {self.jitter}: 0 to below 1 is allowed")
        if self.lease_s < 2 * self.renew_s * (1 + self.jitter):
            raise ConfigurationError(
                f"discovery.lease_s is {self.lease_s}: at least twice renew_s ({self.renew_s}) with jitter is needed"
            )


__all__ = ["BUCKET", "DiscoverySettings"]
