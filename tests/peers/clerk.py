"""A small service in a process of its own: says who asked, and which instance answered."""

from __future__ import annotations

import asyncio
import signal
import sys

from pydantic import BaseModel

from medmesh import CallContext, Mesh, endpoint, service

SLOW_S = 0.005


class Ask(BaseModel):
    """A question."""

    name: str


class Told(BaseModel):
    """An answer."""

    name: str
    caller: str
    instance: str


@service("clerk", version="1.0.0")
class Clerk:
    """Says who asked."""

    instance = ""

    @endpoint(idempotent=True)
    async def who(self, request: Ask, call: CallContext) -> Told:
        """Answer at once."""
        return Told(name=request.name, caller=call.caller, instance=self.instance)

    @endpoint
    async def slow(self, request: None, call: CallContext) -> Told:
        """Answer after a while; not idempotent."""
        await asyncio.sleep(SLOW_S)
        return Told(name="", caller=call.caller, instance=self.instance)


async def main(config: str) -> None:
    """Serve until SIGTERM."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    async with Mesh.connect(config, service="clerk") as mesh:
        clerk = Clerk()
        clerk.instance = (await mesh.serve(clerk)).instance.id
        print(clerk.instance, flush=True)
        await ended.wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
