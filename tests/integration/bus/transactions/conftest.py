"""Both databases, so that one suite runs on each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from bus.transactions.database import Database
from bus.transactions.sqlite import SqliteDatabase
from tests.integration.bus.transactions.postgres_server import PostgresServer


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One cluster for the session; each test takes a database of its own."""
    server = PostgresServer()
    try:
        server.create()
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def postgres(postgres_server: PostgresServer) -> str:
    """The conninfo of a fresh database."""
    return postgres_server.fresh_database()


@pytest.fixture(params=["sqlite", "postgres"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """A started database of each kind."""
    found = open_database(request, tmp_path)
    await found.start()
    yield found
    await found.stop()


def open_database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    if request.param == "sqlite":
        return SqliteDatabase(tmp_path / "ward.db", wait_s=5.0)
    from bus.transactions.postgres import PostgresDatabase

    return PostgresDatabase(request.getfixturevalue("postgres"), wait_s=5.0)
