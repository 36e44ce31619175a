"""The demo's hospital: an EMR that sends, a HIS that receives, an archive folder, and the real runtime between them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from bus.clock import SystemClock
from medmesh.config import load
from medmesh.demo.check import NOTHING, Place, compare, together
from medmesh.demo.his import HisSimulator
from medmesh.demo.messages import DemoMessage
from medmesh.runtime import MeshRuntime, RuntimeEvent
from medmesh.sending import Fate, Lane, Report, target
from schemas.clock import Clock

SITE = "demo"
_LOOK_S = 0.05
_UNANSWERED_KEPT = 1000
"""They may still arrive on a later day."""
_LATENCIES_KEPT = 10_000


def config_text(*, emr_port: int = 2575, his_port: int = 2576) -> str:
    """The demo's `mesh.toml`."""
    return f"""\
# The demo's site: one way in, two ways out. `medmesh config show --origin` lists every key with its default.
[mesh]
name = "demo-hospital"
site = "{SITE}"
data = "data"                        # keys, streams: everything medmesh writes

# Without [nats] servers medmesh runs its own server under data/, which syncs each write to disk.

[[adapter]]
name = "emr-in"                      # the EMR sends here
kind = "hl7v2.mllp-server"
listen = "127.0.0.1:{emr_port}"
ack = "stored"                       # an acknowledgement means: sealed, stored, on the disk

[[adapter]]
name = "his-out"                     # the HIS gets everything
kind = "hl7v2.mllp-client"
connect = "127.0.0.1:{his_port}"
subscribe = "evt.{SITE}.raw.hl7v2.>"
lanes = 8                            # eight connections; each patient's messages stay in order

[[adapter]]
name = "archive"                     # and so does a folder
kind = "files.writer"
folder = "archive"
subscribe = "evt.{SITE}.raw.>"
"""


class Hospital:
    """EMR, HIS, archive and mesh in one process, below one folder."""

    def __init__(
        self,
        folder: Path,
        *,
        report: Callable[[RuntimeEvent], None] = lambda event: None,
        clock: Clock | None = None,
    ) -> None:
        self.folder = folder
        self.clock = clock or SystemClock()
        self.sending = Report()
        self.accepted: list[DemoMessage] = []
        self.unanswered: list[DemoMessage] = []
        self.received: list[bytes] = []
        self.his = HisSimulator(self.clock, received=self.received.append)
        self._report = report
        self._runtime: MeshRuntime | None = None
        self._earlier = 0
        self._his_before = self._archive_before = NOTHING
        self._received_before = 0
        self._is_closing_time = False

    @property
    def runtime(self) -> MeshRuntime:
        """The running mesh."""
        if self._runtime is None:
            raise RuntimeError("the hospital is not open yet")
        return self._runtime

    @property
    def is_open(self) -> bool:
        """Whether the mesh runs."""
        return self._runtime is not None

    @property
    def archive(self) -> Path:
        """Where the archive's files lie."""
        return self.folder / "archive"

    async def start(self) -> None:
        """Open the HIS, write `mesh.toml`, start the mesh on it."""
        await self.his.start()
        file = self.folder / "mesh.toml"
        file.write_text(config_text(emr_port=0, his_port=self.his.port), "utf-8")
        self._earlier = self.archived()
        self._runtime = MeshRuntime(load(file), clock=self.clock, report=self._report)
        await self._runtime.start()

    async def stop(self, *, drain_s: float = 30.0) -> bool:
        """Drain and stop everything; whether nothing accepted was left in hand."""
        drained = True
        if self._runtime is not None:
            drained = await self._runtime.drain(timeout_s=drain_s)
            await self._runtime.stop()
        await self.his.stop()
        return drained

    async def send(
        self, messages: Sequence[DemoMessage], *, connections: int = 8, rate: float = 0.0
    ) -> None:
        """The EMR sends: each patient over one connection, so that its messages have an order to keep."""
        lanes: dict[int, list[DemoMessage]] = defaultdict(list)
        patients: dict[str, int] = {}
        for message in messages:
            lane = patients.setdefault(message.patient, len(patients) % connections)
            lanes[lane].append(message)
        gap_s = connections / rate if rate > 0 else 0.0
        async with asyncio.TaskGroup() as group:
            for planned in lanes.values():
                group.create_task(self._send_lane(planned, gap_s))

    async def _send_lane(self, messages: Sequence[DemoMessage], gap_s: float) -> None:
        address = self.runtime.addresses["emr-in"][0]
        lane = Lane(target(f"mllp://{address}"), self.clock)
        try:
            for message in messages:
                if self._is_closing_time:
                    return
                started_s = self.clock.monotonic_s()
                fate, word = await lane.send(message.raw)
                waited_s = self.clock.monotonic_s() - started_s
                answered = fate is not Fate.LOST
                self.sending.add(
                    fate,
                    code=word if answered else "",
                    latency_s=waited_s if answered else None,
                )
                if fate is Fate.ACCEPTED:
                    self.accepted.append(message)
                elif not answered:
                    self.unanswered.append(message)
                    self.sending.last_trouble = word
                if gap_s > waited_s:
                    await asyncio.sleep(gap_s - waited_s)
        finally:
            lane.close()

    def stop_sending(self) -> None:
        """The EMR finishes what is under way and sends nothing more."""
        self._is_closing_time = True

    @property
    def is_sending(self) -> bool:
        """Whether the EMR may go on."""
        return not self._is_closing_time

    def archived(self) -> int:
        """Files in the archive now."""
        return sum(1 for _ in self._archive_files())

    async def arrived(self, *, timeout_s: float) -> bool:
        """Wait until the HIS and the archive have as many messages as were accepted; False when the time is up."""
        deadline_s = self.clock.monotonic_s() + timeout_s
        # The archive's files announce themselves to nobody, so they are counted from time to time.
        for _ in iter(lambda: self._is_complete() or self.clock.monotonic_s() > deadline_s, True):
            await asyncio.sleep(_LOOK_S)
        return self._is_complete()

    async def close_day(self, *, timeout_s: float) -> None:
        """Wait for what is under way, settle the day and forget its messages: another day needs no more memory."""
        if not await self.arrived(timeout_s=timeout_s):
            return  # the next day's end settles both
        self._his_before, self._archive_before = self.at_his(), self.in_archive()
        self._received_before += len(self.received)
        self._earlier = self.archived()
        self.accepted.clear()
        self.received.clear()
        del self.unanswered[:-_UNANSWERED_KEPT]
        del self.sending.latencies_s[:-_LATENCIES_KEPT]

    @property
    def received_in_all(self) -> int:
        """Messages that the HIS has received since the start."""
        return self._received_before + len(self.received)

    def _is_complete(self) -> bool:
        wanted = len(self.accepted)
        return len(self.received) >= wanted and self.archived() - self._earlier >= wanted

    def at_his(self) -> Place:
        """What the HIS has, compared with what was accepted."""
        today = compare(self.accepted, self.received, ordered=True, unanswered=self.unanswered)
        return together(self._his_before, today)

    def in_archive(self) -> Place:
        """What the archive has, compared with what was accepted. Files of an earlier run are passed over."""
        files = sorted(self._archive_files(), key=lambda path: path.stat().st_mtime_ns)
        contents = [path.read_bytes() for path in files[self._earlier :]]
        today = compare(self.accepted, contents, ordered=False, unanswered=self.unanswered)
        return together(self._archive_before, today)

    def _archive_files(self) -> list[Path]:
        if not self.archive.is_dir():
            return []
        return [
            path
            for path in self.archive.rglob("*")
            if path.is_file() and not path.name.startswith(".")
        ]


__all__ = ["SITE", "Hospital", "config_text"]
