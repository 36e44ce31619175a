"""kill -9 at every commit, publish and call of a real program on a real mesh: each effect is there exactly once."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import psycopg
import pytest

from bus.services.protocol import CallContext, NotFoundThere
from bus.transactions.database import Row, number, text
from bus.transactions.outbox import OutboxTransaction
from medmesh import Mesh, endpoint, service
from medmesh.transactions import Participant, SqliteDatabase, Transactions
from tests.faults.transactions.child import Done, Order
from tests.hospital import Site, eventually, mllp_in, running, start
from tests.shared_data import ROOT

WITHIN_S = 500.0

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(600)]


@service("wards", version="1.0.0")
class Wards:
    """The other side of the saga: writes what is done and undone; odd visits find no orders."""

    def __init__(self, participant: Participant) -> None:
        self._participant = participant

    @endpoint(idempotent=True)
    async def act(self, request: Order, call: CallContext) -> Done:
        async def effect(transaction: OutboxTransaction) -> bytes:
            await _write(transaction, request, "act")
            if request.step == "orders" and request.visit % 2:
                raise NotFoundThere("no_orders", "")
            return b"done"

        return Done(text=(await self._participant.act(call.id, effect)).decode())

    @endpoint(idempotent=True)
    async def undo(self, request: Order, call: CallContext) -> Done:
        async def undoing(transaction: OutboxTransaction, _: bytes) -> None:
            await _write(transaction, request, "undo")

        await self._participant.undo(call.id, of=bytes.fromhex(request.undoes), undoing=undoing)
        return Done()


async def _write(transaction: OutboxTransaction, order: Order, what: str) -> None:
    await transaction.execute(
        "insert into effect values (?, ?, ?)", (order.visit, order.step, what)
    )


def rows_of(where: str, table: str) -> list[str]:
    kind, _, address = where.partition(":")
    sql = f"select body from {table}"
    if kind == "sqlite":
        own = sqlite3.connect(address)
        found: list[tuple[str]] = own.execute(sql).fetchall()
        own.close()
    else:
        with psycopg.connect(address) as connection:
            found = connection.execute(sql.encode()).fetchall()
    return [row[0] for row in found]


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_every_effect_happens_once_wherever_the_program_is_killed(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    address = tmp_path / "ward.db" if kind == "sqlite" else str(request.getfixturevalue("postgres"))
    where = f"{kind}:{address!s}"
    site = Site(tmp_path, mllp_in(0))
    async with running(site):
        async with Mesh.connect(site.config, service="wards") as mesh:
            theirs = SqliteDatabase(tmp_path / "theirs.db")
            async with Transactions(mesh, theirs) as transactions:
                async with transactions.outbox.transaction() as transaction:
                    sql = "create table effect (visit integer, step text, what text)"
                    await transaction.execute(sql)
                await mesh.serve(Wards(transactions.participant("wards")))
                visits = await kill_everywhere(site, where)
                async with transactions.outbox.transaction() as transaction:
                    sql = "select visit, step, what from effect order by rowid"
                    effects = await transaction.fetch(sql)
        assert await site.stop() == 0
    check(visits, where, [(step, f"{visit}:{what}") for visit, step, what in map(_plain, effects)])


async def kill_everywhere(site: Site, where: str) -> list[int]:
    """Run the program again and again, each time to die one point later, until it outlives them all; visits begun."""
    program = str(ROOT / "tests/faults/transactions/child.py")
    child = await start([program, str(site.config), where])
    try:
        await eventually(
            lambda: child.process.returncode is not None, within_s=WITHIN_S, what="it outlives all"
        )
    finally:
        child.kill()
        await child.ended()
    assert child.lines[-1:] == ["finished\n"], "".join([*child.lines[-1:], *child.errors[-30:]])
    print(f"{len(child.lines) - 3} points, as many kills")
    return [int(line.split()[1]) for line in child.lines[:-1]]


def _plain(row: Row) -> tuple[int, str, str]:
    return number(row[0]), text(row[1]), text(row[2])


def check(visits: list[int], where: str, effects: list[tuple[str, str]]) -> None:
    # the first of each kind was killed before the commit that began its saga
    begun = [number for number in visits if number not in (2, 3)]
    refused = {number for number in begun if number % 2}
    said = sorted(f"{number}:admitted" for number in begun)
    unsaid = sorted(f"{number}:cancelled" for number in refused)
    for table in ("announced", "ward"):
        assert sorted(rows_of(where, table)) == sorted([*said, *unsaid]), table
    beds = sorted(what for step, what in effects if step == "bed")
    assert beds == sorted([f"{n}:act" for n in begun] + [f"{n}:undo" for n in refused])
    orders = sorted(what for step, what in effects if step == "orders")
    assert orders == sorted(f"{n}:act" for n in begun if n not in refused)
