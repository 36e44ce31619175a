"""The embedded NATS server: found, started, watched, started again when it dies, stopped, never left behind.

One process owns the server of a data folder, by a lock that the kernel frees when the process ends. Other processes on
the same folder are guests: they read `connection.json` and connect. The server dies with its owner (see
`server_process`); one that was left behind all the same is recognised by its process number and start time, and ended
before a new one is started on the same store.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bus.telemetry.counters import Counters
from bus.telemetry.log import logger
from bus.transport.binary import ServerBinary, find_server
from bus.transport.nats.monitor import Monitor
from bus.transport.server_files import Access, Folder, Identity
from bus.transport.server_log import LogTail, Notice, NoticeKind
from bus.transport.server_process import answers, end, end_orphan, is_running, spawn, started
from schemas.errors import MeshError, Unavailable

_log: Final = logger("nats-server")
_PROBE_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """Settings of the embedded server."""

    max_payload_bytes: int = 8 * 1024 * 1024
    """The largest message; each connection may hold four of them in memory on the server."""
    max_store_bytes: int = 1 << 60
    """Most bytes of all streams together. By default the disk and each stream's own limit decide: left to itself
    nats-server takes three quarters of what is free, and refuses a stream whose limit is beyond."""
    start_timeout_s: float = 120.0
    """How long a start may take; a large store is read before the server answers."""
    stop_timeout_s: float = 10.0
    """How long the server may take to end before it is killed."""
    look_s: float = 1.0
    """How often log and health are looked at."""
    silent_s: float = 30.0
    """A server that greets nobody for so long is killed and started again."""
    restart_wait_s: float = 0.1
    """First wait before a dead server is started again; doubles up to `restart_wait_max_s`."""
    restart_wait_max_s: float = 10.0
    free_bytes: int = 64 * 1024 * 1024
    """After a write error the server writes nothing until it is started again: done once so much disk is free."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerHealth:
    """How the server is."""

    running: bool
    trouble: str
    """What the server says is wrong with itself, empty when well."""
    restarts: int


def running_server(folder: Path) -> Access | None:
    """How to reach the server that another process runs on `<data>/nats`; None when none runs."""
    access = Folder(folder).access()
    if access is None or not is_running(access.pid, access.started):
        return None
    return access


class EmbeddedServer:
    """nats-server on loopback with JetStream in `folder`, syncing always."""

    def __init__(
        self,
        folder: Path,
        *,
        options: ServerOptions | None = None,
        binary: ServerBinary | None = None,
        counters: Counters | None = None,
        on_notice: Callable[[Notice], None] | None = None,
    ) -> None:
        self._folder = Folder(folder)
        self._options = options or ServerOptions()
        self._binary = binary
        self._counters = counters or Counters()
        self._on_notice = on_notice
        self._lock: int | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._access: Access | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._restarts = 0
        self._trouble = ""

    @property
    def is_owner(self) -> bool:
        """Whether this process runs the server; False where it found another process's server."""
        return self._lock is not None

    @property
    def access(self) -> Access:
        """How to connect. Raises `Unavailable` before `start`."""
        if self._access is None:
            raise Unavailable("the embedded server is not started")
        return self._access

    async def start(self) -> Access:
        """Start the server, or find the one that another process runs on this folder, and say how to connect.

        Raises `ConfigurationError` (no usable nats-server, no usable folder), `Unavailable` (it does not come up).
        """
        self._folder.create()
        self._lock = self._folder.lock()
        try:
            if self._lock is None:
                self._access = await self._find_running()
                return self._access
            binary = self._binary
            if binary is None:
                binary = await asyncio.to_thread(find_server)
            await self._end_orphan()
            self._folder.adopt_streams()
            identity = self._folder.identity()
            self._access = await self._launch(binary, identity)
        except BaseException:
            await self._abandon()
            raise
        self._keeper = asyncio.create_task(self._keep(binary, identity), name="nats-server-keeper")
        return self._access

    async def health(self) -> ServerHealth:
        """Look at the server now."""
        access = self._access
        running = access is not None and is_running(access.pid, access.started)
        if running and access is not None:
            self._trouble = await Monitor(access.monitor_url).trouble()
        return ServerHealth(running=running, trouble=self._trouble, restarts=self._restarts)

    async def drain(self) -> None:
        """Stop watching: from now on a server that dies is not started again."""
        self._stopping.set()
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)

    async def stop(self) -> None:
        """End the server: SIGTERM, then SIGKILL after the deadline. A guest leaves the owner's server alone."""
        await self.drain()
        await self._abandon()

    async def _abandon(self) -> None:
        if self._process is not None and not await end(
            self._process, timeout_s=self._options.stop_timeout_s
        ):
            self._counters.add("server_killed", who="nats-server", reason="stop_timeout")
        self._process = None
        self._access = None
        if self._lock is not None:
            self._folder.withdraw()
            os.close(self._lock)
            self._lock = None

    # -- starting ------------------------------------------------------------------------------

    async def _find_running(self) -> Access:
        """The owner may be starting just now: wait for it."""
        try:
            async with asyncio.timeout(self._options.start_timeout_s):
                while True:
                    access = running_server(self._folder.path)
                    if access is not None and await answers(_port(access), timeout_s=_PROBE_S):
                        return access
                    await asyncio.sleep(_PROBE_S / 10)
        except TimeoutError:
            raise Unavailable(
                f"another process holds {self._folder.path}, but no NATS server of it answers"
            ) from None

    async def _end_orphan(self) -> None:
        left = self._folder.access()
        if left is not None and await end_orphan(
            left.pid, left.started, timeout_s=self._options.stop_timeout_s
        ):
            self._notice(
                NoticeKind.ORPHAN_ENDED, f"ended nats-server {left.pid} of an earlier owner"
            )

    async def _launch(self, binary: ServerBinary, identity: Identity) -> Access:
        options = self._options
        self._folder.write_config(
            identity,
            max_payload_bytes=options.max_payload_bytes,
            max_store_bytes=options.max_store_bytes,
        )
        self._process = process = await spawn(binary.path, self._folder.config, self._folder.log)
        # written before it answers: a crash of ours from here on leaves a trace of the process
        access = self._folder.announce(identity, pid=process.pid, started=started(process.pid))
        try:
            async with asyncio.timeout(options.start_timeout_s):
                while not await answers(identity.port, timeout_s=_PROBE_S):
                    if process.returncode is not None:
                        raise Unavailable(
                            f"nats-server ended at its start with code {process.returncode}; see {self._folder.log}"
                        )
                    await asyncio.sleep(_PROBE_S / 50)
        except TimeoutError:
            raise Unavailable(
                f"nats-server did not answer within {options.start_timeout_s:.0f} s; see {self._folder.log}"
            ) from None
        return access

    # -- keeping it alive ----------------------------------------------------------------------

    async def _keep(self, binary: ServerBinary, identity: Identity) -> None:
        wait_s = self._options.restart_wait_s
        while not self._stopping.is_set():
            lived_s = await self._watch(identity)
            if self._stopping.is_set():
                return
            if lived_s > self._options.silent_s:
                wait_s = self._options.restart_wait_s
            await self._pause(wait_s)
            wait_s = min(wait_s * 2, self._options.restart_wait_max_s)
            await self._start_again(binary, identity)

    async def _start_again(self, binary: ServerBinary, identity: Identity) -> None:
        if self._stopping.is_set():
            return
        try:
            self._access = await self._launch(binary, identity)
        except MeshError as error:
            self._notice(NoticeKind.SERVER_DIED, str(error))
            return
        self._restarts += 1
        self._notice(NoticeKind.SERVER_RESTARTED, "nats-server runs again")

    async def _watch(self, identity: Identity) -> float:
        """Return when the server is dead or was ended because it is of no use; how many seconds it lived."""
        loop = asyncio.get_running_loop()
        process = self._process
        if process is None:
            return 0.0
        born = heard_at = loop.time()
        tail = LogTail(self._folder.log)
        gone = asyncio.ensure_future(process.wait())
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            while not gone.done() and not stopping.done():
                await asyncio.wait(
                    (gone, stopping),
                    timeout=self._options.look_s,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                self._tell(tail)
                if gone.done() or stopping.done():
                    break
                if await answers(identity.port, timeout_s=_PROBE_S):
                    heard_at = loop.time()
                await self._cure(process, silent_s=loop.time() - heard_at)
            if gone.done():
                self._notice(
                    NoticeKind.SERVER_DIED, f"nats-server ended with code {process.returncode}"
                )
        finally:
            gone.cancel()
            stopping.cancel()
        return loop.time() - born

    def _tell(self, tail: LogTail) -> None:
        for notice in tail.read():
            self._notice(notice.kind, notice.text)

    async def _cure(self, process: asyncio.subprocess.Process, *, silent_s: float) -> None:
        """End a server that cannot recover by itself; the keeper starts it again."""
        if silent_s > self._options.silent_s:
            self._notice(
                NoticeKind.SERVER_SILENT, f"nats-server greeted nobody for {silent_s:.0f} s"
            )
            await end(process, timeout_s=self._options.stop_timeout_s)
            return
        if self._access is None:
            return
        self._trouble = await Monitor(self._access.monitor_url).trouble()
        if "write error" not in self._trouble:
            return
        if shutil.disk_usage(self._folder.store).free >= self._options.free_bytes:
            await end(process, timeout_s=self._options.stop_timeout_s)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return

    def _notice(self, kind: NoticeKind, text: str) -> None:
        self._counters.add("server_notice", who="nats-server", reason=kind.value)
        _log.warning("server_notice", reason=kind.value)
        if self._on_notice is not None:
            self._on_notice(Notice(kind=kind, text=text))


def _port(access: Access) -> int:
    return int(access.servers[0].rpartition(":")[2])


__all__ = ["EmbeddedServer", "ServerHealth", "ServerOptions", "running_server"]
