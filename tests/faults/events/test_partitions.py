"""Members of a shared consumer as real processes on a real server: killed, stopped, cut off, joining and leaving."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bus.clock import SystemClock
from bus.events.events import MeshEvents
from bus.telemetry.counters import Counters
from bus.transport.nats import connect
from schemas.errors import MeshError
from tests.faults.proxy import Proxy
from tests.hospital import Process, eventually, start
from tests.nats_server import NatsServer
from tests.shared_data import ROOT
from tests.unit.bus.events.kit import SITE, PaperSeals, Vault, event

PARTITIONS = 16
STOPPED_S = 6.0

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(180)]


@dataclass
class Handled:
    """One handler's run."""

    name: str
    number: int
    fence: int
    begin_s: float
    end_s: float | None = None
    was_cancelled: bool = False


@dataclass
class Group:
    """Publishers in this process, members in others."""

    server: NatsServer
    folder: Path
    members: dict[str, Process] = field(default_factory=dict)
    killed_s: dict[str, float] = field(default_factory=dict)
    stopped: dict[str, tuple[float, float]] = field(default_factory=dict)
    stored: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    enough: asyncio.Event = field(default_factory=asyncio.Event)

    async def join(self, name: str, *, url: str = "") -> Process:
        program = str(ROOT / "tests/peers/member.py")
        options = ["--server", url or self.server.url, "--folder", str(self.folder), "--name", name]
        child = self.members[name] = await start([program, *options])
        await eventually(lambda: bool(child.lines), within_s=60, what=f"{name} is ready")
        return child

    async def publish(self, events: MeshEvents, partition: int) -> None:
        number = 0
        while not self.enough.is_set():
            identity = b"%08d%08d" % (partition, number)
            new = event(number, partition=partition, message_id=identity)
            try:
                await events.publish(new, timeout_s=5.0)
            except MeshError:
                continue
            number += 1
            self.stored[partition] = number
            await asyncio.sleep(0.01)

    def handled(self) -> dict[int, list[Handled]]:
        """Of each partition, by the time of its beginning."""
        found: dict[int, list[Handled]] = defaultdict(list)
        for path in self.folder.glob("*.journal"):
            open_ones: dict[int, Handled] = {}
            for line in path.read_text().splitlines():
                what, at, name, *numbers = line.split()
                partition, number, fence = map(int, numbers)
                if what == "begin":
                    one = Handled(name, number, fence, float(at))
                    open_ones[partition] = one
                    found[partition].append(one)
                else:
                    one = open_ones.pop(partition)
                    one.end_s, one.was_cancelled = float(at), what == "cancelled"
        for handled in found.values():
            handled.sort(key=lambda one: one.begin_s)
        return found

    def owners(self, since_s: float) -> set[str]:
        return {h.name for hs in self.handled().values() for h in hs if h.begin_s > since_s}

    def is_worked_since(self, since_s: float, names: set[str]) -> bool:
        """Whether every partition was worked by one of these since then."""
        handled = self.handled()
        return all(
            any(h.begin_s > since_s and h.name in names for h in handled[p])
            for p in range(PARTITIONS)
        )

    def is_complete(self) -> bool:
        handled = self.handled()
        return all(
            {h.number for h in handled[p] if h.end_s and not h.was_cancelled} >= set(range(self.stored[p]))
            for p in range(PARTITIONS)
        )  # fmt: skip

    def check(self, *, repeats_allowed: int) -> None:
        """Everything was worked, in order, and never by two at once."""
        repeats = 0
        for partition, handled in self.handled().items():
            done = [h.number for h in handled if h.end_s is not None and not h.was_cancelled]
            firsts = list(dict.fromkeys(done))
            assert firsts == sorted(firsts), f"partition {partition}: out of order"
            repeats += len(done) - len(firsts)
            self._check_owners(partition, handled)
        assert repeats <= repeats_allowed, f"{repeats} messages were worked again"

    def _check_owners(self, partition: int, handled: list[Handled]) -> None:
        fence, busy_until_s, who = 0, 0.0, ""
        for one in handled:
            assert one.fence >= fence, (
                f"partition {partition}: {one.name} began after its successor"
            )
            assert one.begin_s >= busy_until_s, (
                f"partition {partition}: {one.name} while {who} works"
            )
            fence, who = one.fence, one.name
            busy_until_s = self._end_s(one)

    def _end_s(self, one: Handled) -> float:
        """When a handler's work ended; what was in hand when its process was stopped may go on when that wakes."""
        stopped_s, woken_s = self.stopped.get(one.name, (0.0, 0.0))
        if one.begin_s < stopped_s and (one.end_s is None or one.end_s >= woken_s):
            return stopped_s
        return self.killed_s[one.name] if one.end_s is None else one.end_s


@asynccontextmanager
async def group(server: NatsServer, folder: Path) -> AsyncIterator[Group]:
    """Publishers under way until the block is left; then everything must arrive."""
    scene = Group(server, folder)
    transport = await connect([server.url], name="emr-in")
    events = MeshEvents(
        site=SITE,
        transport=transport,
        seals=PaperSeals(Vault(), service="emr-in", epoch_batches=50),
        clock=SystemClock(),
        chance=random.Random(1),
        counters=Counters(),
        folder=folder,
    )
    await events.start()
    publishing = [asyncio.create_task(scene.publish(events, p)) for p in range(PARTITIONS)]
    try:
        yield scene
        scene.enough.set()
        await asyncio.gather(*publishing)
        await eventually(scene.is_complete, within_s=40, what="everything is worked")
    except BaseException:
        for name, child in scene.members.items():
            print(name, *child.errors[-40:], sep="\n")
        raise
    finally:
        scene.enough.set()
        for child in scene.members.values():
            child.process.send_signal(signal.SIGCONT) if child.process.returncode is None else None
        await asyncio.gather(*(child.stop() for child in scene.members.values()))
        await asyncio.gather(*publishing, return_exceptions=True)
        await events.stop()
        await transport.close()


async def shared_by(scene: Group, names: set[str]) -> float:
    """Wait until each of these works something and all partitions are worked; the time of it."""
    since_s = time.monotonic()
    await eventually(
        lambda: scene.owners(since_s) >= names and scene.is_worked_since(since_s, names),
        within_s=30,
        what=f"{sorted(names)} share the partitions",
    )
    return time.monotonic()


async def test_partitions_of_a_killed_member_are_worked_again_with_nothing_but_what_was_in_hand(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with group(nats_server, tmp_path) as scene:
        for name in "abc":
            await scene.join(name)
        await shared_by(scene, set("abc"))
        scene.members["b"].kill()
        await scene.members["b"].ended()
        killed_s = scene.killed_s["b"] = time.monotonic()
        await eventually(
            lambda: scene.is_worked_since(killed_s, {"a", "c"}),
            within_s=20,
            what="a and c work all",
        )
        print(f"worked again {time.monotonic() - killed_s:.2f} s after the kill")
    # one message of each partition, and what was acknowledged in the last turn of the loop
    scene.check(repeats_allowed=2 * PARTITIONS)


async def test_a_member_that_was_stopped_for_longer_than_its_lease_touches_nothing_when_it_wakes(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with group(nats_server, tmp_path) as scene:
        for name in "ab":
            await scene.join(name)
        await shared_by(scene, set("ab"))
        child = scene.members["b"]
        os.kill(child.pid, signal.SIGSTOP)
        stopped_s = time.monotonic()
        scene.stopped["b"] = (stopped_s, float("inf"))
        await eventually(
            lambda: scene.is_worked_since(stopped_s, {"a"}) and time.monotonic() > stopped_s + STOPPED_S,
            within_s=20,
            what="a works all",
        )  # fmt: skip
        scene.stopped["b"] = (stopped_s, time.monotonic())
        os.kill(child.pid, signal.SIGCONT)
        await shared_by(scene, set("ab"))  # it comes back under a new name
    scene.check(repeats_allowed=2 * PARTITIONS)


async def test_a_member_whose_connection_is_cut_stops_before_the_others_take_over(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with Proxy(nats_server.port) as proxy, group(nats_server, tmp_path) as scene:
        await scene.join("a")
        await scene.join("b", url=f"nats://127.0.0.1:{proxy.port}")
        await shared_by(scene, set("ab"))
        proxy.stall()
        cut_s = time.monotonic()
        await eventually(
            lambda: scene.is_worked_since(cut_s + 1, {"a"}), within_s=30, what="a works all"
        )
        proxy.heal()
        await shared_by(scene, set("ab"))
    # a link that swallows acknowledgements loses those of all that was finished before the lease ran out
    scene.check(repeats_allowed=64 * PARTITIONS)


async def test_members_that_join_and_leave_under_load_repeat_nothing(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with group(nats_server, tmp_path) as scene:
        await scene.join("a")
        await shared_by(scene, {"a"})
        await scene.join("b")
        await scene.join("c")
        await shared_by(scene, set("abc"))
        assert await scene.members["a"].stop() == 0
        await shared_by(scene, set("bc"))
        await scene.join("d")
        await shared_by(scene, set("bcd"))
    scene.check(repeats_allowed=0)


async def test_a_restarted_server_makes_no_partition_change_its_order(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with group(nats_server, tmp_path) as scene:
        await scene.join("a")
        await scene.join("b")
        await shared_by(scene, set("ab"))
        for _ in range(2):
            await asyncio.to_thread(nats_server.restart)
            await shared_by(scene, set("ab"))
    scene.check(repeats_allowed=2 * PARTITIONS)
