"""Admit patients: a bed, the admission itself, an order set; undone in reverse where one of them fails.

Run: python admission.py
The mesh is in memory and the databases are files in a temporary folder; with `Mesh.connect("mesh.toml", …)` and files
that stay, the same program survives kill -9 at any line.
"""

import asyncio
import tempfile
from pathlib import Path

from pydantic import BaseModel

from medmesh import CallContext, Mesh, NotFoundThere, endpoint, service
from medmesh.transactions import (
    LocalStep,
    NewEvent,
    OutboxTransaction,
    Participant,
    Saga,
    SqliteDatabase,
    Status,
    Step,
    StepCall,
    Transactions,
)


class Admission(BaseModel):
    """The saga's state: it lies in the database, so it is patient data at rest."""

    visit: str
    ward: str
    bed: int = 0


class Wanted(BaseModel):
    visit: str
    ward: str
    undoes: str = ""


class Bed(BaseModel):
    number: int = 0


# ── the bed manager: another service, with a database of its own ──────────────────────────────────────────────────────


@service("bed-manager", version="1.0.0")
class BedManager:
    """Gives each bed once. `Participant` makes a repeated request act once, and an overtaken one not at all."""

    def __init__(self, participant: Participant) -> None:
        self.participant = participant

    @endpoint(idempotent=True)
    async def take(self, request: Wanted, call: CallContext) -> Bed:
        async def effect(tx: OutboxTransaction) -> bytes:
            free = "select number from bed where ward = ? and visit is null order by number limit 1"
            found = await tx.fetch(free, (request.ward,))
            if not found:
                raise NotFoundThere("no_free_bed", "ask another ward")
            taken = "update bed set visit = ? where ward = ? and number = ?"
            await tx.execute(taken, (request.visit, request.ward, found[0][0]))
            return str(found[0][0]).encode()

        return Bed(number=int(await self.participant.act(call.id, effect)))

    @endpoint(idempotent=True)
    async def release(self, request: Wanted, call: CallContext) -> Bed:
        async def undoing(tx: OutboxTransaction, answer: bytes) -> None:
            freed = "update bed set visit = null where ward = ? and number = ?"
            await tx.execute(freed, (request.ward, int(answer)))

        await self.participant.undo(call.id, of=bytes.fromhex(request.undoes), undoing=undoing)
        return Bed()


@service("orders", version="1.0.0")
class Orders:
    """Places the order set of a ward; ward 5A has none."""

    @endpoint(idempotent=True)
    async def place(self, request: Wanted) -> Bed:
        if request.ward == "5A":
            raise NotFoundThere("no_order_set", "nobody has written one for this ward")
        return Bed()


# ── the saga: how a patient is admitted ───────────────────────────────────────────────────────────────────────────────


def admission_saga(mesh: Mesh) -> Saga[Admission]:
    async def ask(service: str, method: str, call: StepCall, state: Admission) -> Bed:
        wanted = Wanted(visit=state.visit, ward=state.ward, undoes=call.undoes.hex())
        return await mesh.call(
            service, method, wanted, reply=Bed, call_id=call.key, idempotent=True
        )

    async def take_bed(call: StepCall, state: Admission) -> Admission:
        bed = await ask("bed-manager", "take", call, state)
        return state.model_copy(update={"bed": bed.number})

    async def release_bed(call: StepCall, state: Admission) -> None:
        await ask("bed-manager", "release", call, state)

    async def place_orders(call: StepCall, state: Admission) -> None:
        await ask("orders", "place", call, state)

    async def admit(tx: OutboxTransaction, call: StepCall, state: Admission) -> None:
        await tx.execute("insert into visit values (?, ?)", (state.visit, state.bed))
        tx.publish(await said("patient.admitted", state))

    async def discharge(tx: OutboxTransaction, call: StepCall, state: Admission) -> None:
        await tx.execute("delete from visit where id = ?", (state.visit,))
        tx.publish(await said("patient.discharged", state))

    async def said(event: str, state: Admission) -> NewEvent:
        body = state.model_dump_json().encode()
        return await mesh.event(event, body, type="application/json", key=state.visit.encode())

    return Saga(
        name="admission",
        version=1,
        state=Admission,
        steps=(
            Step(name="bed", action=take_bed, undo=release_bed),
            LocalStep(name="admit", action=admit, undo=discharge),
            Step(name="orders", action=place_orders),
        ),
    )


# ── everything in one process, to be read from above to below ─────────────────────────────────────────────────────────


async def main(folder: Path) -> None:
    async with Mesh.in_memory(service="admissions") as mesh:
        saga = admission_saga(mesh)
        beds = Transactions(mesh, SqliteDatabase(folder / "beds.db"))
        ours = Transactions(mesh, SqliteDatabase(folder / "admissions.db"), sagas=[saga])
        board = mesh.subscribe("evt.test.patient.>", durable="bed-board")
        await board.start()
        async with beds, ours:
            async with beds.outbox.transaction() as tx:
                await tx.execute("create table bed (ward text, number integer, visit text)")
                for ward, number in (("4W", 1), ("4W", 2), ("5A", 1)):
                    await tx.execute("insert into bed values (?, ?, null)", (ward, number))
            async with ours.outbox.transaction() as tx:
                await tx.execute("create table visit (id text primary key, bed integer)")
            await mesh.serve(BedManager(beds.participant("bed-manager")))
            await mesh.serve(Orders())

            for visit, ward in (("v1", "4W"), ("v2", "5A"), ("v3", "6N")):
                await ours.sagas.begin(saga, Admission(visit=visit, ward=ward), saga_id=visit)
            for visit in ("v1", "v2", "v3"):
                view = await ours.sagas.ended(visit)
                print(visit, view.status.value, view.cause)
            events = 0
            async for event in board:
                state = Admission.model_validate_json(event.body)
                print(state.visit, event.subject.split(".")[3], "bed", state.bed)
                event.accept()
                events += 1
                if events == 3:
                    break
            async with beds.outbox.transaction() as tx:
                print(await tx.fetch("select ward, number, visit from bed order by ward, number"))
            assert (await ours.sagas.counts())["admission", Status.COMPLETED] == 1


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(Path(folder)))
