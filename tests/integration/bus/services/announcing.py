"""A process that runs one instance and announces it: `python -m … <data> <service> <connection>`.

It reads orders from its standard input: `wedge`, `drain`, `stop`.
"""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

from bus.clock import SystemClock
from bus.services.discovery import Announcer
from bus.services.protocol import CallContext, Load, Method, Offer
from bus.transport import nats
from bus.transport.nats import Credentials
from bus.transport.server import running_server
from bus.trust import Trust
from bus.trust.records import InstanceSeals
from schemas.subjects import site_id

MESH, SITE = "st-elsewhere", "north"


async def echo(body: bytes, context: CallContext) -> bytes:
    return body


async def main(data: Path, service: str, connection: str) -> None:
    access = running_server(data / "nats")
    assert access is not None
    transport = await nats.connect(
        access.servers,
        name=connection,
        credentials=Credentials(user=access.user, password=access.password),
    )
    clock = SystemClock()
    trust = await Trust.open(
        data / "trust",
        mesh=MESH,
        site=SITE,
        buckets=transport,
        clock=clock,
        create_authority=False,
    )
    identity = await trust.identity(service, subscribe=[f"svc.{SITE}.{service}.v1.>"])
    loads = [Load(limit=4)]
    announcer = Announcer(
        transport,
        InstanceSeals(identity, trust, clock),
        offer=Offer(name=service, version="1.0.0", methods=(Method(name="echo", handler=echo),)),
        site=site_id(SITE),
        instance=identity.instance,
        connection=connection,
        load=lambda: loads[-1],
        clock=clock,
        rng=random.Random(),
    )
    await announcer.start()
    print(identity.instance, flush=True)
    while True:
        match (await asyncio.to_thread(sys.stdin.readline)).strip():
            case "wedge":
                loads.append(Load(in_flight=1, limit=4, oldest_s=30.0))
            case "drain":
                await announcer.draining()
            case _:
                break
    await announcer.stop()
    await trust.stop()
    await transport.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
