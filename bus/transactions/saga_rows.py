"""Sagas in the database: one row each, changed only by whoever knows its newest revision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Final

from bus.transactions.database import (
    Dialect,
    Row,
    Transaction,
    Value,
    number,
    octets,
    places,
    spelled,
    text,
)
from bus.transactions.machine import FINISHED, Progress, Status
from schemas.errors import MeshError

_COLUMNS: Final = (
    "id", "name", "version", "steps", "status", "step", "attempts", "is_open", "in_doubt", "step_began_ms", "due_ms",
    "error_code", "cause", "blocked", "revision", "started_ms", "changed_ms", "state",
)  # fmt: skip
_ACTIVE: Final = "status in ('running', 'compensating', 'stuck')"
_INSERT: Final = (
    f"insert into medmesh_saga ({', '.join(_COLUMNS)}) values ({places(len(_COLUMNS))})"  # noqa: S608 - our own names
    " on conflict (id) do nothing"
)
_SELECT: Final = f"select {', '.join(_COLUMNS)} from medmesh_saga"  # noqa: S608 - our own names
_CHANGED: Final = tuple(
    one for one in _COLUMNS if one not in ("id", "name", "version", "steps", "started_ms")
)
_UPDATE: Final = (
    f"update medmesh_saga set {', '.join(f'{one} = ?' for one in _CHANGED)} where id = ? and revision = ?"  # noqa: S608 - our own names
)  # fmt: skip


class Outpaced(MeshError):
    """Someone else has changed the saga meanwhile: another runner, or an operator. What they did counts."""

    code: ClassVar[str] = "outpaced"
    retryable: ClassVar[bool] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SagaRow:
    """One saga as it lies in the database."""

    id: str
    name: str
    version: int
    steps: str
    """Names of the steps that it began with."""
    progress: Progress
    blocked: str = ""
    """Why no runner may take it on: a stable code; empty when one may."""
    revision: int = 0
    started_ms: int
    changed_ms: int
    state: bytes = field(repr=False)


async def insert(transaction: Transaction, dialect: Dialect, row: SagaRow) -> bool:
    """Write a new saga; False when there is one with this id."""
    return await transaction.execute(spelled(dialect, _INSERT), _values(row)) > 0


async def load(transaction: Transaction, dialect: Dialect, saga_id: str) -> SagaRow | None:
    """Read one saga."""
    rows = await transaction.fetch(spelled(dialect, f"{_SELECT} where id = ?"), (saga_id,))
    return _row(rows[0]) if rows else None


async def save(transaction: Transaction, dialect: Dialect, row: SagaRow, *, now_ms: int) -> SagaRow:
    """Write a saga over the revision that it was read at; returns it with its new one. Raises `Outpaced`."""
    after = replace(row, revision=row.revision + 1, changed_ms=now_ms)
    values = dict(zip(_COLUMNS, _values(after), strict=True))
    parameters = (*(values[one] for one in _CHANGED), row.id, row.revision)
    if not await transaction.execute(spelled(dialect, _UPDATE), parameters):
        raise Outpaced("the saga was changed by someone else meanwhile")
    return after


async def due(
    transaction: Transaction,
    dialect: Dialect,
    name: str,
    *,
    now_ms: int,
    limit: int,
    without: Sequence[str],
) -> list[str]:
    """Ids of the sagas of a definition that something is to be done about, longest due first."""
    others = f"and id not in ({places(len(without))})" if without else ""
    sql = (
        f"select id from medmesh_saga where name = ? and {_ACTIVE} and due_ms <= ? {others}"  # noqa: S608 - places only
        " order by due_ms, id limit ?"
    )
    rows = await transaction.fetch(spelled(dialect, sql), (name, now_ms, *without, limit))
    return [text(row[0]) for row in rows]


async def next_due_ms(
    transaction: Transaction, dialect: Dialect, name: str, *, after_ms: int
) -> int | None:
    """When the next saga becomes due; None when none will."""
    sql = f"select min(due_ms) from medmesh_saga where name = ? and {_ACTIVE} and due_ms > ?"  # noqa: S608 - our own words
    rows = await transaction.fetch(spelled(dialect, sql), (name, after_ms))
    return number(rows[0][0]) if rows and rows[0][0] is not None else None


async def listed(
    transaction: Transaction,
    dialect: Dialect,
    *,
    statuses: Sequence[Status],
    limit: int,
) -> list[SagaRow]:
    """Sagas in some states, the one changed longest ago first."""
    sql = f"{_SELECT} where status in ({places(len(statuses))}) order by changed_ms, id limit ?"
    parameters: list[Value] = [*(one.value for one in statuses), limit]
    return [_row(row) for row in await transaction.fetch(spelled(dialect, sql), parameters)]


async def counted(transaction: Transaction) -> dict[tuple[str, Status], int]:
    """How many sagas of each name are in each state."""
    rows = await transaction.fetch(
        "select name, status, count(*) from medmesh_saga group by name, status"
    )
    return {(text(row[0]), Status(text(row[1]))): number(row[2]) for row in rows}


async def forget(transaction: Transaction, dialect: Dialect, *, before_ms: int) -> int:
    """Delete finished sagas that changed last before then; how many went."""
    sql = f"delete from medmesh_saga where status in ({places(len(FINISHED))}) and changed_ms < ?"  # noqa: S608 - places only
    parameters = (*(one.value for one in FINISHED), before_ms)
    return await transaction.execute(spelled(dialect, sql), parameters)


def _values(row: SagaRow) -> tuple[Value, ...]:
    progress = row.progress
    return (
        row.id,
        row.name,
        row.version,
        row.steps,
        progress.status.value,
        progress.step,
        progress.attempts,
        int(progress.is_open),
        int(progress.in_doubt),
        progress.began_ms,
        progress.due_ms,
        progress.error_code,
        progress.cause,
        row.blocked,
        row.revision,
        row.started_ms,
        row.changed_ms,
        row.state,
    )


def _row(values: Row) -> SagaRow:
    found = dict(zip(_COLUMNS, values, strict=True))
    return SagaRow(
        id=text(found["id"]),
        name=text(found["name"]),
        version=number(found["version"]),
        steps=text(found["steps"]),
        progress=Progress(
            status=Status(text(found["status"])),
            step=number(found["step"]),
            attempts=number(found["attempts"]),
            is_open=bool(found["is_open"]),
            in_doubt=bool(found["in_doubt"]),
            began_ms=number(found["step_began_ms"]),
            due_ms=number(found["due_ms"]),
            error_code=text(found["error_code"]),
            cause=text(found["cause"]),
        ),
        blocked=text(found["blocked"]),
        revision=number(found["revision"]),
        started_ms=number(found["started_ms"]),
        changed_ms=number(found["changed_ms"]),
        state=octets(found["state"]),
    )


__all__ = [
    "Outpaced",
    "SagaRow",
    "counted",
    "due",
    "forget",
    "insert",
    "listed",
    "load",
    "next_due_ms",
    "save",
]
