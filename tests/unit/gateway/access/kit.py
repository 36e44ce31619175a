"""A gateway's surroundings for tests of access: a clock by hand, buckets in memory, records in a list."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adapters.contract import OpenRecords
from bus.audit.records import AccessEntry, decode
from bus.events.protocol import ConsumeSpec, Consumption, Handler, NewEvent, Receipt, StoredEvent
from bus.services.protocol import Response, Seen
from bus.telemetry.counters import Counters
from bus.transport.memory import MemoryBroker
from gateway.access.access import GatewayAccess
from gateway.access.build import open_access
from gateway.access.keys import NewKey, new_api_key
from gateway.access.protocol import Client, Credentials
from gateway.contract import GatewayRuntime
from schemas.clock import FakeClock
from schemas.errors import MeshError
from schemas.gateway import GatewaySection
from schemas.subjects import site_id
from tests.unit.adapters.parts import in_memory

SITE = site_id("north")
SITE_KEY = b"k" * 32


class Recorded:
    """`Events` that only stores access records, and fails or waits where a test says so."""

    def __init__(self) -> None:
        self.events: list[NewEvent] = []
        self.failure: MeshError | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    @property
    def entries(self) -> list[AccessEntry]:
        return [entry for event in self.events for entry in decode(event.body)]

    async def publish(self, event: NewEvent, *, timeout_s: float = 30.0) -> StoredEvent:
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        self.events.append(event)
        return StoredEvent(
            message_id=b"m" * 16, stream="aud-north", seq=len(self.events), duplicate=False
        )

    async def consume(self, spec: ConsumeSpec, handler: Handler) -> Consumption:
        raise AssertionError("nothing is consumed here")

    async def await_receipt(self, message_id: bytes, consumer: str, *, timeout_s: float) -> Receipt:
        raise AssertionError("nothing is waited for here")


async def no_call(service: str, method: str, body: bytes, **_: Any) -> Response:
    raise AssertionError(f"{service}/{method} was called by the access part")


def nobody_runs() -> Mapping[str, Sequence[Seen]]:
    return {}


def runtime(
    folder: Path,
    *,
    events: Recorded | None = None,
    clock: FakeClock | None = None,
    records: OpenRecords | None = None,
    site_key: bytes = SITE_KEY,
) -> GatewayRuntime:
    return GatewayRuntime(
        site=SITE,
        site_key=site_key,
        events=events or Recorded(),
        call=no_call,
        services=nobody_runs,
        catalogue=None,
        health=dict,
        is_connected=lambda: True,
        counters=Counters(),
        clock=clock or FakeClock(),
        random=random.Random(7),
        folder=folder,
        records=records or in_memory(MemoryBroker()),
    )


def section(**keys: Any) -> GatewaySection:
    return GatewaySection.model_validate(keys)


async def opened(folder: Path, *clients: dict[str, Any], **keys: Any) -> GatewayAccess:
    """An access with these clients, on a runtime of its own."""
    return await open_access(section(client=clients), runtime(folder, **keys))


def keyed(name: str, **rights: Any) -> tuple[NewKey, dict[str, Any]]:
    """A client with one API key."""
    key = new_api_key(name)
    return key, {"name": name, "key": [{"hash": key.hash}], **rights}


async def by_key(access: GatewayAccess, key: NewKey) -> Client:
    return await access.identify(Credentials(api_key=key.text))
