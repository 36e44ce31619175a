"""Two tries of one call under way: the first answer counts, the other try is cancelled."""

from __future__ import annotations

import asyncio

from bus.services.protocol import Response


async def first_good(first: asyncio.Future[Response], second: asyncio.Future[Response]) -> Response:
    """The first answer; the error of the later one when both failed."""
    done, running = await asyncio.wait({first, second}, return_when=asyncio.FIRST_COMPLETED)
    good = next((one for one in done if one.exception() is None), None)
    if good is None and running:
        done, _ = await asyncio.wait(running)
        good = next(iter(done))
    return await (good or second)


async def end(*tries: asyncio.Future[Response] | None) -> None:
    """Cancel what still runs, and see each end."""
    known = [one for one in tries if one is not None]
    for one in known:
        one.cancel()
    await asyncio.gather(*known, return_exceptions=True)


__all__ = ["end", "first_good"]
