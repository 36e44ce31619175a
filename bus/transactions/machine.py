"""The state machine of a saga: `(plan, progress, what happened, now) -> progress`. No input, no output, no clock.

Forward: each step is tried until it succeeds. A step that is refused, or that runs out of attempts or time, turns the
saga round: everything that may have had an effect is undone, in reverse. Undoing is tried for ever; after a while, or
when it is refused, the saga is `STUCK`, which operators see, and is still tried, slowly.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum

from bus.events.protocol import RetryPolicy
from bus.flow.backoff import Chance, backoff_s
from schemas.errors import DeadlineExceeded


class Status(Enum):
    """Where a saga stands; the value is what the database holds."""

    RUNNING = "running"
    COMPENSATING = "compensating"
    STUCK = "stuck"
    """Undoing a step was refused or failed too often. Still tried, slowly; `SagaRunner.resume` tries at once."""
    COMPLETED = "completed"
    COMPENSATED = "compensated"


FINISHED = frozenset({Status.COMPLETED, Status.COMPENSATED})
"""Nothing more happens to a saga in these."""


class Direction(Enum):
    """Which of a step's two halves."""

    ACT = "act"
    UNDO = "undo"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRules:
    """How one step is tried."""

    name: str
    has_undo: bool
    is_local: bool = False
    """Whether its effect commits together with the saga's own progress: then it is never in doubt."""
    max_attempts: int = 8
    """Attempts forward before the saga turns round; 0: only the deadline counts."""
    deadline_s: float = 300.0
    """From the step's beginning, over all attempts forward; 0: none."""
    stuck_after: int = 20
    """Attempts to undo before the saga is called stuck."""
    stuck_delay_s: float = 300.0
    """Between attempts to undo while stuck."""
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    """Delays between attempts, both ways."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The steps of a saga, in order."""

    steps: tuple[StepRules, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What is known of one saga; each change of it is one commit."""

    status: Status
    step: int
    """Index of the step in work; after the end, of the last one."""
    attempts: int = 0
    """Begun so far, at this step and in this direction."""
    is_open: bool = False
    """An attempt was begun and nothing is known of its end."""
    in_doubt: bool = False
    """An earlier attempt forward may have had its effect."""
    began_ms: int
    due_ms: int
    error_code: str = ""
    """Of the last attempt that failed."""
    cause: str = ""
    """Why the saga turned round: the error code, and the step before a colon."""

    @property
    def direction(self) -> Direction:
        """Which half of the step is due."""
        return Direction.ACT if self.status is Status.RUNNING else Direction.UNDO


def begin(now_ms: int) -> Progress:
    """Return a new saga's progress."""
    return Progress(status=Status.RUNNING, step=0, began_ms=now_ms, due_ms=now_ms)


def attempt(progress: Progress, now_ms: int) -> Progress:
    """Begin an attempt; one that was open before was cut off, and may have had its effect."""
    return replace(
        progress,
        attempts=progress.attempts + 1,
        in_doubt=progress.in_doubt or progress.is_open,
        is_open=True,
        due_ms=now_ms,
    )


def is_late(plan: Plan, progress: Progress, now_ms: int) -> bool:
    """Whether the step's deadline forward has passed. Undoing has none."""
    deadline_s = plan.steps[progress.step].deadline_s
    forward = progress.status is Status.RUNNING
    return forward and 0 < deadline_s * 1000 <= now_ms - progress.began_ms


def late(plan: Plan, progress: Progress, now_ms: int) -> Progress:
    """Give up a step whose deadline has passed before another attempt."""
    in_doubt = progress.in_doubt or progress.is_open
    return _turn(plan, replace(progress, in_doubt=in_doubt), DeadlineExceeded.code, now_ms)


def succeeded(plan: Plan, progress: Progress, now_ms: int) -> Progress:
    """The half in work has had its effect: go to the next step, or to the one before."""
    if progress.status is not Status.RUNNING:
        return _undo_from(plan, progress, progress.step - 1, now_ms)
    if progress.step + 1 == len(plan.steps):
        return replace(
            _still(progress, now_ms), status=Status.COMPLETED, attempts=progress.attempts
        )
    return replace(_still(progress, now_ms), step=progress.step + 1, began_ms=now_ms, error_code="")


def refused(plan: Plan, progress: Progress, code: str, now_ms: int) -> Progress:
    """Give up: the attempt surely had no effect, and no other one ever will."""
    if progress.status is Status.RUNNING:
        return _turn(plan, progress, code, now_ms)
    return _stuck(plan, progress, code, now_ms)


def given_up(plan: Plan, progress: Progress, code: str, now_ms: int, chance: Chance) -> Progress:
    """Turn round at once: no other attempt helps, but this one may have had its effect. Undoing is tried again."""
    if progress.status is Status.RUNNING:
        return _turn(plan, replace(progress, in_doubt=True), code, now_ms)
    return failed(plan, progress, code, now_ms, chance, surely_nothing=False)


def failed(
    plan: Plan, progress: Progress, code: str, now_ms: int, chance: Chance, *, surely_nothing: bool
) -> Progress:
    """Try again later, if it still may: the attempt failed. `surely_nothing`: it certainly had no effect."""
    rules = plan.steps[progress.step]
    doubtful = not surely_nothing and not rules.is_local
    delay_ms = round(backoff_s(rules.retry, progress.attempts, chance) * 1000)
    after = replace(
        progress,
        is_open=False,
        in_doubt=progress.in_doubt or doubtful,
        error_code=code,
        due_ms=now_ms + delay_ms,
    )
    if progress.status is Status.RUNNING:
        exhausted = 0 < rules.max_attempts <= progress.attempts
        return (
            _turn(plan, after, code, now_ms) if exhausted or is_late(plan, after, now_ms) else after
        )
    if progress.status is Status.STUCK or progress.attempts >= rules.stuck_after:
        return _stuck(plan, after, code, now_ms)
    return after


def cancelled(plan: Plan, progress: Progress, now_ms: int) -> Progress:
    """An operator turns a running saga round; what is under way is undone as well. Others stay as they are."""
    if progress.status is not Status.RUNNING:
        return progress
    in_doubt = progress.in_doubt or progress.is_open
    return _turn(plan, replace(progress, in_doubt=in_doubt), "cancelled", now_ms)


def resumed(progress: Progress, now_ms: int) -> Progress:
    """An operator asks for the next attempt now; a stuck saga counts its attempts afresh."""
    if progress.status in FINISHED:
        return progress
    if progress.status is Status.STUCK:
        return replace(progress, status=Status.COMPENSATING, attempts=0, due_ms=now_ms)
    return replace(progress, due_ms=now_ms)


def _turn(plan: Plan, progress: Progress, code: str, now_ms: int) -> Progress:
    """Go back from the last step that may have had an effect."""
    cause = f"{plan.steps[progress.step].name}:{code}"
    from_step = progress.step if progress.in_doubt else progress.step - 1
    return _undo_from(plan, replace(progress, error_code=code, cause=cause), from_step, now_ms)


def _undo_from(plan: Plan, progress: Progress, step: int, now_ms: int) -> Progress:
    while step >= 0 and not plan.steps[step].has_undo:
        step -= 1
    after = _still(progress, now_ms)
    if step < 0:
        return replace(after, status=Status.COMPENSATED, step=0)
    return replace(after, status=Status.COMPENSATING, step=step, began_ms=now_ms)


def _stuck(plan: Plan, progress: Progress, code: str, now_ms: int) -> Progress:
    delay_ms = round(plan.steps[progress.step].stuck_delay_s * 1000)
    return replace(
        progress,
        status=Status.STUCK,
        is_open=False,
        error_code=code,
        due_ms=now_ms + delay_ms,
    )


def _still(progress: Progress, now_ms: int) -> Progress:
    """Return the progress with nothing under way."""
    return replace(progress, attempts=0, is_open=False, in_doubt=False, due_ms=now_ms)


__all__ = [
    "FINISHED",
    "Direction",
    "Plan",
    "Progress",
    "Status",
    "StepRules",
    "attempt",
    "begin",
    "cancelled",
    "failed",
    "given_up",
    "is_late",
    "late",
    "refused",
    "resumed",
    "succeeded",
]
