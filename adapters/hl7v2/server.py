"""The MLLP server: listens, admits, watches deadlines, and drains without leaving an accepted message unanswered."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
from collections.abc import Awaitable
from typing import Final

from adapters.contract import AdapterRuntime, Condition, Health
from adapters.hl7v2.codec.mllp import Problem
from adapters.hl7v2.config import AckLevel, MllpServerConfig, split_address
from adapters.hl7v2.connection import ConnectionLimits, MllpConnection
from adapters.hl7v2.intake import Intake, Reply
from adapters.hl7v2.limits import Peers, Refusal
from adapters.hl7v2.tls import server_context
from bus.telemetry.log import logger
from schemas.errors import ConfigurationError, Unavailable

_log = logger(__name__)

_BACKLOG: Final = 1024
_SWEEP_S: Final = 1.0
_MIB: Final = 1 << 20
_MIN_BUFFERED_BYTES: Final = 256 * _MIB


class MllpServer:
    """`hl7v2.mllp-server`."""

    def __init__(self, config: MllpServerConfig, runtime: AdapterRuntime) -> None:
        if config.ack is AckLevel.REPLICATED and not runtime.replicated:
            raise ConfigurationError(
                f'adapter {config.name}: ack = "replicated" needs a cluster that stores events on two servers or more; '
                'this mesh has one. Use ack = "stored", or give [nats] servers of a cluster'
            )
        self._config = config
        self._runtime = runtime
        self._intake = Intake(config, runtime)
        self._peers = Peers(
            allow=config.allow,
            max_connections=config.max_connections,
            max_connections_per_peer=config.max_connections_per_peer,
            messages_per_second=config.messages_per_second,
        )
        self._limits = ConnectionLimits(
            max_message_bytes=config.max_message_bytes,
            idle_timeout_s=config.idle_timeout_s,
            frame_timeout_s=config.frame_timeout_s,
            cr_optional=config.end_block_cr_optional,
        )
        self._connections: set[MllpConnection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._empty = asyncio.Event()
        self._empty.set()
        self._draining = False
        self._held_bytes = 0
        self._max_held_bytes = max(_MIN_BUFFERED_BYTES, 4 * config.max_message_bytes)

    # the four verbs

    async def start(self) -> None:
        """Listen. Raises `ConfigurationError` for certificates, `Unavailable` when the address cannot be had."""
        config = self._config
        host, port = split_address(config.listen)
        tls = server_context(config.tls, name=f"adapter {config.name}") if config.tls else None
        handshake_s = config.tls.handshake_timeout_s if config.tls else None
        try:
            self._listener = await asyncio.get_running_loop().create_server(
                self._connection,
                host or None,
                port,
                ssl=tls,
                backlog=_BACKLOG,
                ssl_handshake_timeout=handshake_s,
            )
        except OSError as error:
            raise Unavailable(
                f"adapter {config.name}: cannot listen on {config.listen}: {error.strerror or error}"
            ) from error
        self._sweeper = asyncio.get_running_loop().create_task(self._sweep_for_ever())

    def health(self) -> Health:
        """Say whether messages are taken, and from how many."""
        if self._listener is None:
            return Health(condition=Condition.STOPPED, detail="not listening")
        if self._draining:
            return Health(condition=Condition.DEGRADED, detail="draining: takes nothing new")
        trouble = self._intake.trouble
        if self._sweeper is None or self._sweeper.done():
            trouble = "deadlines of connections are not enforced any more; restart the adapter"
        if trouble:
            return Health(condition=Condition.DEGRADED, detail=trouble)
        return Health(
            condition=Condition.HEALTHY,
            detail=f"{self._peers.connections} connections on {self._config.listen}",
        )

    async def drain(self, *, timeout_s: float) -> None:
        """Stop listening; answer every message that was received whole; close the connections."""
        self._draining = True
        if self._listener is not None:
            self._listener.close()
        for connection in tuple(self._connections):
            connection.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._empty.wait()
                while self._tasks:
                    await asyncio.wait(tuple(self._tasks))
        for connection in tuple(self._connections):
            self.report("connection_cut", "drain_timeout", peer=connection.address)
            connection.abort()

    async def stop(self) -> None:
        """Close everything at once; what was not answered, its sender sends again."""
        self._draining = True
        if self._listener is not None:
            self._listener.close()
        for connection in tuple(self._connections):
            connection.abort()
        tasks = [*self._tasks, *([self._sweeper] if self._sweeper else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._listener = None

    @property
    def bound_port(self) -> int:
        """The port listened on: the one asked of the system when the configuration says 0."""
        if self._listener is None or not self._listener.sockets:
            raise Unavailable(f"adapter {self._config.name} does not listen")
        port: int = self._listener.sockets[0].getsockname()[1]
        return port

    @property
    def held_bytes(self) -> int:
        """Bytes of messages in hand, of all connections together."""
        return self._held_bytes

    # what a connection needs

    def accept(self, message: bytes) -> Awaitable[Reply]:
        """Store one message; say what to answer."""
        return self._intake.accept(message)

    def refuse(self, problem: Problem) -> bytes | None:
        """The negative answer to a bad frame, if one can be addressed."""
        return self._intake.refuse(problem)

    def delay_s(self, address: str) -> float:
        """0.0 when a message of this address may be worked now; else ask again after so many seconds."""
        return self._peers.delay_s(address, self._runtime.clock.monotonic_s())

    def opened(self, connection: MllpConnection) -> bool:
        """Admit a connection or refuse it, counted."""
        refusal = Refusal.DRAINING if self._draining else self._peers.admit(connection.address)
        if refusal is not None:
            self.report("connection_refused", refusal.value, peer=connection.address)
            return False
        self._connections.add(connection)
        self._empty.clear()
        return True

    def closed(self, connection: MllpConnection) -> None:
        """Forget a connection."""
        self._connections.discard(connection)
        self._peers.leave(connection.address)
        if not self._connections:
            self._empty.set()

    def held(self, change: int) -> bool:
        """Account for buffered bytes; False when all connections together hold too many."""
        self._held_bytes += change
        return self._held_bytes <= self._max_held_bytes

    def report(
        self, counter: str, reason: str, *, peer: str, size: int = 0, head: bytes = b""
    ) -> None:
        """Count and log something about a peer: its length and a keyed hash, never its bytes."""
        self._runtime.counters.add(counter, who=self._config.name, reason=reason)
        digest = hmac.digest(self._runtime.site_key, head, hashlib.sha256)[:8].hex() if head else ""
        name = self._config.name
        _log.warning(counter, adapter=name, reason=reason, peer=peer, bytes=size, digest=digest)

    # inside

    def _connection(self) -> MllpConnection:
        return MllpConnection(self, self._limits, self._runtime.clock.monotonic_s, self._spawn)

    def _spawn(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _sweep_for_ever(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            self.sweep()

    def sweep(self) -> None:
        """Enforce every connection's deadlines as of now; the server does it once a second."""
        now_s = self._runtime.clock.monotonic_s()
        for connection in tuple(self._connections):
            connection.sweep(now_s)
        self._peers.forget_idle(now_s)


__all__ = ["MllpServer"]
