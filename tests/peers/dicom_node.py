"""A `dicom.node` in this process with events in memory, and what tests look at."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.dicom.config import DicomNodeConfig
from adapters.dicom.index.protocol import Level, Located
from adapters.dicom.node import DicomNode
from bus.clock import SystemClock
from schemas.generated.medmesh.imaging.v1 import imaging_pb2 as pb
from tests.unit.adapters.memory_events import MemoryEvents
from tests.unit.adapters.parts import runtime

ANYWHERE = ("127.0.0.0/8",)


@dataclass
class RunningNode:
    """A node that listens on loopback."""

    node: DicomNode
    events: MemoryEvents
    folder: Path

    @property
    def port(self) -> int:
        return self.node.bound_port

    def told(self, name: str) -> list[bytes]:
        """Bodies of the events of one name, in their order."""
        return [one.body for one in self.events.events if one.type == f"dicom/{name}"]

    def stored(self) -> list[pb.InstanceStored]:
        return [pb.InstanceStored.FromString(body) for body in self.told("instance-stored")]

    def quarantined(self) -> list[pb.Quarantined]:
        return [pb.Quarantined.FromString(body) for body in self.told("quarantined")]

    async def content(self, data_set: pb.DataSet) -> bytes:
        """The bytes of a claim check."""
        blobs = self.node.blobs
        return b"".join([piece async for piece in blobs.read(data_set.sha256.hex())])  # type: ignore[arg-type]  # an id

    async def located(self, *instances: str) -> Sequence[Located]:
        return await self.node.index.locate(Level.IMAGE, instances)


@contextlib.asynccontextmanager
async def running_node(folder: Path, **settings: Any) -> AsyncIterator[RunningNode]:
    """A node to which TESTS, STORESCU and PYNETDICOM may do everything."""
    peers = [
        {"title": title, "networks": ANYWHERE} for title in ("TESTS", "STORESCU", "PYNETDICOM")
    ]
    config = DicomNodeConfig.model_validate(
        {
            "name": "archive",
            "kind": "dicom.node",
            "listen": "127.0.0.1:0",
            "artim_s": 2.0,
            "peer": peers,
            **settings,
        }
    )
    events = MemoryEvents()
    node = DicomNode(config, runtime(events, folder, clock=SystemClock()))
    await node.start()
    try:
        yield RunningNode(node, events, folder)
    finally:
        await node.stop()


async def ran(*command: str, timeout_s: float = 60.0) -> tuple[int, str]:
    """Exit code and output of a program of a peer."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(timeout_s):
            output, _ = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    return process.returncode or 0, output.decode("utf-8", "replace")


__all__ = ["ANYWHERE", "RunningNode", "ran", "running_node"]
