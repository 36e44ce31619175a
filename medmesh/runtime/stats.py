"""From two readings of a meter to what an operator asks: how fast in, how fast out, when is the backlog gone. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from medmesh.runtime.metered import Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterStats:
    """One adapter between two readings."""

    name: str
    kind: str
    condition: str
    detail: str
    accepted_per_s: float
    delivered_per_s: float
    drained_in_s: float | None
    """When the backlog is gone at the present rate; 0 without a backlog, None when it does not shrink."""
    totals: Reading

    def fields(self) -> dict[str, object]:
        """Ready for JSON."""
        return {
            "name": self.name,
            "kind": self.kind,
            "condition": self.condition,
            "detail": self.detail,
            "accepted_per_s": round(self.accepted_per_s, 1),
            "delivered_per_s": round(self.delivered_per_s, 1),
            "drained_in_s": None if self.drained_in_s is None else round(self.drained_in_s, 1),
            **asdict(self.totals),
        }


def rates(earlier: Reading, later: Reading, seconds: float) -> tuple[float, float, float | None]:
    """Events in a second, events out a second, seconds until the backlog is gone (None: never, at this rate)."""
    if seconds <= 0:
        return 0.0, 0.0, None if later.waiting else 0.0
    accepted = (later.stored - earlier.stored) / seconds
    delivered = (later.delivered - earlier.delivered) / seconds
    shrinking = (earlier.waiting - later.waiting) / seconds
    if not later.waiting:
        return accepted, delivered, 0.0
    return accepted, delivered, later.waiting / shrinking if shrinking > 0 else None


__all__ = ["AdapterStats", "rates"]
