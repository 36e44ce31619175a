"""SQLite behind the seam: one connection on a thread of its own, write-ahead log, fsync at each commit."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from bus.transactions.database import Dialect, Row, Value
from bus.transactions.migrations import migrate
from schemas.errors import Closed, ConfigurationError, Unavailable

_T = TypeVar("_T")
_HOLD_AGAIN_S: Final = 0.2
_OLDEST_SQLITE: Final = (3, 35, 0)
_PRIMARY_CODE: Final = 0xFF
_PASSING: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOMEM,
    }
)


class SqliteDatabase:
    """`bus.transactions.database.Database` of a SQLite file.

    `prepare` is called once with the new connection, on its thread: for row factories, functions and pragmas of the
    user's. Deleted rows are overwritten with zeros (`secure_delete`), since ours hold patient data.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        wait_s: float = 30.0,
        prepare: Callable[[sqlite3.Connection], None] | None = None,
    ) -> None:
        self._path = Path(path)
        self._wait_s = wait_s
        self._prepare = prepare
        self._thread: ThreadPoolExecutor | None = None
        self._connection: sqlite3.Connection | None = None
        self._turn = asyncio.Lock()

    @property
    def dialect(self) -> Dialect:
        """`?` stands for a value."""
        return Dialect.SQLITE

    async def start(self) -> None:
        """Open the file and bring our tables to this version. Raises `Unavailable`, `ConfigurationError`."""
        if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
            raise ConfigurationError(
                f"SQLite {sqlite3.sqlite_version} is too old: 3.35 or newer is needed"
            )
        self._thread = ThreadPoolExecutor(
            max_workers=1, thread_name_prefix=f"sqlite {self._path.name}"
        )
        try:
            self._connection = await self._in_thread(self._open)
            async with self.transaction() as transaction:
                await migrate(transaction, Dialect.SQLITE)
        except BaseException:
            await self.stop()
            raise

    def _open(self) -> sqlite3.Connection:
        with _translated():
            connection = sqlite3.connect(
                self._path, timeout=self._wait_s, isolation_level=None, check_same_thread=False
            )
            try:
                connection.execute("pragma journal_mode = wal")
                connection.execute("pragma synchronous = full")
                connection.execute("pragma secure_delete = on")
                if self._prepare is not None:
                    self._prepare(connection)
            except BaseException:
                connection.close()
                raise
            return connection

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[SqliteTransaction]:
        """One transaction (`begin immediate`); one at a time. Raises `Unavailable`, `Closed`."""
        try:
            async with asyncio.timeout(self._wait_s):
                await self._turn.acquire()
        except TimeoutError:
            raise Unavailable(
                f"another transaction of this process has held {self._path.name} for {self._wait_s} s"
            ) from None
        try:
            transaction = SqliteTransaction(self)
            try:
                await transaction.execute("begin immediate")
                yield transaction
                await transaction.execute("commit")
            except BaseException:
                with contextlib.suppress(Closed):
                    await asyncio.shield(self._in_thread(self._roll_back))
                raise
        finally:
            self._turn.release()

    def _roll_back(self) -> None:
        connection = self._connection
        if connection is not None and connection.in_transaction:
            connection.rollback()

    @contextlib.asynccontextmanager
    async def hold(self, name: str) -> AsyncIterator[FileHold]:
        """Hold a lock file beside the database; the system frees it when its holder dies."""
        path = self._path.with_name(f"{self._path.name}-medmesh-{name}.lock")
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while not _lock(file):  # noqa: ASYNC110 - another process frees it without a word
                await asyncio.sleep(_HOLD_AGAIN_S)
            yield FileHold()
        finally:
            os.close(file)

    async def stop(self) -> None:
        """Close the file; an open transaction is rolled back."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        connection, self._connection = self._connection, None
        if connection is not None:
            loop = asyncio.get_running_loop()
            await asyncio.shield(loop.run_in_executor(thread, connection.close))
        thread.shutdown(wait=False)

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        if self._thread is None:
            raise Closed(f"the database {self._path.name} is not open")
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def run(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Run `work` on the database's thread; for `SqliteTransaction`."""
        return await self._in_thread(lambda: self._worked(work))

    def _worked(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        if self._connection is None:
            raise Closed(f"the database {self._path.name} is not open")
        with _translated():
            return work(self._connection)


class SqliteTransaction:
    """An open transaction of a `SqliteDatabase`."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    async def execute(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        """Run one statement; how many rows it changed."""
        return await self.run(lambda connection: connection.execute(sql, parameters).rowcount)

    async def fetch(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        """Run one statement and return all of its rows."""
        return await self.run(lambda connection: _rows(connection.execute(sql, parameters)))

    async def run(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Run `work` with the connection on the database's thread, inside this transaction: it must not commit."""
        return await self._database.run(work)


class FileHold:
    """A locked file: nobody can take it away from a living process."""

    async def check(self) -> None:
        """Return at once."""


def _rows(cursor: sqlite3.Cursor) -> list[Row]:
    return [tuple(row) for row in cursor.fetchall()]


def _lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        if (error.sqlite_errorcode & _PRIMARY_CODE) not in _PASSING:
            raise
        # the driver's words may hold values of the statement
        raise Unavailable(
            f"the SQLite database cannot be used now: {error.sqlite_errorname}"
        ) from None


__all__ = ["FileHold", "SqliteDatabase", "SqliteTransaction"]
