"""A gateway in a process of its own, on the mesh of a running site: `python -m tests.peers.second_gateway CONFIG`.

Prints one line when it listens, and goes on until it is killed.
"""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

from bus.clock import SystemClock
from bus.telemetry.counters import Counters
from medmesh.config import load
from medmesh.runtime.calls import Calls
from medmesh.runtime.connection import SiteConnection
from medmesh.runtime.gateway import RunningGateway
from medmesh.runtime.services import Services


async def main(config: str) -> None:
    configuration = load(Path(config))
    section = configuration.settings.gateway
    assert section is not None
    clock, counters, chance = SystemClock(), Counters(), random.Random()
    connection = SiteConnection(
        configuration,
        name=f"gateway-{Path(config).stem}",
        clock=clock,
        counters=counters,
        owns_server=False,
    )
    await connection.start()
    services = Services(connection, clock=clock, counters=counters, chance=chance)
    await services.start()
    calls = Calls(
        connection, connection_name=connection.name, clock=clock, chance=chance, counters=counters
    )
    gateway = RunningGateway(
        configuration,
        section,
        connection=connection,
        services=services,
        calls=calls,
        health=dict,
        counters=counters,
        clock=clock,
        chance=chance,
    )
    await gateway.start()
    print("listening", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
