"""What a saga is: named steps with an action and its compensation, and a typed state that travels through them."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import ClassVar, Final, Generic, TypeVar

from pydantic import BaseModel

from bus.events.protocol import RetryPolicy
from bus.transactions.machine import Direction, Plan, StepRules
from bus.transactions.outbox import OutboxTransaction
from schemas import subjects
from schemas.errors import ConfigurationError, MeshError

S = TypeVar("S", bound=BaseModel)
"""A saga's state: a pydantic model. It is patient data at rest in the database."""

_KEY_BYTES: Final = 16


class StepRefused(MeshError):
    """Raised by an action: it had no effect and never will (no bed is free). The saga turns round at once.

    Raised by a compensation: it needs a person; the saga is stuck. `reason` is a stable code, never content.
    """

    code: ClassVar[str] = "step_refused"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCall:
    """One attempt at one half of a step."""

    saga_id: str
    step: str
    key: bytes
    """16 bytes: the same for each attempt of this half. Whoever is asked must act once for it: send it as
    `Request.id` or `NewEvent.message_id`, and work it with `bus.transactions.participant.Participant`."""
    undoes: bytes
    """For a compensation, the key of the action that it undoes; empty for an action."""
    attempt: int
    timeout_s: float


Act = Callable[[StepCall, S], Awaitable[S | None]]
"""Does something elsewhere; returns the new state, or None when it stays as it is. Errors: `StepRefused`,
`CallRefused`, `InvalidRequest` and `NotFoundThere` turn the saga round, with nothing to undo here; so does any other
`CallFailed`, but this action is undone as well. `NoInstance`, `NoResponders` and `Overloaded` are tried again. After
any other error the action may have had its effect: it is tried again with the same key, and in the end undone."""

LocalAct = Callable[[OutboxTransaction, StepCall, S], Awaitable[S | None]]
"""Writes the user's rows and publishes, in the very transaction that records the step: it happens exactly once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step(Generic[S]):
    """Something done elsewhere, by a call with an idempotency key."""

    name: str
    action: Act[S]
    undo: Act[S] | None = None
    timeout_s: float = 30.0
    """Of one attempt."""
    deadline_s: float = 300.0
    """Of all attempts forward; 0: none."""
    max_attempts: int = 8
    """Attempts forward; 0: only the deadline counts."""
    stuck_after: int = 20
    """Failed compensations before operators are told; they go on, each `stuck_delay_s`."""
    stuck_delay_s: float = 300.0
    retry: RetryPolicy = field(default_factory=RetryPolicy)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalStep(Generic[S]):
    """Something done in the saga's own database, with events if need be."""

    name: str
    action: LocalAct[S]
    undo: LocalAct[S] | None = None
    timeout_s: float = 30.0
    deadline_s: float = 300.0
    max_attempts: int = 8
    stuck_after: int = 20
    stuck_delay_s: float = 300.0
    retry: RetryPolicy = field(default_factory=RetryPolicy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Saga(Generic[S]):
    """A definition, of one version.

    When its steps or the meaning of its state change, it gets a new version, and the old one is kept until no saga of
    it runs. Raises `ConfigurationError` for names that are no tokens or that occur twice.
    """

    name: str
    version: int
    state: type[S]
    steps: tuple[Step[S] | LocalStep[S], ...]

    def __post_init__(self) -> None:
        names = [step.name for step in self.steps]
        for name in (self.name, *names):
            subjects.token(name, what="saga or step")
        if not names or len(set(names)) != len(names):
            raise ConfigurationError(
                f"saga {self.name}: give it at least one step, and each step a name of its own"
            )
        if self.version < 1:
            raise ConfigurationError(f"saga {self.name}: version {self.version} is not 1 or more")

    @property
    def plan(self) -> Plan:
        """The steps as the state machine sees them."""
        return Plan(steps=tuple(_rules(step) for step in self.steps))

    @property
    def step_names(self) -> str:
        """The steps' names in order: what a running saga of this version began with."""
        return " ".join(step.name for step in self.steps)


def _rules(step: Step[S] | LocalStep[S]) -> StepRules:
    return StepRules(
        name=step.name,
        has_undo=step.undo is not None,
        is_local=isinstance(step, LocalStep),
        max_attempts=step.max_attempts,
        deadline_s=step.deadline_s,
        stuck_after=step.stuck_after,
        stuck_delay_s=step.stuck_delay_s,
        retry=step.retry,
    )


def step_key(saga_id: str, step: str, direction: Direction) -> bytes:
    """The idempotency key of one half of one step of one saga: 16 bytes, the same for ever."""
    said = "\0".join(("medmesh saga", saga_id, step, direction.value))
    return hashlib.sha256(said.encode()).digest()[:_KEY_BYTES]


__all__ = [
    "Act",
    "LocalAct",
    "LocalStep",
    "S",
    "Saga",
    "Step",
    "StepCall",
    "StepRefused",
    "step_key",
]
