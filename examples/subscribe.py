"""Print events as they come. `medmesh up -c mesh.toml` must run; then: python subscribe.py mesh.toml"""

import asyncio
import sys

from medmesh import Mesh


async def main() -> None:
    async with Mesh.connect(sys.argv[1], service="bed-board") as mesh:
        async for event in mesh.subscribe("evt.north.patient.>", durable="bed-board"):
            print(
                event.subject, event.type, len(event.body), "bytes from", event.source, flush=True
            )


asyncio.run(main())
