"""PostgreSQL behind the store: each change a transaction of its own, on one of several connections."""

from __future__ import annotations

from typing import Final, TypeVar

from adapters.fhir.secrets import read_secrets
from adapters.fhir.store.config import Postgres
from adapters.fhir.store.engine import Unit, Work
from adapters.fhir.store.tables import migrate
from bus.transactions.database import Dialect
from bus.transactions.outbox import Outbox, OutboxTransaction
from bus.transactions.postgres import PostgresDatabase
from schemas.clock import Clock
from schemas.errors import Unavailable
from schemas.fhir.release import Release

T = TypeVar("T")
_TRIES: Final = 4
"""Of one change: a deadlock with another one is broken by the server, and over when it is tried again."""
_MIGRATION_LOCK: Final = 0x66686972
"""Key of the advisory lock under which one process brings the tables to this version."""


class PostgresEngine:
    """`adapters.fhir.store.engine.Engine` of a PostgreSQL database. Several stores may share it."""

    def __init__(self, database: PostgresDatabase, *, release: Release, clock: Clock) -> None:
        self._database = database
        self._release = release
        self._outbox = Outbox(database, clock=clock)

    @property
    def outbox(self) -> Outbox:
        """Its rows lie in the same database."""
        return self._outbox

    async def start(self) -> None:
        """Connect, and bring the tables to this version. Raises `Unavailable`, `ConfigurationError`."""
        await self._database.start()
        try:
            async with self._database.transaction() as transaction:
                await transaction.fetch("select pg_advisory_xact_lock(%s)", (_MIGRATION_LOCK,))
                await migrate(transaction, Dialect.POSTGRES, self._release.value)
        except BaseException:
            await self._database.stop()
            raise

    async def read(self, work: Work[T]) -> T:
        """Run work on one snapshot. Raises `Unavailable`."""
        async with self._database.transaction() as transaction:
            await transaction.execute("set transaction isolation level repeatable read, read only")
            return await work(Unit(transaction, Dialect.POSTGRES))

    async def write(self, work: Work[T]) -> T:
        """Run work in a transaction of its own. Raises `Unavailable`."""
        for _ in range(_TRIES - 1):
            try:
                return await self._write(work)
            except Unavailable as error:
                if _DEADLOCK not in str(error):
                    raise
        return await self._write(work)

    async def _write(self, work: Work[T]) -> T:
        async with self._outbox.transaction() as transaction:
            return await self.within(transaction, work)

    async def within(self, transaction: OutboxTransaction, work: Work[T]) -> T:
        """Run work inside an open transaction."""
        unit = Unit(transaction.inner, Dialect.POSTGRES)
        result = await work(unit)
        for event in unit.events:
            transaction.publish(event)
        return result

    async def stop(self) -> None:
        """Disconnect."""
        await self._database.stop()


_DEADLOCK: Final = "40P01"


def postgres_engine(settings: Postgres, *, release: Release, clock: Clock) -> PostgresEngine:
    """The engine of a configuration. Raises `ConfigurationError` for a password that cannot be read."""
    conninfo = settings.conninfo
    if settings.password is not None:
        secret = read_secrets(settings.password, name="postgres.password")[0]
        quoted = secret.replace("\\", "\\\\").replace("'", "\\'")
        conninfo = f"{conninfo} password='{quoted}'"
    database = PostgresDatabase(conninfo, connections=settings.connections)
    return PostgresEngine(database, release=release, clock=clock)


__all__ = ["PostgresEngine", "postgres_engine"]
