"""Transactions across services, over a database of the program's own: outbox, inbox, sagas.

`async with Transactions(mesh, SqliteDatabase("ward.db"), sagas=[…]) as transactions:` runs the relay and the sagas.
`PostgresDatabase` lies in `bus.transactions.postgres`, since it needs the extra `postgres`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from bus.clock import SystemClock
from bus.events.protocol import NewEvent
from bus.transactions.database import Database
from bus.transactions.inbox import Inbox
from bus.transactions.machine import Status
from bus.transactions.outbox import Outbox, OutboxTransaction
from bus.transactions.participant import Participant
from bus.transactions.relay import Relay
from bus.transactions.runner import SagaRunner
from bus.transactions.saga import LocalStep, Saga, Step, StepCall, StepRefused
from bus.transactions.sagas import Sagas, SagaView
from bus.transactions.sqlite import SqliteDatabase

if TYPE_CHECKING:
    from medmesh.facade import Mesh

_DRAIN_S: Final = 10.0


class Transactions:
    """Outbox, relay, inbox and sagas of one program on one database; leaving drains and stops them."""

    def __init__(self, mesh: Mesh, database: Database, *, sagas: Sequence[Saga[Any]] = ()) -> None:
        clock, chance = SystemClock(), random.SystemRandom()
        self._clock = clock
        self._database = database
        self.outbox = Outbox(database, clock=clock)
        self.inbox = Inbox(self.outbox, clock=clock, counters=mesh.counters)
        self.relay = Relay(
            self.outbox, mesh.events, clock=clock, chance=chance, counters=mesh.counters
        )
        self.sagas = SagaRunner(
            self.outbox, sagas, clock=clock, chance=chance, counters=mesh.counters
        )
        self._counters = mesh.counters

    def participant(self, name: str) -> Participant:
        """The side of a service that works the steps of others' sagas on this database."""
        return Participant(self.outbox, name, clock=self._clock, counters=self._counters)

    async def __aenter__(self) -> Transactions:
        await self._database.start()
        await self.relay.start()
        await self.sagas.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self.sagas.drain(timeout_s=_DRAIN_S)
            await self.sagas.stop()
            if error is None:
                await self.relay.drain(timeout_s=_DRAIN_S)
            await self.relay.stop()
        finally:
            await self._database.stop()


__all__ = [
    "Inbox",
    "LocalStep",
    "NewEvent",
    "Outbox",
    "OutboxTransaction",
    "Participant",
    "Relay",
    "Saga",
    "SagaRunner",
    "SagaView",
    "Sagas",
    "SqliteDatabase",
    "Status",
    "Step",
    "StepCall",
    "StepRefused",
    "Transactions",
]
