"""SQLite behind the store: one writer, whose commits hold everything that waits, and several readers."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar, cast

from adapters.fhir.store.engine import Unit, Work, at_once
from adapters.fhir.store.tables import migrate
from bus.telemetry.failures import failure_fields
from bus.telemetry.log import logger
from bus.transactions.database import Dialect, Row, Transaction, Value
from bus.transactions.outbox import Outbox, OutboxTransaction
from bus.transactions.sqlite import SqliteDatabase, SqliteTransaction
from schemas.clock import Clock
from schemas.errors import Closed, MeshError, ResourceExhausted, Unavailable
from schemas.fhir.release import Release

T = TypeVar("T")
_log = logger(__name__)
_STEPS_BETWEEN_LOOKS: Final = 20_000
_CACHE_KIB: Final = 32 * 1024


class QueryTooLong(MeshError, TimeoutError):
    """A search took longer than `query_timeout_s`; it was ended."""

    code: ClassVar[str] = "query_too_long"


@dataclass(slots=True)
class _Waiting:
    """Work that waits for the next commit."""

    work: Work[Any]
    done: asyncio.Future[Any]


class _Statements:
    """`Transaction` over a connection of this thread: each statement runs at once."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def execute(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        """Run one statement; how many rows it changed."""
        return self._connection.execute(sql, parameters).rowcount

    async def fetch(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        """Run one statement and return all of its rows."""
        return self._connection.execute(sql, parameters).fetchall()


class SqliteEngine:
    """`adapters.fhir.store.engine.Engine` of a SQLite file.

    `batch` writes share a commit at most, so each waits for one fsync, and not for everyone's; `queue` may wait.
    """

    def __init__(
        self,
        path: Path,
        *,
        release: Release,
        clock: Clock,
        readers: int = 4,
        wait_s: float = 30.0,
        query_timeout_s: float = 10.0,
        batch: int = 64,
        queue: int = 4096,
    ) -> None:
        self._path = path
        self._release = release
        self._database = SqliteDatabase(path, wait_s=wait_s, prepare=_roomy)
        self._outbox = Outbox(self._database, clock=clock)
        self._clock = clock
        self._readers = readers
        self._wait_s = wait_s
        self._query_timeout_s = query_timeout_s
        self._batch = batch
        self._queue_limit = queue
        self._queue: deque[_Waiting] = deque()
        self._committer: asyncio.Task[None] | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._own = threading.local()
        self._connections: list[sqlite3.Connection] = []

    @property
    def outbox(self) -> Outbox:
        """Its rows lie in the same file."""
        return self._outbox

    async def start(self) -> None:
        """Open the file, which is readable by its owner alone. Raises `Unavailable`, `ConfigurationError`."""
        await asyncio.to_thread(_private, self._path)
        await self._database.start()
        try:
            async with self._database.transaction() as transaction:
                await migrate(transaction, Dialect.SQLITE, self._release.value)
        except BaseException:
            await self._database.stop()
            raise
        self._pool = ThreadPoolExecutor(self._readers, thread_name_prefix="fhir store reader")

    async def read(self, work: Work[T]) -> T:
        """Run work on one of the readers. Raises `Unavailable`, `QueryTooLong`."""
        if self._pool is None:
            raise Closed("the store is not open")
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._read, work)

    def _read(self, work: Work[T]) -> T:
        connection = self._connection()
        now_s = self._clock.monotonic_s
        late_s = now_s() + self._query_timeout_s
        connection.set_progress_handler(lambda: now_s() > late_s, _STEPS_BETWEEN_LOOKS)
        with _translated(self._query_timeout_s):
            connection.execute("begin")
            try:
                return at_once(work(Unit(_Statements(connection), Dialect.SQLITE)))
            finally:
                connection.set_progress_handler(None, 0)
                connection.execute("rollback")

    def _connection(self) -> sqlite3.Connection:
        found: sqlite3.Connection | None = getattr(self._own, "connection", None)
        if found is None:
            with _translated(self._query_timeout_s):
                found = sqlite3.connect(
                    self._path, timeout=self._wait_s, isolation_level=None, check_same_thread=False
                )
                found.execute("pragma query_only = on")
                found.execute(f"pragma cache_size = -{_CACHE_KIB}")
            self._own.connection = found
            self._connections.append(found)
        return found

    async def write(self, work: Work[T]) -> T:
        """Run work with whatever else waits, in one commit. Raises `Unavailable`, `ResourceExhausted`."""
        if self._pool is None:
            raise Closed("the store is not open")
        if len(self._queue) >= self._queue_limit:
            raise ResourceExhausted(f"{self._queue_limit} changes wait for the disk already")
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(work, done))
        if self._committer is None:
            self._committer = asyncio.create_task(self._commit_all(), name="fhir store commits")
        return await done

    async def _commit_all(self) -> None:
        try:
            while self._queue:
                batch = [self._queue.popleft() for _ in range(min(self._batch, len(self._queue)))]
                # who does not wait any more is not worked; what is under way is finished
                batch = [one for one in batch if not one.done.done()]
                await self._commit(batch)
        finally:
            self._committer = None

    async def _commit(self, batch: list[_Waiting]) -> None:
        try:
            async with self._database.transaction() as transaction:
                results = await transaction.run(lambda connection: self._work(connection, batch))
        except Exception as error:  # noqa: BLE001 - the outermost edge of a commit: everyone who waits is told
            if not isinstance(error, MeshError):
                _log.error("store_commit_failed", **failure_fields(error))
                error = Unavailable("the store could not commit")
            for one in batch:
                if not one.done.done():
                    one.done.set_exception(error)
            return
        self._outbox.committed()
        for one, (result, failure) in zip(batch, results, strict=True):
            if one.done.done():
                continue
            if failure is not None:
                one.done.set_exception(failure)
            else:
                one.done.set_result(result)

    def _work(
        self, connection: sqlite3.Connection, batch: list[_Waiting]
    ) -> list[tuple[Any, Exception | None]]:
        return [self._one(connection, one.work) for one in batch]

    def _one(
        self, connection: sqlite3.Connection, work: Work[T]
    ) -> tuple[T | None, Exception | None]:
        """One piece of work between savepoints: what fails there leaves the others alone."""
        connection.execute("savepoint work")
        unit = Unit(_Statements(connection), Dialect.SQLITE)
        try:
            result = at_once(work(unit))
            for event in unit.events:
                self._outbox.add(connection, event)
        except Exception as error:
            if not connection.in_transaction or isinstance(error, sqlite3.OperationalError):
                raise
            connection.execute("rollback to work")
            connection.execute("release work")
            return None, error
        connection.execute("release work")
        return result, None

    async def within(self, transaction: OutboxTransaction, work: Work[T]) -> T:
        """Run work on the writer's thread, inside an open transaction."""
        inner = cast("SqliteTransaction", transaction.inner)

        def run(connection: sqlite3.Connection) -> tuple[T, Unit]:
            unit = Unit(cast("Transaction", _Statements(connection)), Dialect.SQLITE)
            return at_once(work(unit)), unit

        result, unit = await inner.run(run)
        for event in unit.events:
            transaction.publish(event)
        return result

    async def stop(self) -> None:
        """Finish what waits, and close the file."""
        committer = self._committer
        if committer is not None:
            await asyncio.shield(committer)
        pool, self._pool = self._pool, None
        if pool is not None:
            await asyncio.to_thread(pool.shutdown)
        connections, self._connections = self._connections, []
        for connection in connections:
            connection.close()
        self._own = threading.local()
        await self._database.stop()


def _roomy(connection: sqlite3.Connection) -> None:
    """Index rows go everywhere in their tables: with SQLite's 2 MB each insert would read pages again."""
    connection.execute(f"pragma cache_size = -{_CACHE_KIB * 2}")


def _private(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch(mode=0o600)


@contextlib.contextmanager
def _translated(limit_s: float) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        # the driver's words may hold values of the statement
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            raise QueryTooLong(
                f"the search took longer than {limit_s:g} s (query_timeout_s)"
            ) from None
        raise Unavailable(f"the store cannot be read now: {error.sqlite_errorname}") from None


__all__ = ["QueryTooLong", "SqliteEngine"]
