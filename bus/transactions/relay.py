"""The relay: reads committed rows of the outbox in order, has the mesh store them, then deletes them.

A row is deleted only after the mesh has stored its event, under the message id that lies in the row: a relay that dies
in between publishes it again, and the stream knows the id. Order holds within a lane (the partition of the subject, one
of 64): a row is published only after the one before it is stored. That is why several relays may run, and even overlap,
without harm; one at a time holds the outbox so that they do not do the same work.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Protocol

from bus.events.protocol import NewEvent, StoredEvent
from bus.flow.backoff import Chance, backoff_s
from bus.telemetry.counters import Counters
from bus.telemetry.failures import failure_fields
from bus.telemetry.log import logger
from bus.transactions.database import Hold
from bus.transactions.outbox import Outbox, OutboxDepth, OutboxRows, Waiting
from schemas.clock import Clock
from schemas.errors import Closed, MeshError, PermissionRefused

_HOLD: Final = "relay"
_log = logger(__name__)


class Publishes(Protocol):
    """The part of `bus.events.protocol.Events` that a relay needs."""

    async def publish(self, event: NewEvent, *, timeout_s: float = 30.0) -> StoredEvent:
        """Store one event; the same message id is stored once."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RelaySettings:
    """How a relay works; it has the shape of `bus.flow.backoff.Delays`."""

    batch_rows: int = 256
    """Rows in memory at a time."""
    batch_bytes: int = 8 * 1024 * 1024
    """Bytes of bodies in memory at a time; one row that is larger goes alone."""
    look_every_s: float = 0.2
    """How often it looks for rows of other processes; those of this one are told to it."""
    publish_timeout_s: float = 30.0
    first_delay_s: float = 0.1
    longest_delay_s: float = 5.0
    """No lane waits longer before it tries again, however long the mesh is away."""
    multiplier: float = 2.0
    jitter: float = 0.2


class RelayCondition(Enum):
    """How a relay is."""

    STOPPED = "stopped"
    STANDBY = "standby"
    """Another relay holds the outbox."""
    RELAYING = "relaying"
    LANES_WAIT = "lanes_wait"
    """The mesh could not store the first row of some lanes; they are tried again."""
    DATABASE_AWAY = "database_away"


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayHealth:
    """The condition, and the error that caused it."""

    condition: RelayCondition
    error_code: str = ""
    waiting_lanes: int = 0


@dataclass
class _Lane:
    """A lane whose first row could not be stored."""

    failures: int = 0
    due_s: float = 0.0


@dataclass
class _Round:
    """One batch: what became of its rows."""

    stored: list[int] = field(default_factory=list)
    hopeless: list[tuple[Waiting, Exception]] = field(default_factory=list)


class Relay:
    """Takes the outbox's rows into the mesh: `start`, `health`, `drain`, `stop`."""

    def __init__(
        self,
        outbox: Outbox,
        events: Publishes,
        *,
        clock: Clock,
        chance: Chance,
        counters: Counters,
        settings: RelaySettings | None = None,
    ) -> None:
        self._outbox = outbox
        self._rows = OutboxRows(outbox.database)
        self._events = events
        self._clock = clock
        self._chance = chance
        self._counters = counters
        self._settings = settings or RelaySettings()
        self._lanes: dict[int, _Lane] = {}
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._health = RelayHealth(condition=RelayCondition.STOPPED)
        self._task: asyncio.Task[None] | None = None
        self._stop_listening: Callable[[], None] | None = None

    async def start(self) -> None:
        """Begin to relay, or to stand by while another relay does."""
        if self._task is None:
            self._stop_listening = self._outbox.on_committed(self._wake.set)
            self._health = RelayHealth(condition=RelayCondition.STANDBY)
            self._task = asyncio.create_task(self._run(), name="outbox relay")

    def health(self) -> RelayHealth:
        """Answer at once."""
        return self._health

    async def depth(self) -> OutboxDepth:
        """What waits in the outbox now. Raises `Unavailable`."""
        return await self._outbox.depth()

    async def drain(self, *, timeout_s: float) -> bool:
        """Wait until nothing waits; False when rows are left for the next start."""
        self._idle.clear()
        self._wake.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
                return True
        return False

    async def stop(self) -> None:
        """Stop at once; rows whose publish is under way are published again by the next relay, as duplicates."""
        task, self._task = self._task, None
        if self._stop_listening is not None:
            self._stop_listening()
            self._stop_listening = None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._health = RelayHealth(condition=RelayCondition.STOPPED)

    # ── one holder ────────────────────────────────────────────────────────────────────────────────────────────────

    async def _run(self) -> None:
        failures = 0
        while True:
            try:
                async with self._outbox.database.hold(_HOLD) as hold:
                    failures = 0
                    await self._relay(hold)
            except Closed:
                return
            except Exception as error:  # noqa: BLE001 - the relay's outermost edge: it must outlive whatever breaks
                failures += 1
                self._failed("outbox_database_failed", error)
                self._health = RelayHealth(
                    condition=RelayCondition.DATABASE_AWAY, error_code=_code(error)
                )
                await asyncio.sleep(backoff_s(self._settings, failures, self._chance))

    async def _relay(self, hold: Hold) -> None:
        while True:
            self._wake.clear()
            await hold.check()
            found = await self._round()
            self._note_condition()
            if not found:
                await self._pause()

    async def _pause(self) -> None:
        now_s = self._clock.monotonic_s()
        if not self._lanes and not self._wake.is_set():
            self._idle.set()
        due_s = min(
            (lane.due_s - now_s for lane in self._lanes.values()),
            default=self._settings.look_every_s,
        )
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, min(due_s, self._settings.look_every_s))):
                await self._wake.wait()

    def _note_condition(self) -> None:
        away = bool(self._lanes) and self._health.error_code != ""
        self._health = RelayHealth(
            condition=RelayCondition.LANES_WAIT if away else RelayCondition.RELAYING,
            error_code=self._health.error_code if away else "",
            waiting_lanes=len(self._lanes),
        )

    # ── one batch ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def _round(self) -> bool:
        """Take one batch forward; False when there was nothing to do now."""
        now_s = self._clock.monotonic_s()
        waiting = await self._rows.waiting(
            limit=self._settings.batch_rows,
            without=[number for number, lane in self._lanes.items() if lane.due_s > now_s],
        )
        if not waiting:
            return False
        chosen = self._affordable(waiting)
        events = await self._rows.read([row.seq for row in chosen])
        lanes: dict[int, list[Waiting]] = {}
        for row in chosen:
            lanes.setdefault(row.lane, []).append(row)
        result = _Round()
        async with asyncio.TaskGroup() as group:
            for number, rows in lanes.items():
                group.create_task(self._take_lane(number, rows, events, result))
        if result.stored:
            await self._rows.forget(result.stored)
        for row, error in result.hopeless:
            await self._park(row, error)
        return True

    def _affordable(self, waiting: Sequence[Waiting]) -> Sequence[Waiting]:
        """As many of the oldest rows as the memory allows; at least one."""
        total = 0
        for count, row in enumerate(waiting):
            total += row.size
            if total > self._settings.batch_bytes and count:
                return waiting[:count]
        return waiting

    async def _take_lane(
        self, number: int, rows: Sequence[Waiting], events: dict[int, NewEvent], result: _Round
    ) -> None:
        """Publish the rows of one lane, each after the one before it is stored."""
        for row in rows:
            event = events.get(row.seq)
            if event is None:
                continue  # another relay was faster
            try:
                stored = await self._events.publish(
                    event, timeout_s=self._settings.publish_timeout_s
                )
            except MeshError as error:
                if _is_passing(error):
                    self._wait(number, error)
                    return
                result.hopeless.append((row, error))
                continue
            except ValueError as error:
                result.hopeless.append((row, error))
                continue
            result.stored.append(row.seq)
            self._lanes.pop(number, None)
            reason = "duplicate" if stored.duplicate else "stored"
            self._counters.add("outbox_published", reason=reason)

    def _wait(self, number: int, error: MeshError) -> None:
        lane = self._lanes.setdefault(number, _Lane())
        lane.failures += 1
        lane.due_s = self._clock.monotonic_s() + backoff_s(
            self._settings, lane.failures, self._chance
        )
        self._counters.add("outbox_waited", reason=error.code)
        self._health = RelayHealth(condition=RelayCondition.LANES_WAIT, error_code=error.code)
        if lane.failures == 1:
            _log.warning("outbox_waits", lane=number, **failure_fields(error))

    async def _park(self, row: Waiting, error: Exception) -> None:
        """It can never be stored as it is: the lane goes on without it, and operators see it."""
        code = _code(error)
        await self._rows.park(row.seq, code)
        self._counters.add("outbox_parked", reason=code)
        _log.error("outbox_parked", lane=row.lane, seq=row.seq, **failure_fields(error))

    def _failed(self, event: str, error: Exception) -> None:
        self._counters.add(event, reason=_code(error))
        _log.warning(event, **failure_fields(error))


def _is_passing(error: MeshError) -> bool:
    """Whether time or an operator can heal it; a right can be granted and a mesh opened again."""
    return error.retryable or isinstance(error, PermissionRefused | Closed)


def _code(error: Exception) -> str:
    return failure_fields(error)["error_code"]


__all__ = ["Publishes", "Relay", "RelayCondition", "RelayHealth", "RelaySettings"]
