"""The runner: takes sagas on, one task each, and lets operators see, resume and cancel them.

One runner at a time holds the sagas of a name; should two ever believe that they do, the row's revision lets one of
their changes through, and idempotency keys make their calls act once.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from typing import Final, TypeVar, cast

from pydantic import BaseModel

from bus.events.protocol import Handler, Receipt, ReceivedEvent
from bus.flow.backoff import Chance, backoff_s
from bus.telemetry.counters import Counters
from bus.telemetry.failures import error_code, failure_fields
from bus.telemetry.log import logger
from bus.transactions import machine, saga_rows
from bus.transactions.database import Hold, Transaction
from bus.transactions.inbox import Inbox
from bus.transactions.machine import FINISHED, Progress, Status
from bus.transactions.outbox import Outbox, OutboxTransaction
from bus.transactions.saga import Saga
from bus.transactions.saga_rows import Outpaced, SagaRow
from bus.transactions.saga_run import SagaRun, SagaTools, StateUnreadable
from schemas.clock import Clock
from schemas.errors import Closed, ConfigurationError, MeshError

_S = TypeVar("_S", bound=BaseModel)
_MAX_ID_CHARS: Final = 64
_ORDER_TRIES: Final = 4
_log = logger(__name__)


class NoSuchSaga(MeshError, LookupError):
    """There is no saga with this id."""

    code = "no_such_saga"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class SagaView:
    """A saga as operators see it: codes, names and times, no content."""

    id: str
    name: str
    version: int
    status: Status
    step: str
    """The step in work; after the end, empty."""
    attempts: int
    """At this step, in this direction."""
    error_code: str
    """Of the last attempt that failed."""
    cause: str
    """Why it turned round: `<step>:<code>`."""
    blocked: str
    """Why no runner takes it on: `no_definition`, `definition_changed`, `saga_state_unreadable`."""
    started_ms: int
    changed_ms: int
    due_ms: int


class SagaRunner:
    """Runs sagas on a database: `start`, `health`, `drain`, `stop`, and what operators ask.

    `sagas` holds every definition of which sagas may run, older versions included.
    """

    def __init__(
        self,
        outbox: Outbox,
        sagas: Sequence[Saga[_S]],
        *,
        clock: Clock,
        chance: Chance,
        counters: Counters,
        settings: RunnerSettings | None = None,
    ) -> None:
        self._outbox = outbox
        self._database = outbox.database
        self._clock = clock
        self._chance = chance
        self._counters = counters
        self._settings = settings or RunnerSettings()
        # a definition is given and handed back only the states of its own model
        self._sagas = {(one.name, one.version): cast("Saga[BaseModel]", one) for one in sagas}
        if len(self._sagas) != len(sagas):
            raise ConfigurationError("two definitions have the same name and version")
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

    # ── beginning ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def begin(self, saga: Saga[_S], state: _S, *, saga_id: str = "") -> str:
        """Begin a saga; durable when this returns. The same id begins once: what runs under it is left alone.

        Returns the id. It is shown to operators: no patient data. Raises `Unavailable`, `ConfigurationError`.
        """
        async with self._outbox.transaction() as transaction:
            saga_id = await self.begin_in(transaction, saga, state, saga_id=saga_id)
        self.begun()
        return saga_id

    async def begin_in(
        self, transaction: OutboxTransaction, saga: Saga[_S], state: _S, *, saga_id: str = ""
    ) -> str:
        """Begin a saga if the given transaction commits; call `begun` after it, or it is found at the next look."""
        if (saga.name, saga.version) not in self._sagas:
            raise ConfigurationError(
                f"saga {saga.name} version {saga.version} is not among the definitions of this runner"
            )
        saga_id = saga_id or secrets.token_hex(16)
        if len(saga_id) > _MAX_ID_CHARS:
            raise ConfigurationError(
                f"a saga's id has at most {_MAX_ID_CHARS} characters, not {len(saga_id)}"
            )
        now_ms = self._clock.now_ms()
        row = SagaRow(
            id=saga_id,
            name=saga.name,
            version=saga.version,
            steps=saga.step_names,
            progress=machine.begin(now_ms),
            started_ms=now_ms,
            changed_ms=now_ms,
            state=state.model_dump_json().encode(),
        )
        if await saga_rows.insert(transaction.inner, self._database.dialect, row):
            self._counters.add("saga_begun", who=saga.name)
        return saga_id

    def begun(self) -> None:
        """Have the runner look for new sagas now."""
        for wake in self._names.values():
            wake.set()

    def starter(
        self,
        inbox: Inbox,
        consumer: str,
        saga: Saga[_S],
        state_of: Callable[[ReceivedEvent], _S | None],
    ) -> Handler:
        """A handler for `Events.consume` that begins one saga for each event; None from `state_of` begins none.

        The saga's id is the event's message id in hex.
        """

        async def begin(event: ReceivedEvent, transaction: OutboxTransaction) -> None:
            state = state_of(event)
            if state is not None:
                await self.begin_in(transaction, saga, state, saga_id=event.message_id.hex())

        handler = inbox.handler(consumer, begin)

        async def handle(event: ReceivedEvent) -> Receipt | None:
            receipt = await handler(event)
            self.begun()
            return receipt

        return handle

    # ── what operators ask ────────────────────────────────────────────────────────────────────────────────────────

    async def get(self, saga_id: str) -> SagaView:
        """One saga. Raises `NoSuchSaga`, `Unavailable`."""
        async with self._database.transaction() as transaction:
            return _view(await self._row(transaction, saga_id))

    async def list(
        self, *, statuses: Sequence[Status] = tuple(Status), limit: int = 100
    ) -> list[SagaView]:
        """Sagas of every name in some states, the one changed longest ago first. Raises `Unavailable`."""
        async with self._database.transaction() as transaction:
            rows = await saga_rows.listed(
                transaction, self._database.dialect, statuses=statuses, limit=limit
            )
        return [_view(row) for row in rows]

    async def counts(self) -> dict[tuple[str, Status], int]:
        """How many sagas of each name are in each state. Raises `Unavailable`."""
        async with self._database.transaction() as transaction:
            return await saga_rows.counted(transaction)

    async def resume(self, saga_id: str) -> SagaView:
        """Try a stuck or waiting saga now. Raises `NoSuchSaga`, `Outpaced`, `Unavailable`."""
        return await self._ordered(saga_id, lambda row: machine.resumed(row.progress, self._now()))

    async def cancel(self, saga_id: str) -> SagaView:
        """Turn a running saga round; any other stays as it is. Raises as `resume`, and `ConfigurationError`."""

        def turned(row: SagaRow) -> Progress:
            saga = self._sagas.get((row.name, row.version))
            if saga is None:
                raise ConfigurationError(
                    f"saga {row.name} version {row.version} is not among the definitions of this runner"
                )
            return machine.cancelled(saga.plan, row.progress, self._now())

        return await self._ordered(saga_id, turned)

    async def forget(self, *, older_than_s: float) -> int:
        """Delete finished sagas whose end is older; how many went. Their states hold patient data: call it daily."""
        before_ms = self._now() - round(older_than_s * 1000)
        async with self._database.transaction() as transaction:
            return await saga_rows.forget(transaction, self._database.dialect, before_ms=before_ms)

    async def _ordered(self, saga_id: str, change: Callable[[SagaRow], Progress]) -> SagaView:
        """Change a saga's row; again where its runner was faster."""
        for _ in range(_ORDER_TRIES):
            with contextlib.suppress(Outpaced):
                return await self._changed(saga_id, change)
        return await self._changed(saga_id, change)

    async def _changed(self, saga_id: str, change: Callable[[SagaRow], Progress]) -> SagaView:
        async with self._database.transaction() as transaction:
            row = await self._row(transaction, saga_id)
            row = await saga_rows.save(
                transaction,
                self._database.dialect,
                replace(row, progress=change(row)),
                now_ms=self._now(),
            )
        self.begun()
        return _view(row)

    async def _row(self, transaction: Transaction, saga_id: str) -> SagaRow:
        row = await saga_rows.load(transaction, self._database.dialect, saga_id)
        if row is None:
            raise NoSuchSaga("there is no saga with this id: it never began here, or was forgotten")
        return row

    def _now(self) -> int:
        return self._clock.now_ms()

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
                now_ms=self._now(),
                limit=room,
                without=tuple(self._busy),
            )
        for saga_id in ids:
            task = asyncio.create_task(self._advance(saga_id), name=f"saga {name}")
            self._busy[saga_id] = task
            task.add_done_callback(partial(self._let_go, name, saga_id))

    def _let_go(self, name: str, saga_id: str, _: asyncio.Task[None]) -> None:
        self._busy.pop(saga_id, None)
        self._names[name].set()

    async def _until_due(self, name: str, wake: asyncio.Event) -> None:
        async with self._database.transaction() as transaction:
            due_ms = await saga_rows.next_due_ms(
                transaction, self._database.dialect, name, after_ms=self._now()
            )
        wait_s = self._settings.look_every_s
        if due_ms is not None:
            wait_s = min(wait_s, max(0.0, (due_ms - self._now()) / 1000))
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
        due_ms = self._now() + round(self._settings.blocked_delay_s * 1000)
        blocked = replace(row, blocked=code, progress=replace(row.progress, due_ms=due_ms))
        async with self._database.transaction() as transaction:
            await saga_rows.save(
                transaction, self._database.dialect, blocked, now_ms=row.changed_ms
            )


def _view(row: SagaRow) -> SagaView:
    progress = row.progress
    names = row.steps.split()
    return SagaView(
        id=row.id,
        name=row.name,
        version=row.version,
        status=progress.status,
        step="" if progress.status in FINISHED else names[progress.step],
        attempts=progress.attempts,
        error_code=progress.error_code,
        cause=progress.cause,
        blocked=row.blocked,
        started_ms=row.started_ms,
        changed_ms=row.changed_ms,
        due_ms=progress.due_ms,
    )


__all__ = [
    "NoSuchSaga",
    "RunnerCondition",
    "RunnerHealth",
    "RunnerSettings",
    "SagaRunner",
    "SagaView",
]
