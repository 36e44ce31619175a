"""The seam to the store's database: work that reads, and work that writes resources and events in one transaction.

Work is an `async` function over a `Unit`. It awaits nothing but the unit's own statements: SQLite runs it whole, on a
thread.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, TypeVar

from bus.events.protocol import NewEvent
from bus.transactions.database import Dialect, Row, Transaction, Value, spelled
from bus.transactions.outbox import Outbox, OutboxTransaction

T = TypeVar("T")


@dataclass(slots=True)
class Unit:
    """One unit of work: the open transaction, and the events that are stored if it commits."""

    transaction: Transaction
    dialect: Dialect
    events: list[NewEvent] = field(default_factory=list)

    async def execute(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        """Run a statement written with `?`; how many rows it changed."""
        return await self.transaction.execute(spelled(self.dialect, sql), parameters)

    async def fetch(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        """Run a statement written with `?`; all of its rows."""
        return await self.transaction.fetch(spelled(self.dialect, sql), parameters)


Work: TypeAlias = Callable[[Unit], Coroutine[Any, Any, T]]


class Engine(Protocol):
    """A database with the store's tables. Errors that time can heal are `Unavailable`."""

    @property
    def outbox(self) -> Outbox:
        """Where events wait for the relay."""
        ...

    async def start(self) -> None:
        """Open it and bring the tables to this version. Raises `Unavailable`, `ConfigurationError`."""
        ...

    async def read(self, work: Work[T]) -> T:
        """Run work that changes nothing, on one snapshot. Raises `Unavailable`, `QueryTooLong`."""
        ...

    async def write(self, work: Work[T]) -> T:
        """Run work in a transaction; when it returns, everything is on the disk. Raises `Unavailable`."""
        ...

    async def within(self, transaction: OutboxTransaction, work: Work[T]) -> T:
        """Run work inside of a transaction that is open already: an inbox's."""
        ...

    async def stop(self) -> None:
        """Close it."""
        ...


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """The result of work that never waits: its statements run where it runs."""
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    work.close()
    raise RuntimeError("work of a store has waited for something else than its statements")


__all__ = ["Engine", "Unit", "Work", "at_once"]
