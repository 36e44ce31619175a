"""Test a program of your own without a server: the same mesh in memory, sealed and signed. Run: python in_memory.py"""

import asyncio

from medmesh import Mesh


async def main() -> None:
    async with Mesh.in_memory() as mesh:
        await mesh.publish("order.placed", b"glucose", key=b"4711", type="text/plain")
        async for event in mesh.subscribe("evt.test.order.>", durable="laboratory"):
            print(event.body.decode())
            event.accept()
            break


asyncio.run(main())
