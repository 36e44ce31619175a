"""What the table keeps of one instance."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, TypeAlias

from bus.services.discovery.suspicion import Suspicion
from bus.services.protocol import Health, Instance, Load, Seen

Key: TypeAlias = tuple[str, str]
"""Service and id."""

LEFT: Final = "left"
DISCONNECTED: Final = "disconnected"
EXPIRED: Final = "lease_expired"
MISSING: Final = "missing"
REFUSED: Final = "record_refused"
DRAINING: Final = "draining"


@dataclass(eq=False, slots=True)
class Entry:
    """One instance: listed, or gone not long ago."""

    instance: Instance
    suspicion: Suspicion
    heard_s: float
    """Last sign of life of any kind."""
    health: Health = Health.HEALTHY
    reason: str = ""
    load: Load = field(default_factory=Load)
    is_leased: bool = True
    gone_s: float = 0.0
    """When it went, while its health is GONE."""
    held_until_s: float = 0.0
    """Signs of life before this do not bring it back."""
    hold_s: float = 0.0
    """The last hold: grows while callers find nobody there again and again."""
    _seen: Seen | None = None

    @property
    def key(self) -> Key:
        """Service and id."""
        return self.instance.service, self.instance.id

    @property
    def seen(self) -> Seen:
        """As callers get it."""
        if self._seen is None:
            self._seen = Seen(
                instance=self.instance,
                health=self.health,
                reason=self.reason,
                load=self.load,
                heard_s=self.heard_s,
            )
        return self._seen

    def touch(self, now_s: float, load: Load | None = None) -> None:
        """It was heard of."""
        self.heard_s = now_s
        if load is not None:
            self.load = load
        self._seen = None

    def turn(self, health: Health, reason: str) -> Seen:
        """Change what is thought of it."""
        self.health, self.reason, self._seen = health, reason, None
        return self.seen


__all__ = ["DISCONNECTED", "DRAINING", "EXPIRED", "LEFT", "MISSING", "REFUSED", "Entry", "Key"]
