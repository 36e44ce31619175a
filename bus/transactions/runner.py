"""The runner: takes sagas on, one task each, from where their rows stand.

One runner at a time holds the sagas of a name; should two ever believe that they do, the row's revision lets one of
their changes through, and idempotency keys make their calls act once.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from typing import Any

from pydantic import BaseModel

from bus.flow.backoff import Chance, backoff_s
from bus.telemetry.counters import Counters
from bus.telemetry.failures import error_code, failure_fields
from bus.telemetry.log import logger
from bus.transactions import saga_rows
from bus.transactions.database import Hold
from bus.transactions.outbox import Outbox
from bus.transactions.saga import Saga
from bus.transactions.saga_rows import Outpaced, SagaRow
from bus.transactions.saga_run import SagaRun, SagaTools, StateUnreadable
from bus.transactions.sagas import Sagas
from schemas.clock import Clock
from schemas.errors import Closed

_log = logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerSettings:
    """How a runner works; it has the shape of `bus.flow.backoff.Delays`, for a database that is away."""

    at_a_time: int = 32
    """Sagas in work at a time."""
    look_every_s: float = 0.5
    """How often it looks for sagas that other processes began."""
    blocked_delay_s: float = 60.0
    """Until a saga is looked at again that no known definition fits."""
    first_delay_s: float = 0.1
    longest_delay_s: float = 5.0
    multiplier: float = 2.0
    jitter: float = 0.2


class RunnerCondition(Enum):
    """How a runner is."""

    STOPPED = "stopped"
    STANDBY = "standby"
    """Other runners hold every name."""
    RUNNING = "running"
    DATABASE_AWAY = "database_away"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerHealth:
    """The condition, the names that this runner holds, and how many of their sagas are in work now."""

    condition: RunnerCondition
    held: tuple[str, ...] = ()
    in_work: int = 0


class SagaRunner(Sagas):
    """Runs sagas on a database: `start`, `health`, `drain`, `stop`, and everything that `Sagas` offers."""

    def __init__(
        self,
        outbox: Outbox,
        definitions: Sequence[Saga[Any]],
        *,
        clock: Clock,
        chance: Chance,
        counters: Counters,
        settings: RunnerSettings | None = None,
    ) -> None:
        super().__init__(outbox, definitions, clock=clock, counters=counters)
        self._chance = chance
        self._settings = settings or RunnerSettings()
        self._names = {name: asyncio.Event() for name, _ in self._sagas}
        self._held: set[str] = set()
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._draining = False
        self._away = False
        self._tools = SagaTools(
            outbox=outbox,
            clock=clock,
            chance=chance,
            counters=counters,
            may_go_on=lambda: not self._draining,
        )

    # ── lifecycle ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def start(self) -> None:
        """Take on what is due, or stand by while other runners do."""
        if not self._tasks:
            self._draining = False
            self._tasks = [
                asyncio.create_task(self._run(name), name=f"sagas {name}") for name in self._names
            ]

    def health(self) -> RunnerHealth:
        """Answer at once."""
        condition = RunnerCondition.RUNNING if self._held else RunnerCondition.STANDBY
        if not self._tasks:
            condition = RunnerCondition.STOPPED
        elif self._away:
            condition = RunnerCondition.DATABASE_AWAY
        held = tuple(sorted(self._held))
        return RunnerHealth(condition=condition, held=held, in_work=len(self._busy))

    async def drain(self, *, timeout_s: float) -> bool:
        """Begin nothing new and finish the attempts in hand; False when some were still under way."""
        self._draining = True
        if not self._busy:
            return True
        _, under_way = await asyncio.wait(tuple(self._busy.values()), timeout=timeout_s)
        return not under_way

    async def stop(self) -> None:
        """Stop at once; attempts under way are tried again by the next runner, with the same keys."""
        tasks, self._tasks = self._tasks, []
        for task in (*tasks, *self._busy.values()):
            task.cancel()
        await asyncio.gather(*tasks, *self._busy.values(), return_exceptions=True)

    def begun(self) -> None:
        """Look for new sagas now."""
        for wake in self._names.values():
            wake.set()

    # ── the work ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def _run(self, name: str) -> None:
        failures = 0
        while True:
            try:
                async with self._database.hold(f"saga-{name}") as hold:
                    self._held.add(name)
                    failures, self._away = 0, False
                    await self._take_on(name, hold)
            except Closed:
                return
            except Exception as error:  # noqa: BLE001 - the runner's outermost edge: it must outlive whatever breaks
                failures += 1
                self._away = True
                self._counters.add("saga_database_failed", who=name, reason=error_code(error))
                _log.warning("saga_database_failed", kind=name, **failure_fields(error))
                await asyncio.sleep(backoff_s(self._settings, failures, self._chance))
            finally:
                self._held.discard(name)

    async def _take_on(self, name: str, hold: Hold) -> None:
        wake = self._names[name]
        while True:
            wake.clear()
            await hold.check()
            if not self._draining:
                await self._begin_due(name)
            await self._until_due(name, wake)

    async def _begin_due(self, name: str) -> None:
        room = self._settings.at_a_time - len(self._busy)
        if room <= 0:
            return
        async with self._database.transaction() as transaction:
            ids = await saga_rows.due(
                transaction,
                self._database.dialect,
                name,
                now_ms=self._clock.now_ms(),
                limit=room,
                without=tuple(self._busy),
            )
        for saga_id in ids:
            task = asyncio.create_task(self._advance(saga_id), name=f"saga {name}")
            self._busy[saga_id] = task
            task.add_done_callback(partial(self._let_go, name, saga_id))

    def _let_go(self, name: str, saga_id: str, _: asyncio.Task[None]) -> None:
        self._busy.pop(saga_id, None)
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()
        self._names[name].set()

    async def _until_due(self, name: str, wake: asyncio.Event) -> None:
        async with self._database.transaction() as transaction:
            due_ms = await saga_rows.next_due_ms(
                transaction, self._database.dialect, name, after_ms=self._clock.now_ms()
            )
        wait_s = self._settings.look_every_s
        if due_ms is not None:
            wait_s = min(wait_s, max(0.0, (due_ms - self._clock.now_ms()) / 1000))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await wake.wait()

    async def _advance(self, saga_id: str) -> None:
        try:
            async with self._database.transaction() as transaction:
                row = await self._row(transaction, saga_id)
            saga = self._sagas.get((row.name, row.version))
            if saga is None or saga.step_names != row.steps:
                await self._block(row, "no_definition" if saga is None else "definition_changed")
                return
            await self._run_saga(saga, row)
        except Outpaced:
            self._counters.add("saga_outpaced")
        except Exception as error:  # noqa: BLE001 - the task's outermost edge: the row says where the saga stands
            self._counters.add("saga_interrupted", reason=error_code(error))
            _log.warning("saga_interrupted", **failure_fields(error))
            await asyncio.sleep(self._settings.first_delay_s)

    async def _run_saga(self, saga: Saga[BaseModel], row: SagaRow) -> None:
        try:
            run = SagaRun(saga, row, self._tools)
        except StateUnreadable as error:
            await self._block(row, error.code)
            return
        await run.advance()

    async def _block(self, row: SagaRow, code: str) -> None:
        """Leave it as it is, say why, and look again later: a deployment may bring its definition back."""
        self._counters.add("saga_blocked", who=row.name, reason=code)
        _log.error("saga_blocked", kind=row.name, version=row.version, reason=code)
        due_ms = self._clock.now_ms() + round(self._settings.blocked_delay_s * 1000)
        blocked = replace(row, blocked=code, progress=replace(row.progress, due_ms=due_ms))
        async with self._database.transaction() as transaction:
            await saga_rows.save(
                transaction, self._database.dialect, blocked, now_ms=row.changed_ms
            )


__all__ = ["RunnerCondition", "RunnerHealth", "RunnerSettings", "SagaRunner"]
