"""One delivery on its way through a consumer, and where it stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

from bus.envelope.types import Envelope, SealedEnvelope
from bus.events.protocol import Receipt
from bus.telemetry.failures import error_code, where
from bus.transport.protocol import Delivery
from schemas.errors import MeshError


class Stage(Enum):
    """What must be done next with a message."""

    OPEN = auto()
    OPEN_ORDERED = auto()
    """Open the original envelope inside an operator's order to take it again."""
    HANDLE = auto()
    ANSWER = auto()
    """Store the receipt that the publisher waits for."""
    STEP_ASIDE = auto()
    """Store the dead letter."""
    FINISHED = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a message steps aside: free of patient data."""

    reason: str
    detail: str = ""
    stack: str = ""


def failure_of(error: BaseException, *, reason: str = "") -> Failure:
    """The failure that an exception means. The text of a foreign exception may hold anything: only its type is kept."""
    detail = str(error) if isinstance(error, MeshError) else type(error).__name__
    return Failure(reason=reason or error_code(error), detail=detail, stack=where(error))


@dataclass(eq=False, slots=True)
class Tries:
    """How often something missing was looked for."""

    lookups: int = 0


@dataclass(eq=False, slots=True)
class Item:
    """One message in a lane."""

    delivery: Delivery
    lane: int
    subject: str
    """Of the original message: for an operator's order, of the envelope inside it."""
    sealed: SealedEnvelope
    """The original envelope, byte for byte."""
    stage: Stage = Stage.OPEN
    order: Envelope | None = None
    envelope: Envelope | None = None
    replayed: bool = False
    failures: int = 0
    """Attempts of the handler that counted."""
    waits: int = 0
    """Waits in a row for something that is away."""
    tries: Tries = field(default_factory=Tries)
    first_attempt_ms: int = 0
    last_attempt_ms: int = 0
    receipt: Receipt | None = None
    failure: Failure | None = None
    outcome: str = ""
    """What it is counted as when it is finished."""


__all__ = ["Failure", "Item", "Stage", "Tries", "failure_of"]
