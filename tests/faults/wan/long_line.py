"""A nats-server at the far end of an emulated long line, and a site that publishes to it from the near end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bus.clock import SystemClock
from bus.events.path import StorePath
from bus.events.protocol import NewEvent, Priority, StoredEvent
from bus.events.publisher import Publisher
from bus.telemetry.counters import Counters
from bus.transport.binary import find_server
from bus.transport.memory import MemoryBroker
from bus.transport.nats import NatsOptions, NatsTransport, connect
from bus.transport.protocol import StreamSpec
from bus.trust import Trust
from medmesh.runtime.seals import ServiceSeals
from schemas.subjects import SiteId
from tests.contract.carriers import eventually
from tests.peers.wanlink import FAR_ADDRESS, inside

SITE = SiteId("north")
STREAM = f"evt-{SITE}"
PORT = 4222
_ROOT = Path(__file__).resolve().parents[3]
_START_S = 20.0


def why_impossible() -> str:
    """Why no long line can be emulated here; empty when it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if not Path("/dev/net/tun").exists():
        return "the kernel has no TUN devices"
    name = f"mm{os.getpid()}p"
    made = subprocess.run(("ip", "netns", "add", name), capture_output=True)
    subprocess.run(("ip", "netns", "del", name), capture_output=True)
    return "" if made.returncode == 0 else f"no network namespaces: {made.stderr.decode().strip()}"


def require_long_line() -> None:
    """Skip where no line can be emulated; fail where root in CI should be able to."""
    reason = why_impossible()
    if not reason:
        return
    if os.environ.get("CI") == "true" and os.geteuid() == 0:
        pytest.fail(reason)
    pytest.skip(reason)


def congestion_that_bears_losses() -> str:
    """`bbr` where the kernel has it: others take each loss for a full line, whatever is sent over them."""
    known = Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text().split()
    return "bbr" if "bbr" in known else ""


class LongLine:
    """The line and the server at its end; both end with the context."""

    def __init__(
        self,
        folder: Path,
        *,
        rtt_ms: float,
        loss_percent: float = 0.0,
        rate_mbit: float = 0.0,
        congestion: str = "",
    ) -> None:
        self.rtt_s = rtt_ms / 1000
        self.rate_bytes_s = rate_mbit * 125_000
        token = secrets.token_hex(3)
        self.near, self.far = f"mm{token}n", f"mm{token}f"
        self.folder = folder
        self._order = [
            self.near, self.far, f"--delay-ms={rtt_ms / 2}", f"--loss-percent={loss_percent}",
            f"--rate-mbit={rate_mbit}", f"--congestion={congestion}",
        ]  # fmt: skip
        self._relay: subprocess.Popen[str] | None = None
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> LongLine:
        self._relay = subprocess.Popen(
            [sys.executable, "-m", "tests.peers.wanlink", *self._order],
            cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._relay.stdout is not None
        assert self._relay.stdout.readline().strip() == "up", "the line did not come up"
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "server.conf"
        config.write_text(
            f'listen: "{FAR_ADDRESS}:{PORT}"\nserver_name: far\nmax_payload: 8MB\n'
            f'jetstream {{ store_dir: "{self.folder / "js"}", sync_interval: always }}\n'
        )
        with (self.folder / "server.log").open("wb") as log:
            self._server = subprocess.Popen(
                ("ip", "netns", "exec", self.far, str(find_server().path), "-c", str(config)),
                stdout=log, stderr=log,
            )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.terminate()
            self._server.wait(10)
        if self._relay is not None:
            with contextlib.suppress(BrokenPipeError):
                self.order("quit")
            self._relay.wait(10)
            for pipe in (self._relay.stdin, self._relay.stdout):
                assert pipe is not None
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def order(self, words: str) -> None:
        """Tell the line what to do: `cut`, `heal`, `delay 100`, `loss 5`, `rate 10`."""
        assert self._relay is not None
        assert self._relay.stdin is not None
        self._relay.stdin.write(words + "\n")
        self._relay.stdin.flush()

    @contextlib.contextmanager
    def here(self) -> Iterator[None]:
        """Work at the near end: every socket that this thread opens goes over the line."""
        with inside(self.near):
            yield


@dataclass
class Tally:
    """What publishing gave."""

    stored: dict[str, StoredEvent] = field(default_factory=dict)
    waits: dict[Priority, list[float]] = field(default_factory=lambda: {p: [] for p in Priority})
    at: list[float] = field(default_factory=list)
    """When each answer came."""

    def rate(self, begin_s: float, end_s: float) -> float:
        """Events a second answered in a span of time."""
        return sum(begin_s <= at < end_s for at in self.at) / (end_s - begin_s)


class FarSite:
    """A site whose store is at the far end of the line: real seals, real transport, real server."""

    def __init__(self, publisher: Publisher, path: StorePath, transport: NatsTransport) -> None:
        self.publisher = publisher
        self.path = path
        self.transport = transport
        self.tally = Tally()
        self._answered = asyncio.Event()

    async def path_is_known(self) -> None:
        """Return when it was measured how far the store is."""
        await eventually(lambda: self.path.rtt_s > 0, "the probe came back")

    async def stored_so_far(self, count: int, *, within_s: float) -> None:
        """Return when so many events are stored in all."""
        async with asyncio.timeout(within_s):
            while len(self.tally.stored) < count:
                self._answered.clear()
                await self._answered.wait()

    async def publish(
        self, name: str, *, partition: int, priority: Priority = Priority.ROUTINE, size: int = 2048
    ) -> float:
        """Publish one event until it is stored; returns the seconds that it took."""
        body = name.encode().ljust(size, b".")
        event = NewEvent(
            subject=f"evt.{SITE}.raw.test.{partition}", type="test", body=body,
            message_id=secrets.token_bytes(16), priority=priority,
        )  # fmt: skip
        began_s = time.perf_counter()
        stored = await self.publisher.publish(event, timeout_s=90)
        now_s = time.perf_counter()
        self.tally.stored[name] = stored
        self.tally.at.append(now_s)
        self._answered.set()
        self.tally.waits[priority].append(now_s - began_s)
        return now_s - began_s

    async def load(
        self, until_s: float, callers: int, *, priority: Priority, size: int = 2048, first: int = 0
    ) -> None:
        """So many callers, each with a partition of its own, one event after the other until a time."""

        async def caller(number: int) -> None:
            count = 0
            while time.perf_counter() < until_s:
                name = f"{number}-{count}"
                await self.publish(name, partition=number % 64, priority=priority, size=size)
                count += 1

        await asyncio.gather(*(caller(first + n) for n in range(callers)))


@contextlib.asynccontextmanager
async def far_site(line: LongLine, *, path: StorePath | None = None) -> AsyncIterator[FarSite]:
    """Connect over the line. The calling thread must be `line.here()`."""
    clock, counters = SystemClock(), Counters()
    # the keys do not lie at the far end: only what is published goes over the line
    keys = await MemoryBroker().connect()
    trust = await Trust.open(
        line.folder / "trust", mesh="wan", site=SITE, buckets=keys,
        clock=clock, counters=counters, passphrase=lambda: "",
    )  # fmt: skip
    await trust.start()
    writer = await trust.identity("emr-in", publish=(f"evt.{SITE}.>",), subscribe=())
    await trust.identity("his-out", publish=(), subscribe=(f"evt.{SITE}.>",))
    transport = await connect(
        [f"nats://{FAR_ADDRESS}:{PORT}"],
        name="far",
        options=NatsOptions(start_timeout_s=_START_S, connect_timeout_s=2.0),
    )
    await transport.store.ensure_stream(StreamSpec(name=STREAM, subjects=(f"evt.{SITE}.>",)))
    path = path or StorePath(clock)
    publisher = Publisher(
        site=SITE,
        store=transport.store,
        seals=ServiceSeals(identity=writer, trust=trust, clock=clock),
        clock=clock,
        counters=counters,
        fresh_id=lambda: secrets.token_bytes(16),
        max_payload=lambda: transport.max_payload,
        path=path,
    )
    try:
        yield FarSite(publisher, path, transport)
    finally:
        await publisher.stop()
        await transport.close()
        await trust.stop()
        await keys.close()
