"""A site with a console: messages come by MLLP, one destination refuses some of them, FHIR is made and kept."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bus.clock import SystemClock
from gateway.access.keys import new_api_key
from medmesh.demo.messages import DemoMessage, day
from medmesh.sending import Fate, Lane, target
from tests.hospital import Sink, Site, archive, mllp_in, mllp_out, running
from tests.ports import free_port

EVERYTHING: Final = ("view", "find", "replay", "unmask")
REFUSED: Final = 4
"""Messages that the HIS refuses before it takes any."""


@dataclass
class ConsoleSite:
    """Where everything is."""

    site: Site
    sink: Sink
    base: str
    mllp: int
    keys: dict[str, str]
    sent: list[DemoMessage]

    async def send(self, count: int, *, seed: int = 1) -> list[DemoMessage]:
        """Send so many messages of a day, one after the other."""
        messages = day(count, seed=seed, run=f"r{seed}")
        lane = Lane(target(f"mllp://127.0.0.1:{self.mllp}"), SystemClock())
        try:
            for message in messages:
                fate, word = await lane.send(message.raw)
                assert fate is Fate.ACCEPTED, word
        finally:
            lane.close()
        self.sent += messages
        return messages


def config(
    *,
    port: int,
    mllp: int,
    sink: Sink,
    folder: Path,
    keys: dict[str, str],
    clients: dict[str, tuple[str, ...]],
    contents: tuple[str, ...],
) -> str:
    """The adapters, the gateway and its clients."""
    lines = [
        mllp_in(mllp),
        mllp_out(sink.port, more='lanes = 4\non_reject = "dead-letter"'),
        archive(folder / "archive"),
        '[[adapter]]\nname = "fhir-map"\nkind = "hl7v2.to-fhir"\nsubscribe = "evt.north.raw.hl7v2.>"\n',
        '[[adapter]]\nname = "fhir-store"\nkind = "fhir.store"\n',
        f'[gateway]\nlisten = "127.0.0.1:{port}"\n',
        f"[gateway.console]\ncontents = {json.dumps(contents)}\nrefresh_s = 0.25\nalert_after_s = 1.0\n",
    ]
    for name, rights in clients.items():
        key = new_api_key(name)
        keys[name] = key.text
        lines.append(
            f'[[gateway.client]]\nname = "{name}"\noperate = {json.dumps(rights)}\n'
            f'[[gateway.client.key]]\nhash = "{key.hash}"\n'
        )
    return "\n".join(lines)


@asynccontextmanager
async def console_site(
    folder: Path,
    *,
    clients: dict[str, tuple[str, ...]] | None = None,
    refused: int = REFUSED,
    contents: tuple[str, ...] = ("evt.north.>",),
) -> AsyncIterator[ConsoleSite]:
    """A running site; with `clients` nobody else may look."""
    sink = Sink(folder)
    port, mllp = free_port(), free_port()
    keys: dict[str, str] = {}
    text = config(
        port=port, mllp=mllp, sink=sink, folder=folder, keys=keys, clients=clients or {},
        contents=contents,
    )  # fmt: skip
    site = Site(folder, text)
    await sink.start("--code", "AR", "--code-for-first", str(refused))
    async with running(site, sink):
        yield ConsoleSite(site, sink, f"http://127.0.0.1:{port}", mllp, keys, [])


__all__ = ["EVERYTHING", "REFUSED", "ConsoleSite", "console_site"]
