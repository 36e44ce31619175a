"""Two gateways of one site: each a process with a folder of its own, on one server, under the same keys."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from tests.hospital import Site, running
from tests.nats_server import NatsServer
from tests.ports import free_port


def site_of(folder: Path, server: NatsServer, port: int, more: str = "") -> Site:
    """A program of the site with a gateway; not started."""
    folder.mkdir(parents=True)
    gateway = f'[gateway]\nlisten = "127.0.0.1:{port}"\n{more}\n'
    nats = f'[nats]\nservers = ["{server.url}"]\nmonitor = "{server.monitor_url}"\n'
    return Site(folder, gateway, extra=nats)


@contextlib.asynccontextmanager
async def pair(
    folder: Path, server: NatsServer, more: Sequence[str] = ("", "")
) -> AsyncIterator[list[tuple[Site, str]]]:
    """Running gateways with their addresses. The later ones are given the keys of the first (`data/trust`)."""
    async with contextlib.AsyncExitStack() as stack:
        found: list[tuple[Site, str]] = []
        for number, each in enumerate(more):
            port = free_port()
            site = site_of(folder / f"gateway-{number}", server, port, each)
            if found:
                site.data.mkdir(mode=0o700)
                shutil.copytree(found[0][0].data / "trust", site.data / "trust")
            await stack.enter_async_context(running(site))
            found.append((site, f"http://127.0.0.1:{port}"))
        yield found
