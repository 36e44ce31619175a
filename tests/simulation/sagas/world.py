"""A hospital in simulated time: the real runner, stores and participants; crashes, lost answers and delays by chance.

Time jumps (`JumpingLoop`), and SQLite runs in memory on the loop's own thread, so that a seed decides everything.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from bus.events.protocol import NewEvent, RetryPolicy, StoredEvent
from bus.services.protocol import CallFailed, NoInstance
from bus.telemetry.counters import Counters
from bus.transactions.database import Dialect, Row, Value
from bus.transactions.machine import FINISHED, Status
from bus.transactions.migrations import migrate
from bus.transactions.outbox import Outbox, OutboxTransaction
from bus.transactions.participant import Participant
from bus.transactions.relay import Relay, RelaySettings
from bus.transactions.runner import RunnerSettings, SagaRunner
from bus.transactions.saga import LocalStep, Saga, Step, StepCall, StepRefused
from schemas.errors import DeadlineExceeded, Unavailable
from tests.unit.bus.events.kit import LoopClock

STEPS = ("bed", "orders", "diet")
_CALM_AFTER_S = 600.0
"""Faults end then: a hospital whose systems never work again ends no saga."""


@dataclass
class Chaos:
    """How likely each fault is in this run; drawn once for each run, so that runs differ in kind."""

    chance: random.Random
    crash: float
    database: float
    lost: float
    away: float
    refused: float
    late: float
    twice: float
    is_over: bool = False
    crashes_left: int = 12

    @classmethod
    def of(cls, seed: int) -> Chaos:
        chance = random.Random(seed)
        often = (0.0, 0.02, 0.1, 0.3)
        return cls(
            chance=chance,
            crash=chance.choice((0.0, 0.01, 0.05, 0.15)),
            database=chance.choice(often),
            lost=chance.choice(often),
            away=chance.choice(often),
            refused=chance.choice(often),
            late=chance.choice(often),
            twice=chance.choice(often),
        )

    def happens(self, likelihood: float) -> bool:
        calm = self.is_over or asyncio.get_running_loop().time() > _CALM_AFTER_S
        return not calm and self.chance.random() < likelihood

    def crashes(self) -> bool:
        """Whether the process dies here; not more often than lets a run end."""
        dies = self.crashes_left > 0 and self.happens(self.crash)
        self.crashes_left -= dies
        return dies


class InlineSqlite:
    """`Database` in memory, without a thread. `chaos` breaks it before and after commits.

    A crash of the process that uses it: whoever is there hangs until that process is buried, and `crashed` is set.
    """

    def __init__(self, chaos: Chaos | None) -> None:
        self._chaos = chaos
        self._connection = sqlite3.connect(":memory:", isolation_level=None)
        self._turn = asyncio.Lock()
        self._holds: dict[str, asyncio.Lock] = {}
        self.crashed = asyncio.Event()

    @property
    def dialect(self) -> Dialect:
        return Dialect.SQLITE

    async def start(self) -> None:
        async with self.transaction() as transaction:
            await migrate(transaction, Dialect.SQLITE)

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[_Inline]:
        async with self._turn:
            await self._break()
            self._connection.execute("begin immediate")
            try:
                yield _Inline(self._connection)
                await self._break()
            except BaseException:
                self._connection.rollback()
                raise
            self._connection.execute("commit")
            await self._break()

    async def _break(self) -> None:
        chaos = self._chaos
        if chaos is not None and chaos.crashes():
            self.crashed.set()
            await asyncio.Event().wait()
        if chaos is not None and chaos.happens(chaos.database):
            raise Unavailable("the database is away")

    @contextlib.asynccontextmanager
    async def hold(self, name: str) -> AsyncIterator[_Held]:
        async with self._holds.setdefault(name, asyncio.Lock()):
            yield _Held()

    async def stop(self) -> None:
        self._connection.close()


class _Inline:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def execute(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        await asyncio.sleep(0)
        return self._connection.execute(sql, parameters).rowcount

    async def fetch(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        await asyncio.sleep(0)
        return [tuple(row) for row in self._connection.execute(sql, parameters)]


class _Held:
    async def check(self) -> None:
        return


class Visit(BaseModel):
    number: int
    taken: list[str] = []


@dataclass
class System:
    """Another system with a database of its own, worked by a `Participant`; requests reach it late, or twice."""

    name: str
    chaos: Chaos
    database: InlineSqlite
    participant: Participant
    effects: dict[int, list[str]] = field(default_factory=dict)
    """By visit, in order: what was done and undone, as committed."""
    on_the_way: set[asyncio.Task[bytes]] = field(default_factory=set)

    @classmethod
    async def create(cls, name: str, chaos: Chaos) -> System:
        database = InlineSqlite(None)
        await database.start()
        outbox = Outbox(database, clock=LoopClock())
        async with outbox.transaction() as transaction:
            await transaction.execute("create table effect (visit integer, what text)")
        participant = Participant(outbox, name, clock=LoopClock(), counters=Counters())
        return cls(name, chaos, database, participant)

    async def ask(self, call: StepCall, visit: Visit) -> Visit:
        """Send a request, maybe twice, and wait for an answer that may be lost."""
        chaos = self.chaos
        if chaos.happens(chaos.away):
            raise NoInstance("nobody runs")
        wants_refusal = chaos.happens(chaos.refused) and not call.undoes
        requests = [self._send(call, visit, refuses=wants_refusal)]
        if chaos.happens(chaos.twice):
            requests.append(self._send(call, visit, refuses=False))
        if chaos.happens(chaos.lost):
            raise DeadlineExceeded("no answer came")
        try:
            await asyncio.shield(requests[0])
        except CallFailed as refusal:
            raise StepRefused(refusal.reason) from None
        return visit.model_copy(update={"taken": [*visit.taken, self.name]})

    def _send(self, call: StepCall, visit: Visit, *, refuses: bool) -> asyncio.Task[bytes]:
        delay_s = self.chaos.chance.random() * 0.05
        if self.chaos.happens(self.chaos.late):
            delay_s = self.chaos.chance.random() * 120.0
        task = asyncio.create_task(self._arrive(delay_s, call, visit.number, refuses=refuses))
        self.on_the_way.add(task)
        task.add_done_callback(self._arrived)
        return task

    def _arrived(self, task: asyncio.Task[bytes]) -> None:
        self.on_the_way.discard(task)
        if not task.cancelled():
            task.exception()

    async def _arrive(self, delay_s: float, call: StepCall, visit: int, *, refuses: bool) -> bytes:
        await asyncio.sleep(delay_s)

        async def act(transaction: OutboxTransaction) -> bytes:
            await transaction.execute("insert into effect values (?, 'act')", (visit,))
            if refuses:
                raise CallFailed("none_free", "")
            return b"ok"

        async def undo(transaction: OutboxTransaction, answer: bytes) -> None:
            assert answer == b"ok"
            await transaction.execute("insert into effect values (?, 'undo')", (visit,))

        if not call.undoes:
            return await self.participant.act(call.key, act)
        await self.participant.undo(call.key, of=call.undoes, undoing=undo)
        return b""

    async def effects_of(self, visit: int) -> list[str]:
        async with self.database.transaction() as transaction:
            sql = "select what from effect where visit = ? order by rowid"
            return [str(row[0]) for row in await transaction.fetch(sql, (visit,))]


@dataclass
class FlakyMesh:
    """Stores each message id once; is away, and loses answers."""

    chaos: Chaos
    stored: dict[bytes, NewEvent] = field(default_factory=dict)

    async def publish(self, event: NewEvent, *, timeout_s: float = 30.0) -> StoredEvent:
        await asyncio.sleep(0.001)
        if self.chaos.happens(self.chaos.away):
            raise Unavailable("the mesh is away")
        duplicate = event.message_id in self.stored
        self.stored.setdefault(event.message_id, event)
        if self.chaos.happens(self.chaos.lost):
            raise DeadlineExceeded("no answer came")
        return StoredEvent(
            message_id=event.message_id, stream="evt", seq=len(self.stored), duplicate=duplicate
        )


@dataclass
class World:
    """Everything of one run."""

    chaos: Chaos
    database: InlineSqlite
    systems: dict[str, System]
    mesh: FlakyMesh
    counters: Counters = field(default_factory=Counters)
    crashes: int = 0

    @classmethod
    async def create(cls, seed: int) -> World:
        chaos = Chaos.of(seed)
        calm = InlineSqlite(None)
        await calm.start()
        async with calm.transaction() as transaction:
            await transaction.execute("create table ward (visit integer, what text)")
        calm._chaos = chaos
        systems = {name: await System.create(name, chaos) for name in STEPS}
        return cls(chaos, calm, systems, FlakyMesh(chaos))

    def saga(self) -> Saga[Visit]:
        rules = RetryPolicy(first_delay_s=0.5, longest_delay_s=10.0)
        elsewhere = [
            Step(
                name=name, action=self.systems[name].ask, undo=self.systems[name].ask, timeout_s=5.0,
                deadline_s=120.0, max_attempts=4, stuck_after=3, stuck_delay_s=30.0, retry=rules,
            )
            for name in STEPS
        ]  # fmt: skip
        note = LocalStep(
            name="note", action=self.note, undo=self.strike, retry=rules, max_attempts=3
        )
        return Saga(
            name="admission",
            version=1,
            state=Visit,
            steps=(elsewhere[0], note, *elsewhere[1:]),
        )

    async def note(self, transaction: OutboxTransaction, call: StepCall, visit: Visit) -> None:
        """Write a row of our own and publish; sometimes refuse after both."""
        await transaction.execute("insert into ward values (?, 'act')", (visit.number,))
        transaction.publish(_event(visit, call, b"admitted"))
        if self.chaos.happens(self.chaos.refused):
            raise CallFailed("ward_closed", "")

    async def strike(self, transaction: OutboxTransaction, call: StepCall, visit: Visit) -> None:
        await transaction.execute("insert into ward values (?, 'undo')", (visit.number,))
        transaction.publish(_event(visit, call, b"cancelled"))

    async def run(self, visits: int) -> dict[str, Status]:
        """Begin `visits` sagas, start again after each crash, and return how they ended."""
        begun: set[int] = set()
        while True:
            ends = await self._live(visits, begun)
            if ends is not None:
                return ends
            self.crashes += 1

    async def _live(self, visits: int, begun: set[int]) -> dict[str, Status] | None:
        """One process, from its start to its crash (None) or to the end of every saga."""
        self.database.crashed.clear()
        outbox = Outbox(self.database, clock=LoopClock())
        saga = self.saga()
        runner = SagaRunner(
            outbox, [saga], clock=LoopClock(), chance=self.chaos.chance,
            counters=self.counters, settings=RunnerSettings(look_every_s=5.0),
        )  # fmt: skip
        relay = Relay(
            outbox, self.mesh, clock=LoopClock(), chance=self.chaos.chance,
            counters=self.counters, settings=RelaySettings(look_every_s=5.0),
        )  # fmt: skip
        work = asyncio.create_task(self._begin_and_wait(runner, saga, visits, begun, outbox))
        crash = asyncio.create_task(self.database.crashed.wait())
        try:
            await runner.start()
            await relay.start()
            await asyncio.wait((work, crash), return_when=asyncio.FIRST_COMPLETED)
            return None if crash.done() else work.result()
        finally:
            await _bury(work, crash, *runner._tasks, *runner._busy.values(), relay._task)

    async def _begin_and_wait(
        self, runner: SagaRunner, saga: Saga[Visit], visits: int, begun: set[int], outbox: Outbox
    ) -> dict[str, Status]:
        for number in range(visits):
            while number not in begun:
                with contextlib.suppress(Unavailable):
                    await runner.begin(saga, Visit(number=number), saga_id=f"visit-{number}")
                    begun.add(number)
                await asyncio.sleep(0.1)
        while True:
            await asyncio.sleep(5.0)
            with contextlib.suppress(Unavailable):
                views = await runner.list()
                depth = await outbox.depth()
                if all(view.status in FINISHED for view in views) and not depth.waiting:
                    return {view.id: view.status for view in views}


async def _bury(*tasks: asyncio.Task[Any] | None) -> None:
    """As after kill -9: nothing runs on, and nobody is told anything."""
    living = [task for task in tasks if task is not None]
    for task in living:
        task.cancel()
    await asyncio.gather(*living, return_exceptions=True)


def _event(visit: Visit, call: StepCall, body: bytes) -> NewEvent:
    return NewEvent(
        subject=f"evt.north.encounter.ward.{visit.number}",
        type="text/plain",
        body=b"%d:%s" % (visit.number, body),
        message_id=call.key,
    )
