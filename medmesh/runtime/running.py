"""One adapter of a running site: its service, its meter, its health."""

from __future__ import annotations

from dataclasses import dataclass, field

from adapters.contract import Adapter, Condition, Health
from medmesh.config import ConfiguredAdapter
from medmesh.runtime.metered import MeteredEvents, Reading
from medmesh.runtime.services import Service
from medmesh.runtime.stats import AdapterStats, rates


@dataclass(slots=True)
class RunningAdapter:
    """One adapter with its service and its meter."""

    configured: ConfiguredAdapter
    service: Service
    meter: MeteredEvents
    adapter: Adapter
    health: Health = field(default_factory=lambda: Health(condition=Condition.STARTING))
    started: bool = False
    last: Reading = field(default_factory=Reading)

    @property
    def name(self) -> str:
        """Name of the adapter."""
        return self.configured.config.name

    @property
    def addresses(self) -> tuple[str, ...]:
        """Listeners as they are: with the port that the system chose where the configuration says 0."""
        port = getattr(self.adapter, "bound_port", None) if self.started else None
        return tuple(
            f"{address.rpartition(':')[0]}:{port}" if port and address.endswith(":0") else address
            for address in self.configured.addresses
        )

    def stats(self, seconds: float) -> AdapterStats:
        """What it has done since the last call, which was `seconds` ago."""
        earlier, self.last = self.last, self.meter.read()
        accepted, delivered, drained_in_s = rates(earlier, self.last, seconds)
        health = self.adapter.health()
        return AdapterStats(
            name=self.name,
            kind=self.configured.kind.kind,
            condition=health.condition.value,
            detail=health.detail,
            accepted_per_s=accepted,
            delivered_per_s=delivered,
            drained_in_s=drained_in_s,
            totals=self.last,
        )

    def fields(self) -> dict[str, object]:
        """For the event `ready`."""
        return {
            "name": self.name,
            "kind": self.configured.kind.kind,
            "listen": list(self.addresses),
            "condition": self.health.condition.value,
            "detail": self.health.detail,
        }


__all__ = ["RunningAdapter"]
