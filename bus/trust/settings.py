"""How long things live, and what holds when the directory cannot be refreshed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from schemas.errors import ConfigurationError

_DAY_S = 86_400.0


class WhenStale(StrEnum):
    """What receivers do when no fresh directory head can be had (authority or carrier away for ten minutes)."""

    KNOWN_SIGNERS = "known-signers"
    """Go on with signers that a fresh head once vouched for, until their certificates end; refuse new ones."""
    REFUSE = "refuse"
    """Accept and seal nothing until a fresh head comes: for sites that put revocation above availability."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustSettings:
    """Lifetimes of the trust layer, in seconds. Raises `ConfigurationError` for values that contradict each other."""

    suite: int = 1
    """Suite of new keys: 1 (X-Wing, Ed25519) or 2 (ML-KEM-1024 + P-384, ECDSA P-384)."""
    certificate_lifetime_s: float = _DAY_S
    """A stolen signing key is of use for this long unless it is revoked. Renewed at half of it."""
    head_interval_s: float = 60.0
    """The authority signs a new head this often: how fast a revocation is known where the carrier works."""
    head_lifetime_s: float = 600.0
    """How long a hostile carrier can hide a revocation by showing the old head."""
    generation_s: float = _DAY_S
    """A service gets a new KEM key this often."""
    retention_s: float = 7 * _DAY_S
    """How long streams keep messages after everyone has them."""
    margin_s: float = _DAY_S
    """KEM generations, certificates and key packages are kept for retention and this: then old messages are closed."""
    bucket_max_age_s: float = 35 * _DAY_S
    """How long the carrier keeps certificates and key packages: bounds how long a message can wait in a stream for a
    receiver that has not seen its sender before."""
    skew_s: float = 120.0
    """Difference of clocks between machines that certificate windows tolerate."""
    when_stale: WhenStale = WhenStale.KNOWN_SIGNERS
    share_wait_s: float = 5.0
    """A new instance waits so long for the service's KEM key from another one, then makes the next generation."""
    carrier_timeout_s: float = 5.0
    """Deadline of one read or write of a bucket."""
    tick_s: float = 5.0
    """Renewals are looked at this often; changes in the buckets wake the same work at once."""

    def __post_init__(self) -> None:
        if not 0 < self.head_interval_s < self.head_lifetime_s <= 3600.0:
            raise ConfigurationError(
                f"trust.head_lifetime_s is {self.head_lifetime_s}: more than head_interval_s "
                f"({self.head_interval_s}) and at most 3600 is allowed"
            )
        positive = ("certificate_lifetime_s", "generation_s", "carrier_timeout_s", "tick_s")
        for name in positive:
            if getattr(self, name) <= 0:
                raise ConfigurationError(
                    f"trust.{name} is {getattr(self, name)}: more than 0 is allowed"
                )
        if self.bucket_max_age_s < self.certificate_lifetime_s + self.history_s:
            raise ConfigurationError(
                f"trust.bucket_max_age_s is {self.bucket_max_age_s}: at least certificate_lifetime_s + "
                f"retention_s + margin_s ({self.certificate_lifetime_s + self.history_s}) is needed"
            )

    @property
    def history_s(self) -> float:
        """Seconds for which what has ended stays usable for messages that were sealed before."""
        return self.retention_s + self.margin_s

    @property
    def skew_ms(self) -> int:
        """`skew_s` in milliseconds."""
        return round(self.skew_s * 1000)

    @property
    def history_ms(self) -> int:
        """`history_s` in milliseconds."""
        return round(self.history_s * 1000)


__all__ = ["TrustSettings", "WhenStale"]
