"""Publish one event. `medmesh up -c mesh.toml` must run; then: python publish.py mesh.toml"""

import asyncio
import sys

from medmesh import Mesh


async def main() -> None:
    async with Mesh.connect(sys.argv[1], service="registration") as mesh:
        body = b'{"ward": "4W"}'
        stored = await mesh.publish("patient.admitted", body, key=b"4711", type="application/json")
        print(f"stored as {stored.seq} in {stored.stream}")


asyncio.run(main())
