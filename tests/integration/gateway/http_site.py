"""A site with a gateway in a process of its own, a service behind it, and curl."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medmesh import CallContext, Mesh, endpoint, service


@dataclass(frozen=True)
class Curled:
    """What curl printed."""

    code: int
    """curl's own exit code."""
    status: int
    version: str
    head: str
    body: str

    @property
    def json(self) -> Any:  # any JSON
        return json.loads(self.body)


async def curl(url: str, *arguments: str, body: bytes | None = None) -> Curled:
    """Run curl as an operator would."""
    sends = ["--data-binary", "@-"] if body is not None else []
    process = await asyncio.create_subprocess_exec(
        "curl", "-sS", "-i", "--max-time", "30", "-w", "\n%{http_code} %{http_version}",
        *arguments, *sends, url,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await process.communicate(body)
    text, _, last = out.decode("utf-8", "replace").rpartition("\n")
    status, version = last.split()
    head, _, rest = text.partition("\r\n\r\n")
    return Curled(process.returncode or 0, int(status), version, head, rest)


class Wards:
    """What the service saw."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.hold = asyncio.Event()


def ward_service(wards: Wards) -> object:
    """A service that echoes, and one that waits."""

    @service("wards", version="1.0.0")
    class WardService:
        """Wards."""

        @endpoint
        async def echo(self, request: bytes, call: CallContext) -> bytes:
            return request

        @endpoint
        async def wait(self, request: bytes, call: CallContext) -> bytes:
            wards.begun.set()
            try:
                await wards.hold.wait()
            except asyncio.CancelledError:
                wards.cancelled.set()
                raise
            return b"waited"

    return WardService()


def serving(config: Path) -> Mesh:
    """The mesh of a site, to serve on."""
    return Mesh.connect(config, service="wards")
