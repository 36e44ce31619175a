"""A program with sagas, outbox and inbox that ends itself with SIGKILL at its N-th point; see `test_kill_points`.

Arguments: configuration, database (sqlite:<path> or postgres:<conninfo>). It is forked for N = 1, 2, 3 … until it
outlives N, beginning a visit each time, and after each death once more to finish what is left: first with even visits,
which complete, then with odd ones, for which there are no orders. Points: before and after
each commit that wrote something, each publish, and each call to another service.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from bus.clock import SystemClock
from bus.events.protocol import Events, NewEvent, RetryPolicy, StoredEvent
from bus.telemetry.counters import Counters
from bus.transactions.database import Database, Dialect, Hold, Row, Transaction, Value, spelled
from bus.transactions.inbox import Inbox
from bus.transactions.machine import FINISHED, Status
from bus.transactions.outbox import Outbox, OutboxTransaction
from bus.transactions.postgres import PostgresDatabase
from bus.transactions.relay import Relay
from bus.transactions.runner import SagaRunner
from bus.transactions.saga import LocalStep, Saga, Step, StepCall
from bus.transactions.sqlite import SqliteDatabase
from medmesh import Mesh

QUICK = RetryPolicy(first_delay_s=0.02, longest_delay_s=0.2)
_WRITES = ("insert", "update", "delete")


class Order(BaseModel):
    visit: int
    step: str
    undoes: str = ""


class Visit(BaseModel):
    number: int


class Done(BaseModel):
    text: str = ""


@dataclass
class Fuse:
    """Burns down with each point; at the last one the process is gone."""

    left: int

    def point(self) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class FusedTransaction:
    """Knows whether anything was written."""

    def __init__(self, inner: Transaction) -> None:
        self._inner = inner
        self.has_written = False

    async def execute(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        self.has_written |= sql.lstrip().startswith(_WRITES)
        return await self._inner.execute(sql, parameters)

    async def fetch(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        return await self._inner.fetch(sql, parameters)


class FusedDatabase:
    """A real database with a point on both sides of each commit that wrote something."""

    def __init__(self, inner: Database, fuse: Fuse) -> None:
        self._inner = inner
        self._fuse = fuse

    @property
    def dialect(self) -> Dialect:
        return self._inner.dialect

    async def start(self) -> None:
        await self._inner.start()

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[FusedTransaction]:
        async with self._inner.transaction() as inner:
            fused = FusedTransaction(inner)
            yield fused
            if fused.has_written:
                self._fuse.point()
        if fused.has_written:
            self._fuse.point()

    def hold(self, name: str) -> AbstractAsyncContextManager[Hold]:
        return self._inner.hold(name)

    async def stop(self) -> None:
        await self._inner.stop()


class FusedEvents:
    """The real mesh with a point on both sides of each publish."""

    def __init__(self, inner: Events, fuse: Fuse) -> None:
        self._inner = inner
        self._fuse = fuse

    async def publish(self, event: NewEvent, *, timeout_s: float = 30.0) -> StoredEvent:
        self._fuse.point()
        stored = await self._inner.publish(event, timeout_s=timeout_s)
        self._fuse.point()
        return stored


class Program:
    """Admits patients: bed elsewhere, announced here and to the mesh, orders elsewhere."""

    def __init__(self, mesh: Mesh, database: FusedDatabase, fuse: Fuse) -> None:
        clock, chance, counters = SystemClock(), random.Random(), Counters()
        self.mesh = mesh
        self.fuse = fuse
        self.database = database
        self.outbox = Outbox(database, clock=clock)
        self.inbox = Inbox(self.outbox, clock=clock, counters=counters)
        events = FusedEvents(mesh.events, fuse)
        self.relay = Relay(self.outbox, events, clock=clock, chance=chance, counters=counters)
        self.saga = Saga(
            name="admission",
            version=1,
            state=Visit,
            steps=(
                self.elsewhere("bed"),
                LocalStep(name="announce", action=self.announce, undo=self.announce, retry=QUICK),
                self.elsewhere("orders"),
            ),
        )
        self.runner = SagaRunner(
            self.outbox, [self.saga], clock=clock, chance=chance, counters=counters
        )

    def elsewhere(self, name: str) -> Step[Visit]:
        return Step(
            name=name, action=self.ask, undo=self.ask, max_attempts=0, deadline_s=0.0, retry=QUICK
        )

    async def ask(self, call: StepCall, visit: Visit) -> None:
        self.fuse.point()
        order = Order(visit=visit.number, step=call.step, undoes=call.undoes.hex())
        method = "undo" if call.undoes else "act"
        await self.mesh.call(
            "wards", method, order, reply=Done, call_id=call.key, idempotent=True, timeout_s=10.0
        )
        self.fuse.point()

    async def announce(self, transaction: OutboxTransaction, call: StepCall, visit: Visit) -> None:
        said = "cancelled" if call.undoes else "admitted"
        body = f"{visit.number}:{said}"
        transaction.publish(
            await self.mesh.event(
                f"patient.{said}",
                body.encode(),
                type="text/plain",
                key=b"%d" % visit.number,
                message_id=call.key,
            )
        )
        await self.write(transaction, "announced", body)

    async def write(self, transaction: OutboxTransaction, table: str, body: str) -> None:
        sql = spelled(self.database.dialect, f"insert into {table} (body) values (?)")
        await transaction.execute(sql, (body,))

    async def receive(self) -> None:
        async for event in self.mesh.subscribe("evt.north.patient.>", durable="ward"):
            async with self.inbox.receive("ward", event) as transaction:
                if transaction is not None:
                    await self.write(transaction, "ward", event.body.decode())

    async def is_finished(self) -> bool:
        counts = await self.runner.counts()
        ended = {status: count for (_, status), count in counts.items()}
        if set(ended) - FINISHED:
            return False
        wanted = ended.get(Status.COMPLETED, 0) + 2 * ended.get(Status.COMPENSATED, 0)
        async with self.database.transaction() as transaction:
            rows = await transaction.fetch("select count(*) from ward")
        return rows[0][0] == wanted


async def make_tables(database: Database) -> None:
    async with database.transaction() as transaction:
        for table in ("announced", "ward"):
            await transaction.execute(f"create table if not exists {table} (body text)")


async def main(config: str, where: str, number: int, kill_at: int) -> None:
    kind, _, address = where.partition(":")
    inner: Database = (
        SqliteDatabase(Path(address)) if kind == "sqlite" else PostgresDatabase(address)
    )
    async with Mesh.connect(config, service="admissions") as mesh:
        await inner.start()
        await make_tables(inner)
        fuse = Fuse(kill_at)
        program = Program(mesh, FusedDatabase(inner, fuse), fuse)
        receiving = asyncio.create_task(program.receive())
        if kill_at:
            visit = Visit(number=number)
            await program.runner.begin(program.saga, visit, saga_id=f"visit-{number}")
        await program.relay.start()
        await program.runner.start()
        while not await program.is_finished():
            if receiving.done():
                receiving.result()
            await asyncio.sleep(0.02)
        await program.relay.drain(timeout_s=30)
        await program.runner.stop()
        await program.relay.stop()
        receiving.cancel()
        await asyncio.gather(receiving, return_exceptions=True)
    await inner.stop()


def survives(config: str, where: str, number: int, point: int) -> bool:
    """Run the program in a process of its own, to die at `point` (0: never); whether it ended in peace."""
    child = os.fork()
    if not child:
        asyncio.run(main(config, where, number, point))
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status not in (0, -signal.SIGKILL):
        raise SystemExit(f"at point {point} it ended with {status}")
    return status == 0


def kill_everywhere(config: str, where: str, *, odd: int) -> None:
    """Kill it at each point of one kind of visit."""
    point = 1
    while not survives(config, where, 2 * point + odd, point):
        if not survives(config, where, 0, 0):
            raise SystemExit("it was killed by someone else")
        print(f"visit {2 * point + odd} killed at point {point}", flush=True)
        point += 1
    print(f"visit {2 * point + odd} outlived all", flush=True)


if __name__ == "__main__":
    for odd in (0, 1):
        kill_everywhere(sys.argv[1], sys.argv[2], odd=odd)
    print("finished", flush=True)
