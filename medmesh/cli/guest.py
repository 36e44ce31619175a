"""How a tool on this machine visits the mesh that `medmesh up` runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medmesh.config import Configuration
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


__all__ = ["operating", "visiting"]
