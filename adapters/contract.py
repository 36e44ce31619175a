"""What an adapter is. A third party adds one with the entry point group `medmesh.adapters`; nothing of ours changes.

Each entry point names an `AdapterKind`. The runtime reads `config` to check its `[[adapter]]` section, asks `rights`
what its certificate must allow, builds it, and then calls the four verbs. `tests/contract/test_adapter.py` holds every
kind to this.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from bus.events.protocol import Events
from bus.services.protocol import Offer
from bus.telemetry.counters import Counters
from bus.transport.protocol import KeyValue
from schemas.clock import Clock
from schemas.subjects import SiteId


class AdapterConfig(BaseModel):
    """What every `[[adapter]]` section has. Kinds add their own fields; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$",
        description="Name of the adapter and of its service on the mesh.",
    )
    kind: str


ConfigT = TypeVar("ConfigT", bound=AdapterConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """Subject patterns that an adapter's certificate must allow."""

    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()


class Condition(Enum):
    """How an adapter is."""

    STARTING = "starting"
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """An adapter's condition and, in words for an operator at 3 a.m., why."""

    condition: Condition
    detail: str = ""


class OpenRecords(Protocol):
    """Opens a bucket by its name."""

    async def __call__(self, bucket: str, *, history: int = 1, max_age_s: float = 0.0) -> KeyValue:
        """The bucket, made when it is missing; `history` values of each key are kept. Raises `MeshError`.

        A key is gone `max_age_s` after it was written last; 0: it stays.
        """
        ...


class Offered(Protocol):
    """A service that runs here and is announced."""

    async def drain(self, *, timeout_s: float = 10.0) -> object:
        """Take no new calls, finish what is in hand, leave."""
        ...


class Serve(Protocol):
    """Runs an adapter's service."""

    async def __call__(self, offer: Offer) -> Offered:
        """Announce one instance of `offer`, whose name is the adapter's own, and take calls.

        The kind's `rights` must hold `bus.services.rights.service_rights`. Raises `ConfigurationError`, `Unavailable`.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterRuntime:
    """What the runtime gives an adapter: the mesh in the name of its own service, time, chance, and where to count."""

    site: SiteId
    site_key: bytes
    """Secret of the site for partitions and message ids (keyed hashes of identifiers)."""
    events: Events
    counters: Counters
    clock: Clock
    random: random.Random
    folder: Path
    """Where the adapter may keep files of its own (`<data>/adapters/<name>`)."""
    records: OpenRecords
    """Opens a durable bucket by its name, made when it is missing: what must outlive the process and be known to all
    processes of one adapter. The carrier reads it: no patient data, and nothing that is believed without a proof."""
    replicated: bool
    """Whether an event that is stored is also replicated to a second server."""
    serve: Serve
    """Offers methods that others call: for an adapter that owns something, as `fhir.store` owns resources."""


class Adapter(Protocol):
    """A running adapter. `__init__` has no side effects."""

    async def start(self) -> None:
        """Open listeners, connections, consumptions. Returns when work is accepted. Raises `MeshError`."""
        ...

    def health(self) -> Health:
        """Answer at once."""
        ...

    async def drain(self, *, timeout_s: float) -> None:
        """Take nothing new; finish and answer what was accepted."""
        ...

    async def stop(self) -> None:
        """Close everything."""
        ...


@dataclass(frozen=True, slots=True)
class AdapterKind(Generic[ConfigT]):
    """One kind of adapter: what the entry point names."""

    kind: str
    summary: str
    config: type[ConfigT]
    rights: Callable[[ConfigT, SiteId], Rights]
    build: Callable[[ConfigT, AdapterRuntime], Adapter]
    addresses: Callable[[ConfigT], tuple[str, ...]]
    """`host:port` listeners that the configuration opens, for the ready event and the doctor; () for none."""


__all__ = [
    "Adapter",
    "AdapterConfig",
    "AdapterKind",
    "AdapterRuntime",
    "Condition",
    "Health",
    "Offered",
    "OpenRecords",
    "Rights",
    "Serve",
]
