"""One attempt at one half of a step: run the user's function, and say what is known of its effect."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from pydantic import BaseModel

from bus.services.protocol import (
    CallFailed,
    CallRefused,
    InvalidRequest,
    NoInstance,
    NotFoundThere,
    Overloaded,
)
from bus.telemetry.failures import error_code
from bus.transactions.machine import Direction, Progress
from bus.transactions.saga import Saga, Step, StepCall, StepRefused, step_key
from bus.transport.protocol import NoResponders
from schemas.errors import DeadlineExceeded

_REFUSALS: Final = (StepRefused, CallRefused, InvalidRequest, NotFoundThere)
_SURELY_NOTHING: Final = (NoInstance, Overloaded, NoResponders)


class Known(Enum):
    """What an attempt's end says about its effect."""

    DONE = "done"
    REFUSED = "refused"
    """Nothing happened and nothing will."""
    NOTHING = "nothing"
    """Nothing happened this time."""
    GIVEN_UP = "given_up"
    """It may have happened, and asking again helps nobody."""
    DOUBT = "doubt"
    """It may have happened."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How an attempt ended. `state` is the new one; None when it stays as it is."""

    known: Known
    code: str = ""
    state: BaseModel | None = None


def call_for(saga: Saga[BaseModel], saga_id: str, progress: Progress) -> StepCall:
    """What the user's function is told."""
    step = saga.steps[progress.step]
    direction = progress.direction
    acted = step_key(saga_id, step.name, Direction.ACT)
    return StepCall(
        saga_id=saga_id,
        step=step.name,
        key=step_key(saga_id, step.name, direction),
        undoes=acted if direction is Direction.UNDO else b"",
        attempt=progress.attempts,
        timeout_s=step.timeout_s,
    )


async def attempt_step(
    step: Step[BaseModel], call: StepCall, progress: Progress, state: BaseModel
) -> Ended:
    """Do something elsewhere."""
    half = step.action if progress.direction is Direction.ACT else step.undo
    return Ended(Known.DONE) if half is None else await end_of(half(call, state), step.timeout_s)


async def end_of(effect: Awaitable[BaseModel | None], timeout_s: float) -> Ended:
    """Wait for the user's function, and judge its end."""
    try:
        async with asyncio.timeout(timeout_s):
            return Ended(Known.DONE, state=await effect)
    except _REFUSALS as error:
        return Ended(Known.REFUSED, error.reason or error.code)
    except CallFailed as error:
        # a refusal in the service's own words looks the same as its failure after the effect
        return Ended(Known.GIVEN_UP, error.reason or error.code)
    except _SURELY_NOTHING as error:
        return Ended(Known.NOTHING, error.code)
    except TimeoutError as error:
        code = error.code if isinstance(error, DeadlineExceeded) else DeadlineExceeded.code
        return Ended(Known.DOUBT, code)
    except Exception as error:  # noqa: BLE001 - a step is foreign code: whatever it raises leaves its effect in doubt
        return Ended(Known.DOUBT, error_code(error))


__all__ = ["Ended", "Known", "attempt_step", "call_for", "end_of"]
