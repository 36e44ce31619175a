"""One saga on its way: from where its row stands to where it waits or ends, one commit a change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

from pydantic import BaseModel, ValidationError

from bus.flow.backoff import Chance
from bus.services.protocol import CallFailed
from bus.telemetry.counters import Counters
from bus.telemetry.failures import error_code
from bus.telemetry.log import logger
from bus.transactions import machine
from bus.transactions.attempts import Ended, Known, attempt_step, call_for
from bus.transactions.machine import FINISHED, Direction, Plan, Progress, Status
from bus.transactions.outbox import Outbox, OutboxTransaction
from bus.transactions.saga import LocalStep, Saga, Step, StepRefused
from bus.transactions.saga_rows import Outpaced, SagaRow, save
from schemas.clock import Clock
from schemas.errors import DeadlineExceeded, MeshError, Unavailable

_log = logger(__name__)


class StateUnreadable(MeshError):
    """The stored state does not fit the definition's state model any more."""

    code: ClassVar[str] = "saga_state_unreadable"


@dataclass(frozen=True, slots=True, kw_only=True)
class SagaTools:
    """What every run needs."""

    outbox: Outbox
    clock: Clock
    chance: Chance
    counters: Counters
    may_go_on: Callable[[], bool]
    """False while the runner drains: runs stop after the change in hand."""


class SagaRun:
    """Takes one saga on. Raises `Outpaced`, `Unavailable`, `StateUnreadable`: then its row says where it stands."""

    def __init__(self, saga: Saga[BaseModel], row: SagaRow, tools: SagaTools) -> None:
        self._saga = saga
        self._plan: Plan = saga.plan
        self._row = row
        self._tools = tools
        self._state = _state_of(saga, row)
        self._is_begun = False
        """Whether the attempt that is due was begun by this run, and not by one that died."""

    async def advance(self) -> None:
        """Go on until the saga waits or has ended."""
        while self._is_due() and self._tools.may_go_on():
            await self._step()

    def _is_due(self) -> bool:
        progress = self._row.progress
        return progress.status not in FINISHED and progress.due_ms <= self._now_ms()

    async def _step(self) -> None:
        progress = self._row.progress
        if machine.is_late(self._plan, progress, self._now_ms()) and not self._is_begun:
            await self._change(machine.late(self._plan, progress, self._now_ms()))
            return
        step = self._saga.steps[progress.step]
        if isinstance(step, LocalStep):
            await self._do_here(step)
        else:
            await self._do_elsewhere(step)

    # ── a step elsewhere ──────────────────────────────────────────────────────────────────────────────────────────

    async def _do_elsewhere(self, step: Step[BaseModel]) -> None:
        if not self._is_begun:
            await self._change(machine.attempt(self._row.progress, self._now_ms()))
        self._is_begun = False
        progress = self._row.progress
        call = call_for(self._saga, self._row.id, progress)
        ended = await attempt_step(step, call, progress, self._state)
        if ended.known is Known.DONE:
            self._state = ended.state or self._state
            after, is_begun = self._after_success(progress)
            await self._change(after)
            self._is_begun = is_begun
        else:
            await self._change(self._after_failure(progress, ended))

    def _after_success(self, progress: Progress) -> tuple[Progress, bool]:
        """Go on and, where the next half is elsewhere too, begin it in the same commit."""
        after = machine.succeeded(self._plan, progress, self._now_ms())
        if (
            after.status in FINISHED
            or self._plan.steps[after.step].is_local
            or not self._tools.may_go_on()
        ):
            return after, False
        return machine.attempt(after, self._now_ms()), True

    def _after_failure(self, progress: Progress, ended: Ended) -> Progress:
        now_ms = self._now_ms()
        name = self._plan.steps[progress.step].name
        self._tools.counters.add("saga_step_failed", who=self._saga.name, reason=ended.code)
        _log.warning(
            "saga_step_failed", kind=self._saga.name, state=f"{name}:{progress.direction.value}",
            attempt=progress.attempts, reason=ended.code,
        )  # fmt: skip
        if ended.known is Known.REFUSED:
            return machine.refused(self._plan, progress, ended.code, now_ms)
        if ended.known is Known.GIVEN_UP:
            return machine.given_up(self._plan, progress, ended.code, now_ms, self._tools.chance)
        return machine.failed(
            self._plan,
            progress,
            ended.code,
            now_ms,
            self._tools.chance,
            surely_nothing=ended.known is Known.NOTHING,
        )

    # ── a step in the saga's own database ─────────────────────────────────────────────────────────────────────────

    async def _do_here(self, step: LocalStep[BaseModel]) -> None:
        before = machine.attempt(self._row.progress, self._now_ms())
        try:
            async with asyncio.timeout(step.timeout_s), self._tools.outbox.transaction() as both:
                row, state, is_begun = await self._written(step, before, both)
        except (Outpaced, Unavailable):
            raise
        except (StepRefused, CallFailed) as error:
            ended = Ended(Known.REFUSED, error.reason or error.code)
        except TimeoutError:
            ended = Ended(Known.NOTHING, DeadlineExceeded.code)
        except Exception as error:  # noqa: BLE001 - a step is foreign code: whatever it raises was rolled back
            ended = Ended(Known.NOTHING, error_code(error))
        else:
            self._adopt(row, state)
            self._is_begun = is_begun
            return
        await self._change(self._after_failure(replace(before, is_open=False), ended))

    async def _written(
        self, step: LocalStep[BaseModel], before: Progress, both: OutboxTransaction
    ) -> tuple[SagaRow, BaseModel, bool]:
        half = step.action if before.direction is Direction.ACT else step.undo
        call = call_for(self._saga, self._row.id, before)
        state = (await half(both, call, self._state) if half is not None else None) or self._state
        after, is_begun = self._after_success(before)
        row = replace(self._row, progress=after, blocked="", state=_bytes_of(state))
        dialect = self._tools.outbox.database.dialect
        return await save(both.inner, dialect, row, now_ms=self._now_ms()), state, is_begun

    # ── the row ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def _change(self, progress: Progress) -> None:
        """Commit one change of the saga."""
        database = self._tools.outbox.database
        row = replace(self._row, progress=progress, blocked="", state=_bytes_of(self._state))
        async with database.transaction() as transaction:
            row = await save(transaction, database.dialect, row, now_ms=self._now_ms())
        self._adopt(row, self._state)

    def _adopt(self, row: SagaRow, state: BaseModel) -> None:
        before, self._row, self._state = self._row.progress, row, state
        after = row.progress
        if after.status is before.status:
            return
        cause = after.cause.rpartition(":")[2] if after.status is Status.COMPENSATING else ""
        reason = after.error_code if after.status is Status.STUCK else cause
        self._tools.counters.add(f"saga_{after.status.value}", who=self._saga.name, reason=reason)
        if after.status is Status.STUCK:
            name = self._plan.steps[after.step].name
            _log.error("saga_stuck", kind=self._saga.name, state=name, reason=after.error_code)

    def _now_ms(self) -> int:
        return self._tools.clock.now_ms()


def _state_of(saga: Saga[BaseModel], row: SagaRow) -> BaseModel:
    try:
        return saga.state.model_validate_json(row.state)
    except ValidationError:
        raise StateUnreadable(
            f"the stored state of a saga {saga.name} is no {saga.state.__name__}: give the changed model a new version"
        ) from None


def _bytes_of(state: BaseModel) -> bytes:
    return state.model_dump_json().encode()


__all__ = ["SagaRun", "SagaTools", "StateUnreadable"]
