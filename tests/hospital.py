"""A hospital for tests: `medmesh up` and its receiver as processes of their own, which can be killed at any moment."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.peers.sink import Journal
from tests.ports import free_port
from tests.shared_data import ROOT

READY_S = 60.0


async def eventually(condition: Callable[[], bool], *, within_s: float, what: str) -> None:
    """Wait until a condition that no event announces holds (a file of another process, say)."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    while not condition():
        if loop.time() > deadline:
            raise AssertionError(f"not within {within_s} s: {what}")
        tick = loop.create_future()
        loop.call_later(0.02, tick.set_result, None)
        await tick


@dataclass
class Process:
    """A child process whose standard output is read line by line."""

    process: asyncio.subprocess.Process
    lines: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill(self) -> None:
        """kill -9."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()

    async def stop(self, *, within_s: float = 30.0) -> int:
        """SIGTERM, and wait for the end."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.terminate()
        try:
            async with asyncio.timeout(within_s):
                code = await self.process.wait()
        except TimeoutError:
            self.kill()
            await self.process.wait()
            raise AssertionError(
                f"did not stop within {within_s} s: {''.join(self.errors[-30:])}"
            ) from None
        await asyncio.gather(*self.tasks)
        return code

    async def ended(self) -> None:
        await self.process.wait()
        await asyncio.gather(*self.tasks)


async def start(arguments: list[str], *, environment: Mapping[str, str] | None = None) -> Process:
    """Run Python with `arguments` and read what it prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        stdin=asyncio.subprocess.DEVNULL,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
        limit=1 << 22,
    )
    child = Process(process)
    assert process.stdout is not None
    assert process.stderr is not None
    child.tasks = [
        asyncio.create_task(_collect(process.stdout, child.lines)),
        asyncio.create_task(_collect(process.stderr, child.errors)),
    ]
    return child


async def _collect(stream: asyncio.StreamReader, lines: list[str]) -> None:
    while line := await stream.readline():
        lines.append(line.decode("utf-8", "replace"))


class Sink:
    """The receiving system: a process that journals what it gets before it answers."""

    def __init__(self, folder: Path, *, name: str = "his") -> None:
        self.port = free_port()
        self.journal_path = folder / f"{name}.journal"
        self.child: Process | None = None

    async def start(self, *options: str) -> None:
        self.child = await start(
            [
                str(ROOT / "tests/peers/sink.py"),
                "--port",
                str(self.port),
                "--journal",
                str(self.journal_path),
                *options,
            ]
        )
        child = self.child
        await eventually(lambda: bool(child.lines), within_s=READY_S, what="the receiver listens")

    async def kill(self) -> None:
        assert self.child is not None
        self.child.kill()
        await self.child.ended()

    @property
    def journal(self) -> Journal:
        return Journal.read(self.journal_path)

    async def received(self, count: int, *, within_s: float) -> None:
        """Wait until `count` different messages have come."""
        await eventually(
            lambda: len({control for control, _ in self.journal.received}) >= count,
            within_s=within_s,
            what=f"{count} different messages at the receiver",
        )


class Site:
    """`medmesh up` on a configuration of its own."""

    def __init__(
        self, folder: Path, adapters: str, *, extra: str = "", data: Path | None = None
    ) -> None:
        self.folder = folder
        self.data = data or folder / "data"
        self.config = folder / "mesh.toml"
        self.config.write_text(
            f'[mesh]\nname = "test-hospital"\nsite = "north"\ndata = "{self.data}"\n\n{extra}\n{adapters}'
        )
        self.child: Process | None = None

    async def start(self, *, environment: Mapping[str, str] | None = None) -> None:
        self.child = await start(
            ["-m", "medmesh", "up", "-c", str(self.config), "--json"], environment=environment
        )
        child = self.child
        await eventually(
            lambda: bool(child.lines) or child.process.returncode is not None,
            within_s=READY_S,
            what="medmesh up is ready",
        )
        if not child.lines:
            await child.ended()
            raise AssertionError(f"medmesh up ended: {''.join(child.errors[-40:])}")
        first = json.loads(child.lines[0])
        assert first["event"] == "ready", first

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """What `medmesh up --json` printed so far."""
        assert self.child is not None
        parsed = [json.loads(line) for line in self.child.lines if line.endswith("\n")]
        return [event for event in parsed if name is None or event["event"] == name]

    def server_pid(self) -> int | None:
        """The process id of the embedded NATS server; None while it is down."""
        assert self.child is not None
        children = (
            Path(f"/proc/{self.child.pid}/task/{self.child.pid}/children").read_text().split()
        )
        for pid in children:
            with contextlib.suppress(OSError):
                if "nats-server" in Path(f"/proc/{pid}/cmdline").read_text():
                    return int(pid)
        return None

    async def kill_server(self) -> None:
        """kill -9 of the NATS server alone; waits for it when it is just being started."""
        await eventually(
            lambda: self.server_pid() is not None, within_s=30, what="a running server"
        )
        pid = self.server_pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

    async def kill(self) -> None:
        """kill -9 of medmesh."""
        assert self.child is not None
        self.child.kill()
        await self.child.ended()

    def resident_bytes(self) -> int:
        """Resident memory of medmesh itself, without the server."""
        assert self.child is not None
        for line in Path(f"/proc/{self.child.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no resident memory in /proc")

    async def stop(self) -> int:
        assert self.child is not None
        return await self.child.stop(within_s=60.0)


@contextlib.asynccontextmanager
async def running(
    site: Site, *sinks: Sink, environment: Mapping[str, str] | None = None
) -> AsyncIterator[None]:
    """Start a site, and end it and its receivers whatever happens."""
    try:
        await site.start(environment=environment)
        yield
    finally:
        for child in [site.child, *(sink.child for sink in sinks)]:
            if child is not None and child.process.returncode is None:
                child.kill()
            if child is not None:
                await child.ended()


def mllp_in(port: int, *, more: str = "") -> str:
    """The adapter of the sending system."""
    return f'[[adapter]]\nname = "emr-in"\nkind = "hl7v2.mllp-server"\nlisten = "127.0.0.1:{port}"\n{more}\n'


def mllp_out(port: int, *, more: str = "", name: str = "his-out") -> str:
    """The adapter of the receiving system."""
    return (
        f'[[adapter]]\nname = "{name}"\nkind = "hl7v2.mllp-client"\nconnect = "127.0.0.1:{port}"\n'
        f'subscribe = "evt.north.raw.hl7v2.>"\n{more}\n'
    )


def archive(folder: Path) -> str:
    """The archive folder."""
    return (
        f'[[adapter]]\nname = "archive"\nkind = "files.writer"\nfolder = "{folder}"\n'
        'subscribe = "evt.north.raw.>"\n'
    )
