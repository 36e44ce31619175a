"""The saga of the tests: bed, order set, bill, each at a participant of its own, then a row and an event at home."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from pydantic import BaseModel

from bus.events.protocol import NewEvent, RetryPolicy
from bus.transactions.outbox import OutboxTransaction
from bus.transactions.saga import LocalStep, Saga, Step, StepCall

QUICK = RetryPolicy(first_delay_s=0.01, longest_delay_s=0.05)


class Admission(BaseModel):
    patient: str
    bed: str = ""


@dataclass
class Hospital:
    """Other systems on paper: they act once for each key, and a test says how they fail."""

    done: dict[bytes, str] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    trouble: Callable[[StepCall], Exception | None] = lambda call: None
    after: Callable[[StepCall], Exception | None] = lambda call: None
    """Trouble after the effect: the answer is lost."""
    hang: Callable[[StepCall], Awaitable[None]] | None = None

    async def work(self, call: StepCall, state: Admission) -> Admission | None:
        half = "undo" if call.undoes else "act"
        trouble = self.trouble(call)
        if trouble is not None:
            raise trouble
        if self.hang is not None:
            await self.hang(call)
        if call.key not in self.done:
            self.done[call.key] = f"{half} {call.step}"
            self.log.append(f"{half} {call.step}")
        lost = self.after(call)
        if lost is not None:
            raise lost
        return state.model_copy(update={"bed": "4W-1"}) if call.step == "bed" else None


def admission(
    hospital: Hospital,
    *,
    version: int = 1,
    names: tuple[str, ...] = ("bed", "orders"),
    stuck_after: int = 3,
    deadline_s: float = 300.0,
    max_attempts: int = 3,
) -> Saga[Admission]:
    """The saga; its last step is local and has no compensation."""
    elsewhere = [
        Step(
            name=name,
            action=hospital.work,
            undo=hospital.work,
            max_attempts=max_attempts,
            deadline_s=deadline_s,
            stuck_after=stuck_after,
            stuck_delay_s=1000.0,
            retry=QUICK,
        )
        for name in names
    ]
    announce = LocalStep(name="announce", action=announce_admission, max_attempts=2, retry=QUICK)
    return Saga(name="admission", version=version, state=Admission, steps=(*elsewhere, announce))


async def announce_admission(
    transaction: OutboxTransaction, call: StepCall, state: Admission
) -> None:
    transaction.publish(
        NewEvent(
            subject="evt.north.patient.admitted.3",
            type="application/json",
            body=f"{state.patient} in {state.bed}".encode(),
            message_id=call.key,
        )
    )
