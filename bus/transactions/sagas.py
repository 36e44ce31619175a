"""Sagas in the hands of programs and operators: begin, look, resume, cancel, forget. Runs nothing itself.

A process that only begins sagas (a web application, say) needs no more than this; the runner of another takes them on.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from pydantic import BaseModel

from bus.events.protocol import Handler, Receipt, ReceivedEvent
from bus.telemetry.counters import Counters
from bus.transactions import machine, saga_rows
from bus.transactions.database import Transaction
from bus.transactions.inbox import Inbox
from bus.transactions.machine import FINISHED, Progress, Status
from bus.transactions.outbox import Outbox, OutboxTransaction
from bus.transactions.saga import Saga
from bus.transactions.saga_rows import Outpaced, SagaRow
from schemas.clock import Clock
from schemas.errors import ConfigurationError, MeshError

_S = TypeVar("_S", bound=BaseModel)
_MAX_ID_CHARS: Final = 64
_ORDER_TRIES: Final = 4
_LOOK_S: Final = 0.5


class NoSuchSaga(MeshError, LookupError):
    """There is no saga with this id."""

    code = "no_such_saga"


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


class Sagas:
    """The sagas of a database. `definitions` holds every one of which sagas may be begun or run, older versions too."""

    def __init__(
        self,
        outbox: Outbox,
        definitions: Sequence[Saga[Any]],
        *,
        clock: Clock,
        counters: Counters,
    ) -> None:
        self._outbox = outbox
        self._database = outbox.database
        self._clock = clock
        self._counters = counters
        # each has a state of its own, and is handed only what was stored as that
        self._sagas: dict[tuple[str, int], Saga[BaseModel]] = {
            (one.name, one.version): one for one in definitions
        }
        if len(self._sagas) != len(definitions):
            raise ConfigurationError("two definitions have the same name and version")
        self._moved = asyncio.Event()

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
        """Say that there are sagas to take on; a runner in this process hears it."""

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

    async def ended(self, saga_id: str) -> SagaView:
        """Wait until a saga has ended. Bound it with `asyncio.timeout`: a stuck one waits for a person.

        Raises `NoSuchSaga`, `Unavailable`.
        """
        while True:
            moved = self._moved
            view = await self.get(saga_id)
            if view.status in FINISHED:
                return view
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await moved.wait()

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
        return await self._ordered(
            saga_id, lambda row: machine.resumed(row.progress, self._clock.now_ms())
        )

    async def cancel(self, saga_id: str) -> SagaView:
        """Turn a running saga round; any other stays as it is. Raises as `resume`, and `ConfigurationError`."""

        def turned(row: SagaRow) -> Progress:
            saga = self._sagas.get((row.name, row.version))
            if saga is None:
                raise ConfigurationError(
                    f"saga {row.name} version {row.version} is not among the definitions of this runner"
                )
            return machine.cancelled(saga.plan, row.progress, self._clock.now_ms())

        return await self._ordered(saga_id, turned)

    async def forget(self, *, older_than_s: float) -> int:
        """Delete finished sagas whose end is older; how many went. Their states hold patient data: call it daily."""
        before_ms = self._clock.now_ms() - round(older_than_s * 1000)
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
                now_ms=self._clock.now_ms(),
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


__all__ = ["NoSuchSaga", "SagaView", "Sagas"]
