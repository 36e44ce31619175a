"""How a tool on this machine visits the mesh that `medmesh up` runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bus.services.rights import CallRights
    from bus.transport.protocol import EventStore
    from medmesh.config import Configuration
    from medmesh.runtime.calls import Calls
    from medmesh.runtime.connection import SiteConnection
    from medmesh.runtime.services import Service


@asynccontextmanager
async def visiting(configuration: Configuration, name: str) -> AsyncIterator[SiteConnection]:
    """Transport and trust of the running site. Raises `Unavailable` when none runs."""
    from bus.clock import SystemClock
    from bus.telemetry.counters import Counters
    from medmesh.runtime.connection import SiteConnection

    connection = SiteConnection(
        configuration, name=name, clock=SystemClock(), counters=Counters(), owns_server=False
    )
    try:
        await connection.start()
        yield connection
    finally:
        await connection.stop()


@asynccontextmanager
async def operating(configuration: Configuration) -> AsyncIterator[Service]:
    """The operator's service on the running site: it may list and replay dead letters."""
    import random

    from bus.clock import SystemClock
    from bus.telemetry.counters import Counters
    from medmesh.runtime.services import OPERATOR, Services

    async with visiting(configuration, OPERATOR) as connection:
        services = Services(
            connection, clock=SystemClock(), counters=Counters(), chance=random.SystemRandom()
        )
        try:
            yield await services.open_operator()
        finally:
            await services.stop()


@asynccontextmanager
async def auditing(configuration: Configuration) -> AsyncIterator[tuple[Service, EventStore]]:
    """The auditor's service on the running site, and the store in which access records lie."""
    import random

    from bus.clock import SystemClock
    from bus.telemetry.counters import Counters
    from medmesh.runtime.services import AUDITOR, Services

    async with visiting(configuration, AUDITOR) as connection:
        services = Services(
            connection, clock=SystemClock(), counters=Counters(), chance=random.SystemRandom()
        )
        try:
            yield await services.open_auditor(), connection.transport.store
        finally:
            await services.stop()


@asynccontextmanager
async def calling(
    configuration: Configuration, *, rights: CallRights | None = None
) -> AsyncIterator[tuple[Service, Calls]]:
    """The operator's service with the rights to call, and its calls: who runs, and how to ask them."""
    import random
    import secrets

    from adapters.contract import Rights
    from bus.clock import SystemClock
    from bus.events.rights import operator_rights
    from bus.telemetry.counters import Counters
    from medmesh.runtime.calls import Calls
    from medmesh.runtime.services import OPERATOR, Services

    name = f"{OPERATOR}/{secrets.token_hex(4)}"
    async with visiting(configuration, name) as connection:
        clock, counters, chance = SystemClock(), Counters(), random.SystemRandom()
        services = Services(connection, clock=clock, counters=counters, chance=chance)
        calls = Calls(
            connection, connection_name=name, clock=clock, counters=counters, chance=chance
        )
        held = operator_rights(configuration.site)
        wanted = Rights(
            publish=held.publish + (rights.publish if rights else ()),
            subscribe=held.subscribe + (rights.subscribe if rights else ()),
        )
        try:
            yield await services.open(OPERATOR, wanted), calls
        finally:
            await calls.stop()
            await services.stop()


__all__ = ["auditing", "calling", "operating", "visiting"]
