"""PostgreSQL behind the seam, by psycopg: a few connections, each with deadlines, and advisory locks.

Needs the extra `postgres` (`pip install "medmesh[postgres]"`). The only module that touches psycopg.
"""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import AsyncIterator, Sequence
from typing import Final

from bus.telemetry.log import logger
from bus.transactions.database import Dialect, Row, Value, text
from bus.transactions.migrations import migrate
from schemas.errors import Closed, ConfigurationError, Unavailable

try:
    import psycopg
    from psycopg import sql
except ImportError as missing:
    raise ConfigurationError(
        'PostgreSQL needs psycopg, which is not installed: pip install "medmesh[postgres]"'
    ) from missing

_HOLD_AGAIN_S: Final = 0.2
_LOCK_SPACE: Final = 0x6D656D65
"""First half of our advisory locks' keys: others in the same database keep to their own."""
_MIGRATION: Final = "schema"
_SLACK_S: Final = 5.0
_TIME_LIMITS: Final = (
    "statement_timeout",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
)
_PASSING_CLASSES: Final = ("08", "40", "53", "55", "57", "58")
"""SQLSTATE classes that time can heal: connection, rollback (deadlock), resources, locks, intervention, system."""
_log = logger(__name__)


class PostgresDatabase:
    """`bus.transactions.database.Database` of a PostgreSQL database.

    `conninfo` is libpq's (`host=… dbname=…` or a URL); what it leaves out comes from the PG* environment. Our tables
    go into the first schema of the role's `search_path`.
    """

    def __init__(self, conninfo: str, *, connections: int = 4, wait_s: float = 30.0) -> None:
        if connections < 1:
            raise ConfigurationError(f"connections {connections} is not allowed: 1 or more")
        self._conninfo = conninfo
        self._wait_s = wait_s
        self._free = asyncio.Semaphore(connections)
        self._idle: list[psycopg.AsyncConnection[Row]] = []
        self._open: set[psycopg.AsyncConnection[Row]] = set()
        self._running = False

    @property
    def dialect(self) -> Dialect:
        """`%s` stands for a value."""
        return Dialect.POSTGRES

    async def start(self) -> None:
        """Connect and bring our tables to this version. Raises `Unavailable`, `ConfigurationError`."""
        self._running = True
        try:
            async with self.transaction() as transaction:
                await self._judge_durability(transaction)
                await transaction.execute(
                    "select pg_advisory_xact_lock(%s, %s)", (_LOCK_SPACE, _key(_MIGRATION))
                )
                await migrate(transaction, Dialect.POSTGRES)
        except BaseException:
            await self.stop()
            raise

    async def _judge_durability(self, transaction: PostgresTransaction) -> None:
        """Refuse a server on which a commit means nothing after a power cut."""
        rows = await transaction.fetch(
            "select current_setting('fsync'), current_setting('synchronous_commit')"
        )
        fsync, commit = text(rows[0][0]), text(rows[0][1])
        if fsync == "off" or commit == "off":
            raise ConfigurationError(
                f"PostgreSQL has fsync = {fsync} and synchronous_commit = {commit}: with either off, what was "
                "committed can be lost; set both to on (synchronous_commit for this role is enough)"
            )

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[PostgresTransaction]:
        """One transaction (read committed). Raises `Unavailable`, `Closed`."""
        async with self._borrowed() as connection:
            transaction = PostgresTransaction(connection, self._wait_s)
            async with _translated(self._wait_s, connection):
                await connection.execute("begin")
            try:
                yield transaction
            except BaseException:
                await asyncio.shield(self._roll_back(connection))
                raise
            async with _translated(self._wait_s, connection):
                await connection.execute("commit")

    async def _roll_back(self, connection: psycopg.AsyncConnection[Row]) -> None:
        """Undo; a connection that cannot even do that is closed, which undoes as well."""
        try:
            async with asyncio.timeout(_SLACK_S):
                await connection.execute("rollback")
        except (psycopg.Error, TimeoutError):
            await connection.close()

    @contextlib.asynccontextmanager
    async def hold(self, name: str) -> AsyncIterator[AdvisoryHold]:
        """Hold an advisory lock on a connection of its own; the server frees it when the connection ends."""
        connection = await self._connect()
        try:
            hold = AdvisoryHold(connection, _key(name), self._wait_s)
            while not await hold.try_lock():  # noqa: ASYNC110 - the server frees it without a word
                await asyncio.sleep(_HOLD_AGAIN_S)
            yield hold
        finally:
            self._open.discard(connection)
            await asyncio.shield(connection.close())

    async def stop(self) -> None:
        """Close every connection; the server rolls back what was open."""
        self._running = False
        connections, self._idle = tuple(self._open), []
        self._open.clear()
        for connection in connections:
            await connection.close()

    @contextlib.asynccontextmanager
    async def _borrowed(self) -> AsyncIterator[psycopg.AsyncConnection[Row]]:
        try:
            async with asyncio.timeout(self._wait_s):
                await self._free.acquire()
        except TimeoutError:
            raise Unavailable(
                f"no database connection became free within {self._wait_s} s"
            ) from None
        try:
            connection = self._idle.pop() if self._idle else await self._connect()
            try:
                yield connection
            finally:
                self._give_back(connection)
        finally:
            self._free.release()

    def _give_back(self, connection: psycopg.AsyncConnection[Row]) -> None:
        usable = (
            not connection.closed
            and connection.info.transaction_status is psycopg.pq.TransactionStatus.IDLE
        )
        if usable and self._running:
            self._idle.append(connection)
            return
        self._open.discard(connection)
        if not connection.closed:
            connection.pgconn.finish()

    async def _connect(self) -> psycopg.AsyncConnection[Row]:
        if not self._running:
            raise Closed("the database is not open")
        try:
            connection: psycopg.AsyncConnection[Row] = await psycopg.AsyncConnection.connect(
                self._conninfo,
                autocommit=True,
                connect_timeout=max(2, round(self._wait_s)),
                application_name="medmesh",
            )
        except psycopg.OperationalError as error:
            raise Unavailable(f"PostgreSQL cannot be reached: {error}") from None
        self._open.add(connection)
        limit = sql.Literal(f"{round(self._wait_s * 1000)}ms")
        async with _translated(self._wait_s, connection):
            for name in _TIME_LIMITS:
                await connection.execute(sql.SQL("set {} = {}").format(sql.Identifier(name), limit))
        return connection


class PostgresTransaction:
    """An open transaction of a `PostgresDatabase`."""

    def __init__(self, connection: psycopg.AsyncConnection[Row], wait_s: float) -> None:
        self.connection: Final = connection
        """The connection itself, for whatever psycopg can do; it must not commit."""
        self._wait_s = wait_s

    async def execute(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        """Run one statement; how many rows it changed."""
        async with _translated(self._wait_s, self.connection):
            cursor = await self.connection.execute(sql.encode(), parameters)
            return cursor.rowcount

    async def fetch(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        """Run one statement and return all of its rows."""
        async with _translated(self._wait_s, self.connection):
            cursor = await self.connection.execute(sql.encode(), parameters)
            return await cursor.fetchall()


class AdvisoryHold:
    """A lock of one connection."""

    def __init__(self, connection: psycopg.AsyncConnection[Row], key: int, wait_s: float) -> None:
        self._connection = connection
        self._key = key
        self._wait_s = wait_s

    async def try_lock(self) -> bool:
        """Take it if it is free. Raises `Unavailable`."""
        async with _translated(self._wait_s, self._connection):
            cursor = await self._connection.execute(
                "select pg_try_advisory_lock(%s, %s)", (_LOCK_SPACE, self._key)
            )
            row = await cursor.fetchone()
        return row is not None and bool(row[0])

    async def check(self) -> None:
        """Ask the server whether the connection still lives. Raises `Unavailable`."""
        async with _translated(self._wait_s, self._connection):
            await self._connection.execute("select 1")


def _key(name: str) -> int:
    """The second half of an advisory lock's key: a signed 32-bit number."""
    return zlib.crc32(name.encode()) - (1 << 31)


@contextlib.asynccontextmanager
async def _translated(
    wait_s: float, connection: psycopg.AsyncConnection[Row] | None = None
) -> AsyncIterator[None]:
    """Say in our words what time can heal, and bound the wait for a server that says nothing at all."""
    try:
        async with asyncio.timeout(wait_s + _SLACK_S):
            yield
    except TimeoutError:
        if connection is not None:
            connection.pgconn.finish()
        raise Unavailable(f"PostgreSQL did not answer within {wait_s + _SLACK_S} s") from None
    except psycopg.Error as error:
        state = error.sqlstate or ""
        passing = state[:2] in _PASSING_CLASSES or (
            not state and isinstance(error, psycopg.OperationalError)
        )
        if not passing:
            raise
        # the driver's words may hold values of the statement
        raise Unavailable(
            f"PostgreSQL cannot be used now: {state or type(error).__name__}"
        ) from None


__all__ = ["AdvisoryHold", "PostgresDatabase", "PostgresTransaction"]
