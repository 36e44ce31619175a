"""The seam to the user's database: transactions that hold the user's rows and ours, and one holder at a time.

SQLite (`bus.transactions.sqlite`) and PostgreSQL (`bus.transactions.postgres`) stand behind it and pass one suite.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from enum import Enum
from functools import lru_cache
from typing import Protocol, TypeVar

Value = bytes | str | int | float | None
"""What a column of ours holds, and what a statement takes."""
Row = tuple[Value, ...]


class Dialect(Enum):
    """How a database spells what the two do not share."""

    SQLITE = "sqlite"
    POSTGRES = "postgres"


class Transaction(Protocol):
    """An open transaction. The user's statements are in the database's own words: `?` for SQLite, `%s` for PostgreSQL.

    Errors of a statement itself (a broken constraint, wrong SQL) are the driver's own. What time can heal (locked,
    full, away, a deadlock) is `Unavailable`.
    """

    async def execute(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        """Run one statement; how many rows it changed."""
        ...

    async def fetch(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        """Run one statement and return all of its rows."""
        ...


class Hold(Protocol):
    """A name that this process holds in the database and nobody else does."""

    async def check(self) -> None:
        """Return while it is surely held. Raises `Unavailable` when it was lost."""
        ...


class Database(Protocol):
    """Where the user's rows are. Entering a transaction begins it, leaving commits, an error rolls back."""

    @property
    def dialect(self) -> Dialect:
        """How statements are spelled here."""
        ...

    async def start(self) -> None:
        """Connect, and bring our tables to this version. Raises `Unavailable`, `ConfigurationError`."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """One transaction; when leaving it returns, what was written is on the disk. Raises `Unavailable`, `Closed`."""
        ...

    def hold(self, name: str) -> AbstractAsyncContextManager[Hold]:
        """Wait until nobody else holds `name`, and hold it. It is free again when the holder leaves or dies."""
        ...

    async def stop(self) -> None:
        """Disconnect; open transactions are rolled back."""
        ...


_D = TypeVar("_D", bound=Database)


@contextlib.asynccontextmanager
async def opened(database: _D) -> AsyncIterator[_D]:
    """A database that is started, and stopped at the end: use it with `async with`."""
    await database.start()
    try:
        yield database
    finally:
        await database.stop()


@lru_cache(maxsize=512)
def spelled(dialect: Dialect, sql: str) -> str:
    """One of our own statements, written with `?`, in the words of a database."""
    return sql if dialect is Dialect.SQLITE else sql.replace("?", "%s")


def places(count: int) -> str:
    """`?, ?, ?`: for a list of values in one of our statements."""
    return ", ".join("?" * count)


def text(value: Value) -> str:
    """A column that holds text. Raises `TypeError` when it does not: the table was changed by someone else."""
    if not isinstance(value, str):
        raise TypeError(f"a text column holds {type(value).__name__}")
    return value


def number(value: Value) -> int:
    """A column that holds an integer. Raises `TypeError`."""
    if not isinstance(value, int):
        raise TypeError(f"an integer column holds {type(value).__name__}")
    return value


def octets(value: Value) -> bytes:
    """A column that holds bytes. Raises `TypeError`."""
    if not isinstance(value, bytes):
        raise TypeError(f"a column of bytes holds {type(value).__name__}")
    return value


__all__ = [
    "Database",
    "Dialect",
    "Hold",
    "Row",
    "Transaction",
    "Value",
    "number",
    "octets",
    "opened",
    "places",
    "spelled",
    "text",
]
